"""The network beside the probe: nothing at its start, and kept only where it is needed."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from pgv_jax.critic.heads import CriticSpec, Head
from pgv_jax.recipe import residual as network
from pgv_jax.recipe.gain import gain, wins
from pgv_jax.recipe.outcomes import FIELDS, components_of, outcomes_of
from pgv_jax.recipe.probe import fit_probe
from tests.recipe import logs

SPEC = CriticSpec(logs.DIM, (8,), 2, False, "gelu", "sigmoid")


def fitted(success):
    outcomes = outcomes_of(logs.log(success), logs.lookup, 0, 0)
    components = components_of(outcomes, FIELDS)
    probe = fit_probe(outcomes, components)
    return outcomes, components, network.fit_residual(outcomes, components, probe, SPEC, 0)


def test_it_wins_where_no_line_divides_and_is_published_as_judged():
    outcomes, components, found = fitted(logs.parity)
    assert wins(gain(found.crossfit_B, found.anchor_B, outcomes.rows, 0))

    spec = replace(SPEC, hidden=network.HIDDEN)
    head = Head(jax.random.key(0), FIELDS, len(found.steps), spec)
    nnx.update(head, nnx.State(jax.tree.map(jax.numpy.asarray, found.params)))
    logit_MB = (
        np.asarray(head(outcomes.vectors))
        + found.weight_MR @ components.x_BR.T
        + found.bias_M[:, None]
    )
    for k in range(len(found.steps)):
        judged = outcomes.folds[(k + 1) % len(found.steps)][1]
        np.testing.assert_allclose(logit_MB[k, judged], found.crossfit_B[judged], atol=1e-3)


@pytest.mark.parametrize("success", [logs.linear, logs.chance])
def test_it_does_not_win_where_a_line_is_enough_or_nothing_is(success):
    outcomes, _, found = fitted(success)
    assert not wins(gain(found.crossfit_B, found.anchor_B, outcomes.rows, 0))


def test_a_member_that_is_stopped_at_its_start_is_its_probe(monkeypatch):
    monkeypatch.setattr(network, "UPDATES", 0)
    _, _, found = fitted(logs.linear)
    assert found.steps == [0] * 5
    np.testing.assert_allclose(found.crossfit_B, found.anchor_B, atol=1e-5)
