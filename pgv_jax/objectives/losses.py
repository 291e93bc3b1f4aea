"""Elementwise losses. Every function maps arrays of one shape to an array of that shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Metrics = dict[str, jax.Array]
"""Scalars by name."""


def squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """1/2 (prediction - target)^2; its gradient in the prediction is prediction - target."""
    return 0.5 * jnp.square(prediction - target)


def cross_entropy(logit: jax.Array, target: jax.Array) -> jax.Array:
    """-y log sigmoid(x) - (1 - y) log(1 - sigmoid(x)) for y in [0, 1], stable for every logit x.

    Its gradient in the logit is sigmoid(x) - y, so its minimum is at the mean of the targets, as
    that of the squared error: a proper TD loss for values in [0, 1].
    """
    return jnp.logaddexp(logit, 0.0) - logit * target


def expectile_weight(difference: jax.Array, expectile: float) -> jax.Array:
    """|tau - 1(u < 0)| for u = target - prediction: tau above the prediction, 1 - tau below.

    Kostrikov et al. 2021, eq. 6, arXiv:2110.06169. tau = 1/2 weighs all alike.
    """
    return jnp.where(difference < 0, 1 - expectile, expectile)
