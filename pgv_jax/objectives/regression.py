"""Regression of both heads on targets that were computed from the logs by an objective.

    L = l(Q(s, thought, g), y) + l(V(s, g), z)

``l`` is the soft cross-entropy for bounded heads and half the squared error for linear ones. Where
z is NaN, V is left alone. AgentPRM and self-taught lookahead differ in their targets only.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgv_jax.objectives.losses import Metrics, cross_entropy, squared_error
from pgv_jax.types import Batch, Predictions


def regression(predictions: Predictions, batch: Batch, *, head: str) -> tuple[jax.Array, Metrics]:
    """Return the scalar loss and scalar metrics; see the module's formula."""
    loss = cross_entropy if head == "sigmoid" else squared_error
    target_B = batch.target_B
    assert target_B is not None
    q_loss = loss(predictions.q_EB, jnp.broadcast_to(target_B, predictions.q_EB.shape)).mean()
    v_loss = value_loss(predictions, batch, head=head)
    q_EB = jax.nn.sigmoid(predictions.q_EB) if head == "sigmoid" else predictions.q_EB
    metrics = {
        "loss": q_loss + v_loss,
        "q_loss": q_loss,
        "v_loss": v_loss,
        "q_mean": q_EB.mean(),
        "td_error": jnp.abs(q_EB.mean(0) - target_B).mean(),
    }
    return q_loss + v_loss, metrics


def value_loss(predictions: Predictions, batch: Batch, *, head: str) -> jax.Array:
    """Mean loss of V where the examples have a target for it; a scalar."""
    loss = cross_entropy if head == "sigmoid" else squared_error
    assert batch.value_B is not None
    known_B = ~jnp.isnan(batch.value_B)
    value_B = jnp.where(known_B, batch.value_B, 0.0)
    return (known_B * loss(predictions.v_B, value_B)).sum() / jnp.maximum(known_B.sum(), 1)
