"""Monte-Carlo regression: the baseline that learns the logged return and nothing else.

    L = l(Q(s, thought, g), G) + l(V(s, g), G),   G = gamma^(steps left) * [the outcome is g]

Defined for outcome goals of episodes whose outcome is known; other rows have no weight.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgv_jax.objectives.base import Objective
from pgv_jax.objectives.losses import Metrics, cross_entropy, squared_error
from pgv_jax.types import Batch, Predictions


class MonteCarlo(Objective):
    """Regression on the logged return; see the module's formula."""

    name: str = "monte_carlo"

    def loss(self, predictions: Predictions, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Rows of unknown return (NaN) are left out."""
        bounded = self.head == "sigmoid"
        loss = cross_entropy if bounded else squared_error
        known_B = ~jnp.isnan(batch.monte_carlo_B) & (batch.weight_B > 0)
        target_B = jnp.where(known_B, batch.monte_carlo_B, 0.0)
        weight_B = known_B / jnp.maximum(known_B.sum(), 1)
        q_loss = (loss(predictions.q_EB, jnp.broadcast_to(target_B, predictions.q_EB.shape))).mean(
            0
        )
        q_loss = (weight_B * q_loss).sum()
        v_loss = (weight_B * loss(predictions.v_B, target_B)).sum()
        q_B = predictions.q_EB.mean(0)
        q_B = jax.nn.sigmoid(q_B) if bounded else q_B
        metrics = {
            "loss": q_loss + v_loss,
            "q_loss": q_loss,
            "v_loss": v_loss,
            "q_mean": q_B.mean(),
            "td_error": (weight_B * jnp.abs(q_B - target_B)).sum(),
        }
        return q_loss + v_loss, metrics
