"""InversePRM: a process reward model from demonstrations (Choudhury 2025, arXiv:2502.10325).

    r(s, a) = q(s, a) - gamma q(s', a'),   r(s, a) = q(s, a) at the end of the task
    L = cross-entropy of sigmoid(r) with 1 for the expert's steps and 0 for the policy's

No reward is read. The gradient flows through both q. q is the head's raw output, under bounded
heads the logit of the published value: a difference of two numbers in [0, 1] could never be sure.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgv_jax.objectives.iql import Metrics
from pgv_jax.objectives.losses import cross_entropy
from pgv_jax.types import Batch, Predictions


def inverse_prm(
    predictions: Predictions, batch: Batch, *, gamma: float
) -> tuple[jax.Array, Metrics]:
    """Return the scalar loss and scalar metrics; the label stands in ``batch.target_B``."""
    label_B, has_next_B, next_q_EB = batch.target_B, batch.has_other_B, predictions.other_q_EB
    assert label_B is not None and has_next_B is not None and next_q_EB is not None
    reward_EB = predictions.q_EB - gamma * jnp.where(has_next_B[None], next_q_EB, 0.0)
    loss = cross_entropy(reward_EB, jnp.broadcast_to(label_B, reward_EB.shape)).mean()
    expert_B = label_B > 0.5
    metrics = {
        "loss": loss,
        "q_loss": loss,
        "right": ((reward_EB.mean(0) > 0) == expert_B).mean(dtype=jnp.float32),
        "expert": expert_B.mean(dtype=jnp.float32),
    }
    return loss, metrics
