"""Elementwise losses: hand tables for the value and for the gradient."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.objectives.losses import cross_entropy, expectile_weight, squared_error

LN3, LN4 = math.log(3), math.log(4)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


GRADIENTS = {loss: jax.jit(jax.value_and_grad(loss)) for loss in (cross_entropy, squared_error)}


def value_and_gradient(loss, prediction: float, target: float) -> tuple[float, float]:
    value, gradient = GRADIENTS[loss](np.float32(prediction), np.float32(target))
    return float(value), float(gradient)


@pytest.mark.parametrize(
    ("logit", "target", "value", "gradient"),
    [
        (LN3, 1.0, LN4 - LN3, -0.25),  # sigmoid(ln 3) = 3/4
        (LN3, 0.0, LN4, 0.75),
        (LN3, 0.75, LN4 - 0.75 * LN3, 0.0),  # the entropy of 3/4: the least that can be
        (-LN3, 0.0, LN4 - LN3, 0.25),
        (-LN3, 1.0, LN4, -0.75),
        (100.0, 0.0, 100.0, 1.0),
        (-100.0, 1.0, 100.0, -1.0),
        (100.0, 1.0, 0.0, 0.0),
        (-1e4, 0.5, 5e3, -0.5),
        (0.0, 1.0, np.log(2), -0.5),
        (0.0, 0.25, np.log(2), 0.25),
    ],
)
def test_cross_entropy_by_hand(logit, target, value, gradient):
    assert value_and_gradient(cross_entropy, logit, target) == pytest.approx(
        (value, gradient), rel=1e-6, abs=1e-6
    )


@pytest.mark.parametrize(
    ("prediction", "target", "value", "gradient"),
    [(3.0, 1.0, 2.0, 2.0), (1.0, 3.0, 2.0, -2.0), (0.5, 0.5, 0.0, 0.0), (-1.0, 0.5, 1.125, -1.5)],
)
def test_squared_error_by_hand(prediction, target, value, gradient):
    assert value_and_gradient(squared_error, prediction, target) == (value, gradient)


@pytest.mark.parametrize(
    ("difference", "expectile", "weight"),
    [(2.0, 0.9, 0.9), (-2.0, 0.9, 0.1), (0.25, 0.7, 0.7), (-0.25, 0.7, 0.3), (-1.0, 0.5, 0.5)],
)
def test_expectile_weight_by_hand(difference, expectile, weight):
    assert float(expectile_weight(jnp.float32(difference), expectile)) == pytest.approx(weight)


@given(st.floats(-10, 10, width=32), st.floats(-10, 10, width=32), st.booleans())
def test_expectile_one_half_is_half_of_the_plain_loss(prediction, target, bounded):
    loss = cross_entropy if bounded else squared_error
    target = sigmoid(target) if bounded else target
    prediction, target = np.float32(prediction), np.float32(target)
    weighted = expectile_weight(target - prediction, 0.5) * loss(prediction, target)
    assert float(weighted) == float(0.5 * loss(prediction, target))


@pytest.mark.parametrize("expectile", [0.6, 0.7, 0.9])
def test_the_expectile_of_two_values_minimises_the_loss(expectile):
    """Of targets 0 and 1 in equal parts it is tau itself, by either loss."""

    def slope(loss, prediction, value):
        """Of the sum over both targets, weights held fixed."""
        weights = [expectile_weight(np.float32(y - value(prediction)), expectile) for y in (0, 1)]
        slopes = [value_and_gradient(loss, prediction, y)[1] for y in (0, 1)]
        return float(np.dot(weights, slopes))

    logit = math.log(expectile / (1 - expectile))
    assert slope(squared_error, expectile, lambda x: x) == pytest.approx(0, abs=1e-6)
    assert slope(cross_entropy, logit, sigmoid) == pytest.approx(0, abs=1e-6)
    assert slope(squared_error, expectile + 0.1, lambda x: x) > 0
    assert slope(cross_entropy, logit - 0.5, sigmoid) < 0


@pytest.mark.parametrize(("expectile", "worth"), [(0.9, 0.754), (0.5, 0.285)])
def test_a_high_expectile_takes_luck_for_a_choice(expectile, worth):
    """A toss that succeeds three times in ten, every toss known by heart, one step before it.

    The expectile v of the tosses weighs .3 successes by tau and .7 failures by 1 - tau; a sure .6
    is worth .57 there. At one half the toss is worth .3 gamma, and the sure thing is preferred.
    """
    tosses = np.asarray([1.0] * 3 + [0.0] * 7, np.float32)
    v = np.linspace(0, 1, 1001, dtype=np.float32)
    weight = expectile_weight(tosses[:, None] - v[None], expectile)
    loss = np.asarray(weight * squared_error(v[None], tosses[:, None])).mean(0)
    assert 0.95 * v[loss.argmin()] == pytest.approx(worth, abs=1e-3)
    assert bool(v[loss.argmin()] > 0.6) == (expectile > 0.5)
