"""Hand-made batches: only what an objective reads differs from row to row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgv_jax.types import Batch, Predictions


def batch(
    reached: Sequence[bool],
    next_reached: Sequence[bool],
    discount: Sequence[float],
    monte_carlo: Sequence[float] | None = None,
    weight: Sequence[float] | None = None,
) -> Batch:
    """A batch whose embeddings are empty: objectives do not read them."""
    rows = len(reached)
    nothing = np.zeros((rows, 0))
    return Batch(
        task_ND=nothing,
        task_B=None,
        obs_BD=nothing,
        thought_BD=nothing,
        next_obs_BD=nothing,
        goal_BD=nothing,
        reached_B=np.asarray(reached),
        next_reached_B=np.asarray(next_reached),
        discount_B=np.asarray(discount, np.float32),
        monte_carlo_B=np.asarray(monte_carlo or [np.nan] * rows, np.float32),
        kind_B=np.zeros(rows, np.int32),
        weight_B=np.asarray(weight or [1.0] * rows, np.float32),
    )


def predictions(
    q: Sequence[Sequence[float]],
    v: Sequence[float],
    q_target: Sequence[Sequence[float]],
    next_v: Sequence[float],
) -> Predictions:
    """What the networks said, as lists: q and q_target [E][B], v and next_v [B]."""
    return Predictions(*(np.asarray(x, np.float32) for x in (q, v, q_target, next_v)))
