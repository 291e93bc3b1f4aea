"""AgentPRM: a process reward model from Monte-Carlo returns (Choudhury 2025, arXiv:2502.10325).

    points   L = l(Q(s, a), y),   y = mean over the visits of (s, a) of (1 + gamma^k R) / 2
    pairs    L = -log sigmoid(q(s, a) - q(s, a')),   y(s, a) - y(s, a') > margin

R = 2 score - 1, k the steps that are left (``data.targets.agent_prm``); q is the head's raw output.
V is fitted to the mean return of the state in both forms.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgv_jax.objectives.iql import Metrics
from pgv_jax.objectives.regression import regression, value_loss
from pgv_jax.types import Batch, Predictions


def agent_prm(
    predictions: Predictions, batch: Batch, *, head: str, form: str
) -> tuple[jax.Array, Metrics]:
    """Return the scalar loss and scalar metrics; ``form`` is "points" or "pairs"."""
    if form == "points":
        return regression(predictions, batch, head=head)
    assert predictions.other_q_EB is not None
    gap_EB = predictions.q_EB - predictions.other_q_EB
    q_loss = jnp.logaddexp(0.0, -gap_EB).mean()
    v_loss = value_loss(predictions, batch, head=head)
    metrics = {
        "loss": q_loss + v_loss,
        "q_loss": q_loss,
        "v_loss": v_loss,
        "right": (gap_EB.mean(0) > 0).mean(dtype=jnp.float32),
    }
    return q_loss + v_loss, metrics
