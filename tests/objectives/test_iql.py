"""Goal-conditioned IQL: losses and gradients by hand, and where the gradient stops."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgv_jax.objectives.iql import GCIQL, td_target
from pgv_jax.types import Predictions

from .hand import batch, predictions

LINEAR = {"expectile": 0.9, "head": "linear", "reduce": "min"}
BOUNDED = {**LINEAR, "head": "sigmoid"}


def logit(value: float) -> float:
    return math.log(value / (1 - value))


@functools.cache
def compiled(**options):
    return jax.jit(jax.value_and_grad(GCIQL(**options).loss, has_aux=True))


def loss_and_gradients(said: Predictions, facts, **options) -> tuple[float, Predictions, dict]:
    (loss, metrics), gradients = compiled(**options)(said, facts)
    return float(loss), gradients, {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize(
    ("reached", "next_reached", "discount", "next_v", "target"),
    [
        (False, False, 0.9, 0.5, 0.45),
        (False, True, 0.9, 0.5, 0.9),  # one step before the goal: gamma, whatever V says
        (True, False, 0.0, 0.5, 1.0),  # at the goal: 1, whatever V and the discount say
        (True, True, 0.9, 0.5, 1.0),
        (False, False, 0.0, 0.5, 0.0),  # the task ended elsewhere
    ],
)
def test_td_target_by_hand(reached, next_reached, discount, next_v, target):
    got = td_target(jnp.asarray([next_v]), batch([reached], [next_reached], [discount]))
    assert got.tolist() == pytest.approx([target])


def test_linear_heads_by_hand():
    facts = batch([False, True], [False, False], [0.9, 0.0])
    said = predictions(
        q=[[0.25, 1.0], [0.65, 0.6]],
        v=[0.5, 0.8],
        q_target=[[0.3, 0.0], [0.5, 7.0]],
        next_v=[0.5, 3],
    )
    loss, gradient, metrics = loss_and_gradients(said, facts, **LINEAR)
    # targets .45 and 1: halves of squares .04 .04 | 0 .16, over 4
    assert metrics["q_loss"] == pytest.approx(0.03)
    # V's targets min(.3, .5) and 1: .1 * .02 and .9 * .02, over 2
    assert metrics["v_loss"] == pytest.approx(0.01)
    assert loss == metrics["loss"] == pytest.approx(0.04)
    np.testing.assert_allclose(gradient.q_EB, [[-0.05, 0.0], [0.05, -0.1]], atol=1e-7)
    np.testing.assert_allclose(gradient.v_B, [0.01, -0.09], atol=1e-7)
    assert metrics["q_mean"] == pytest.approx(0.625)
    assert metrics["td_error"] == pytest.approx(0.1)  # of the ensemble's mean: 0 and .2


def test_bounded_heads_by_hand():
    facts = batch([False, True], [False, False], [0.9, 0.0])
    said = predictions(
        q=[[logit(0.25), logit(0.4)], [logit(0.75), logit(0.6)]],
        v=[logit(0.6), logit(0.8)],
        q_target=[[logit(0.3), 0.0], [logit(0.5), 2.0]],
        next_v=[0.0, 5.0],
    )
    loss, gradient, metrics = loss_and_gradients(said, facts, **BOUNDED)
    entropy = lambda q, y: -y * math.log(q) - (1 - y) * math.log(1 - q)  # noqa: E731
    q_losses = [entropy(0.25, 0.45), entropy(0.75, 0.45), entropy(0.4, 1), entropy(0.6, 1)]
    v_losses = [0.1 * entropy(0.6, 0.3), 0.9 * entropy(0.8, 1)]
    assert metrics["q_loss"] == pytest.approx(sum(q_losses) / 4, rel=1e-6)
    assert metrics["v_loss"] == pytest.approx(sum(v_losses) / 2, rel=1e-6)
    assert loss == pytest.approx(metrics["q_loss"] + metrics["v_loss"])
    # sigmoid(x) - y, over the count, times the expectile's weight
    np.testing.assert_allclose(gradient.q_EB, [[-0.05, -0.15], [0.075, -0.1]], atol=1e-6)
    np.testing.assert_allclose(gradient.v_B, [0.1 * 0.3 / 2, 0.9 * -0.2 / 2], atol=1e-6)


def test_mean_of_the_target_ensemble_is_an_option():
    facts = batch([False], [False], [0.9])
    said = predictions(q=[[0.0], [0.0]], v=[0.5], q_target=[[0.3], [0.5]], next_v=[0.0])
    low = loss_and_gradients(said, facts, **LINEAR)[2]["v_loss"]
    middle = loss_and_gradients(said, facts, **{**LINEAR, "reduce": "mean"})[2]["v_loss"]
    assert (low, middle) == pytest.approx((0.1 * 0.02, 0.1 * 0.005))
    bounded = predictions(
        q=[[1], [1]], v=[logit(0.7)], q_target=[[logit(0.2)], [logit(0.6)]], next_v=[0]
    )
    gradient = loss_and_gradients(bounded, facts, **{**BOUNDED, "reduce": "mean"})[1]
    # The mean of the values, not of the logits.
    np.testing.assert_allclose(gradient.v_B, [0.1 * (0.7 - 0.4)], atol=1e-6)


@pytest.fixture
def random_case():
    generator = np.random.default_rng(0)
    draw = lambda *shape: generator.normal(size=shape)  # noqa: E731
    reached = np.arange(12) % 3 == 0
    facts = batch(reached, np.arange(12) % 4 == 1, 0.9 * ~reached)
    return predictions(draw(3, 12), draw(12), draw(3, 12), draw(12)), facts, reached


@pytest.mark.parametrize("head", ["sigmoid", "linear"])
@pytest.mark.parametrize("reduce", ["min", "mean"])
def test_the_slow_copy_and_the_next_value_get_no_gradient(random_case, head, reduce):
    said, facts, _ = random_case
    _, gradient, _ = loss_and_gradients(said, facts, expectile=0.9, head=head, reduce=reduce)
    assert not np.any(gradient.q_target_EB)
    assert not np.any(gradient.next_v_B)
    assert np.all(gradient.q_EB) and np.all(gradient.v_B)


@pytest.mark.parametrize("options", [LINEAR, BOUNDED], ids=["linear", "bounded"])
def test_a_reached_goal_ignores_the_next_value_and_the_slow_q(random_case, options):
    said, facts, reached = random_case
    other = said._replace(
        next_v_B=said.next_v_B + 5.0 * reached, q_target_EB=said.q_target_EB - 3.0 * reached[None]
    )
    before, after = (loss_and_gradients(p, facts, **options) for p in (said, other))
    assert before[0] == after[0]
    for a, b in zip(before[1], after[1], strict=True):
        np.testing.assert_array_equal(a, b)
    # ... and the others do not.
    assert (
        loss_and_gradients(said._replace(next_v_B=said.next_v_B + 5), facts, **options)[0]
        != (before[0])
    )


def test_a_discount_of_zero_ignores_the_next_value(random_case):
    said, facts, _ = random_case
    never = jnp.zeros_like(facts.next_reached_B)
    cut = facts._replace(discount_B=0 * facts.discount_B, next_reached_B=never)
    other = said._replace(next_v_B=said.next_v_B * -7)
    a, b = (loss_and_gradients(p, cut, **BOUNDED) for p in (said, other))
    assert a[0] == b[0]


@pytest.mark.parametrize("options", [LINEAR, BOUNDED], ids=["linear", "bounded"])
def test_expectile_one_half_halves_the_plain_loss_of_v(random_case, options):
    said, facts, reached = random_case
    got = loss_and_gradients(said, facts, **{**options, "expectile": 0.5})[2]["v_loss"]
    bounded = options["head"] == "sigmoid"
    value = (lambda x: 1 / (1 + np.exp(-x))) if bounded else (lambda x: x)
    v = value(np.asarray(said.v_B, float))
    target = np.where(reached, 1.0, value(np.asarray(said.q_target_EB, float)).min(0))
    cross_entropy = -target * np.log(np.abs(v)) - (1 - target) * np.log(np.abs(1 - v))
    plain = cross_entropy if bounded else 0.5 * (v - target) ** 2
    assert got == pytest.approx(0.5 * plain.mean(), rel=1e-5)
