"""AgentPRM by hand: soft cross-entropy, pairs, and the gradients of both."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from pgv_jax.objectives.agent_prm import AgentPRM

from . import examples

LN3 = math.log(3)  # sigmoid(ln 3) = 3/4


def loss_and_gradients(said, facts, **options):
    call = jax.value_and_grad(AgentPRM(**options).loss, has_aux=True)
    (loss, metrics), gradients = jax.jit(call)(said, facts)
    return float(loss), gradients, {name: float(value) for name, value in metrics.items()}


def entropy(q, y):
    return -y * math.log(q) - (1 - y) * math.log(1 - q)


def test_points_are_a_soft_cross_entropy_on_both_heads():
    facts = examples.batch(target=[0.25, 0.9], value=[0.5, math.nan])
    said = examples.predictions(q=[[LN3, -LN3], [-LN3, LN3]], v=[LN3, 9.0])
    loss, gradient, metrics = loss_and_gradients(said, facts, head="sigmoid", form="points")
    q_losses = [entropy(0.75, 0.25), entropy(0.25, 0.9), entropy(0.25, 0.25), entropy(0.75, 0.9)]
    assert metrics["q_loss"] == pytest.approx(sum(q_losses) / 4, rel=1e-6)
    assert metrics["v_loss"] == pytest.approx(entropy(0.75, 0.5), rel=1e-6)
    assert loss == pytest.approx(metrics["q_loss"] + metrics["v_loss"])
    assert metrics["td_error"] == pytest.approx((0.25 + 0.4) / 2, rel=1e-5)
    np.testing.assert_allclose(gradient.q_EB, [[0.5 / 4, -0.65 / 4], [0, -0.15 / 4]], atol=1e-7)
    np.testing.assert_allclose(gradient.v_B, [0.25, 0], atol=1e-7)  # NaN: V is left alone
    assert not np.any(gradient.q_target_EB) and not np.any(gradient.next_v_B)


def test_linear_heads_regress_by_squares():
    facts = examples.batch(target=[0.5], value=[1.0])
    said = examples.predictions(q=[[0.7], [0.1]], v=[0.6])
    loss, gradient, _ = loss_and_gradients(said, facts, head="linear", form="points")
    assert loss == pytest.approx((0.02 + 0.08) / 2 + 0.08)
    np.testing.assert_allclose(gradient.q_EB, [[0.1], [-0.2]], atol=1e-7)
    np.testing.assert_allclose(gradient.v_B, [-0.4], atol=1e-7)


def test_pairs_compare_the_raw_outputs_and_push_both():
    facts = examples.batch(target=[0.4, 0.1], value=[math.nan, math.nan])
    said = examples.predictions(q=[[LN3, 1.0]], v=[3.0, 3.0], other=[[0.0, 1.0 + LN3]])
    loss, gradient, metrics = loss_and_gradients(said, facts, head="sigmoid", form="pairs")
    assert loss == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)
    np.testing.assert_allclose(gradient.q_EB, [[-0.25 / 2, -0.75 / 2]], atol=1e-7)
    np.testing.assert_allclose(gradient.other_q_EB, [[0.25 / 2, 0.75 / 2]], atol=1e-7)
    assert not np.any(gradient.v_B)
    assert metrics["right"] == 0.5
