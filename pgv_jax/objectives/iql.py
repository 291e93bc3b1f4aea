"""Goal-conditioned implicit Q-learning (Kostrikov et al. 2021; Hong et al. 2025).

    y      = r(s, g) + gamma (1 - r(s, g)) V(s', g),   V(s', g) = 1 where g holds in s'
    L_Q    = mean over the ensemble of l(Q(s, thought, g), y)
    L_V    = |tau - 1(u < 0)| l(V(s, g), Q_target(s, thought, g)),   u = Q_target - V

``l`` is the cross-entropy for bounded heads and half the squared error for linear ones.
arXiv:2110.06169 eqs. 5-6; arXiv:2505.18098, section 4.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from pgv_jax.objectives.base import Objective
from pgv_jax.objectives.losses import Metrics, cross_entropy, expectile_weight, squared_error
from pgv_jax.types import Batch, Predictions


def td_target(next_v_B: jax.Array, batch: Batch) -> jax.Array:
    """r + discount * V(s', g): 1 at the goal, gamma one step before it; shape [B]."""
    next_value_B = jnp.where(batch.next_reached_B, 1.0, next_v_B)
    return jnp.where(batch.reached_B, 1.0, batch.discount_B * next_value_B)


class GCIQL(Objective):
    """Goal-conditioned IQL; see the module's formulas."""

    bootstraps = True

    name: str = "gc_iql"
    expectile: float = Field(0.9, ge=0.5, lt=1, description="IQL asymmetry; .5 is the mean")
    reduce: Literal["min", "mean"] = Field("min", description="of the target ensemble, for V")

    def loss(self, predictions: Predictions, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The target ensemble is reduced by ``min`` (pessimistic, as in OGBench) or ``mean``.

        A reached goal ignores V(s') and Q alike: its V target is 1.
        """
        bounded = self.head == "sigmoid"
        value = jax.nn.sigmoid if bounded else (lambda x: x)
        loss = cross_entropy if bounded else squared_error

        target_B = jax.lax.stop_gradient(td_target(value(predictions.next_v_B), batch))
        weight_B = batch.weight_B / jnp.maximum(batch.weight_B.sum(), 1)
        q_loss_EB = loss(predictions.q_EB, jnp.broadcast_to(target_B, predictions.q_EB.shape))
        q_loss = (weight_B * q_loss_EB.mean(0)).sum()

        q_target_EB = value(predictions.q_target_EB)
        q_target_B = q_target_EB.min(0) if self.reduce == "min" else q_target_EB.mean(0)
        q_target_B = jax.lax.stop_gradient(jnp.where(batch.reached_B, 1.0, q_target_B))
        difference_B = q_target_B - jax.lax.stop_gradient(value(predictions.v_B))
        side_B = expectile_weight(difference_B, self.expectile)
        v_loss = (weight_B * (side_B * loss(predictions.v_B, q_target_B))).sum()

        q_B = value(predictions.q_EB).mean(0)
        metrics = {
            "loss": q_loss + v_loss,
            "q_loss": q_loss,
            "v_loss": v_loss,
            "q_mean": q_B.mean(),
            "v_mean": value(predictions.v_B).mean(),
            "td_error": (weight_B * jnp.abs(q_B - target_B)).sum(),
        }
        return q_loss + v_loss, metrics
