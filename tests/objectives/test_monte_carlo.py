"""Monte-Carlo regression: by hand, and rows of unknown return weigh nothing."""

from __future__ import annotations

import functools
import math

import jax
import numpy as np
import pytest

from pgv_jax.objectives.monte_carlo import MonteCarlo

from .hand import batch, predictions

NAN = math.nan


@functools.cache
def compiled(head):
    return jax.jit(jax.value_and_grad(MonteCarlo(head=head).loss, has_aux=True))


def loss_and_gradients(said, facts, head):
    (loss, metrics), gradients = compiled(head)(said, facts)
    return float(loss), gradients, {name: float(value) for name, value in metrics.items()}


def test_by_hand():
    facts = batch([False] * 3, [False] * 3, [0.9] * 3, [0.81, NAN, 0.0])
    said = predictions(
        q=[[0.41, 9, 0.2], [0.81, 9, 0.4]],
        v=[0.61, 9, -0.2],
        q_target=[[5] * 3] * 2,
        next_v=[5] * 3,
    )
    loss, gradient, metrics = loss_and_gradients(said, facts, "linear")
    assert metrics["q_loss"] == pytest.approx((0.08 + 0 + 0.02 + 0.08) / 4)
    assert metrics["v_loss"] == pytest.approx((0.02 + 0.02) / 2)
    assert loss == metrics["loss"] == pytest.approx(0.065)
    assert metrics["td_error"] == pytest.approx((0.2 + 0.3) / 2)
    np.testing.assert_allclose(gradient.q_EB, [[-0.1, 0, 0.05], [0, 0, 0.1]], atol=1e-6)
    np.testing.assert_allclose(gradient.v_B, [-0.1, 0, -0.1], atol=1e-6)
    assert not np.any(gradient.q_target_EB) and not np.any(gradient.next_v_B)


def test_bounded_heads_regress_on_the_return_by_cross_entropy():
    facts = batch([False] * 2, [False] * 2, [0.9] * 2, [0.25, NAN])
    ln3 = math.log(3)  # sigmoid(ln 3) = 3/4
    said = predictions(q=[[ln3, 3.0]], v=[-ln3, 3.0], q_target=[[0, 0]], next_v=[0, 0])
    _, gradient, metrics = loss_and_gradients(said, facts, "sigmoid")
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert metrics["v_loss"] == pytest.approx(entropy)
    assert metrics["q_loss"] == pytest.approx(-0.25 * math.log(0.75) - 0.75 * math.log(0.25))
    np.testing.assert_allclose(gradient.q_EB, [[0.5, 0]], atol=1e-7)
    np.testing.assert_allclose(gradient.v_B, [0.0, 0], atol=1e-7)


@pytest.mark.parametrize("head", ["sigmoid", "linear"])
def test_a_batch_of_unknown_returns_teaches_nothing_and_is_finite(head):
    facts = batch([False] * 2, [False] * 2, [0.9] * 2)
    said = predictions(q=[[1, 2]], v=[3, 4], q_target=[[0, 0]], next_v=[0, 0])
    loss, gradient, metrics = loss_and_gradients(said, facts, head)
    assert loss == 0
    assert all(not np.any(g) for g in gradient)
    assert all(math.isfinite(value) for value in metrics.values())


def test_unknown_rows_change_nothing():
    known = batch([False], [False], [0.9], [0.5])
    more = batch([False] * 2, [False] * 2, [0.9] * 2, [0.5, NAN])
    one = predictions(q=[[1.0]], v=[2.0], q_target=[[0]], next_v=[0])
    two = jax.tree.map(lambda x: np.concatenate([x, 10 * x + 1], -1), one)
    a, b = loss_and_gradients(one, known, "sigmoid"), loss_and_gradients(two, more, "sigmoid")
    assert a[0] == pytest.approx(b[0])
