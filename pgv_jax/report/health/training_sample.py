"""The sample of training observations that tells at run time how far a question is from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pgv_jax.critic.support import Support
from pgv_jax.report.health.controls import leave_task_out, unit_vectors
from pgv_jax.report.rows import step_rows
from pgv_jax.texts.templates import History
from pgv_jax.types import Episode

KEPT = 512
"""Observations that an artifact keeps: 0.4 MB at 384 numbers each."""


def support_of(
    train: Sequence[Episode],
    embed: Callable[[Sequence[str]], np.ndarray],
    *,
    history: History,
    seed: int,
) -> Support | None:
    """A random sample of the training observations; None where there are fewer than two tasks.

    ``usual`` is taken within the sample, so that a thinner sample makes nothing look far.
    """
    rows = step_rows(list(train), history)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:KEPT])
    kept = rows.take(drawn)
    if len(set(kept.task_ids)) < 2:
        return None
    vectors = unit_vectors(embed, kept.observations)
    among = leave_task_out(vectors, np.array(kept.task_ids))
    return Support(vectors, float(np.quantile(among, 0.95)))
