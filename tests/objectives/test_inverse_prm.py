"""InversePRM by hand: the reward is a difference of two Q, and the gradient reaches both."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from pgv_jax.objectives.inverse_prm import InversePRM

from . import examples

LN3 = math.log(3)  # sigmoid(ln 3) = 3/4


def loss_and_gradients(said, facts, gamma):
    call = jax.value_and_grad(InversePRM(gamma=gamma).loss, has_aux=True)
    (loss, metrics), gradients = jax.jit(call)(said, facts)
    return float(loss), gradients, {name: float(value) for name, value in metrics.items()}


def test_by_hand():
    # An expert's step, a policy's step, and a policy's last one, where Q(s', a') is not looked at.
    facts = examples.batch(target=[1, 0, 0], has_other=[True, True, False])
    said = examples.predictions(
        q=[[LN3 + 0.5, 0.5 - LN3, LN3]], v=[9, 9, 9], other=[[1.0, 1.0, 50.0]]
    )
    loss, gradient, metrics = loss_and_gradients(said, facts, gamma=0.5)
    # r = ln 3, -ln 3, ln 3: probabilities 3/4, 1/4, 3/4 of being the expert's.
    assert loss == pytest.approx((2 * -math.log(0.75) - math.log(0.25)) / 3, rel=1e-6)
    np.testing.assert_allclose(gradient.q_EB, [[-0.25 / 3, 0.25 / 3, 0.75 / 3]], atol=1e-6)
    np.testing.assert_allclose(gradient.other_q_EB, [[0.125 / 3, -0.125 / 3, 0]], atol=1e-6)
    assert not np.any(gradient.v_B) and not np.any(gradient.next_v_B)
    assert metrics["right"] == pytest.approx(2 / 3) and metrics["expert"] == pytest.approx(1 / 3)


def test_each_member_of_the_ensemble_has_its_own_reward():
    facts = examples.batch(target=[1], has_other=[True])
    said = examples.predictions(q=[[LN3], [-LN3]], v=[0.0], other=[[0.0], [0.0]])
    loss, gradient, _ = loss_and_gradients(said, facts, gamma=1.0)
    assert loss == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)
    np.testing.assert_allclose(gradient.q_EB, [[-0.125], [-0.375]], atol=1e-6)
