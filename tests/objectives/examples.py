"""Hand-made batches of examples: ``hand.batch`` with targets, and predictions with a second Q."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pgv_jax.types import Batch, Predictions

from . import hand

NAN = math.nan


def batch(
    target: Sequence[float],
    value: Sequence[float] | None = None,
    has_other: Sequence[bool] | None = None,
) -> Batch:
    """A batch of examples whose embeddings are empty."""
    rows = len(target)
    plain = hand.batch([False] * rows, [False] * rows, [0.0] * rows)
    return plain._replace(
        target_B=np.asarray(target, np.float32),
        value_B=np.asarray(value or [NAN] * rows, np.float32),
        has_other_B=np.asarray([True] * rows if has_other is None else has_other),
        other_BD=np.zeros((rows, 0)),
    )


def predictions(
    q: Sequence[Sequence[float]],
    v: Sequence[float],
    other: Sequence[Sequence[float]] | None = None,
) -> Predictions:
    """What the networks said; the slow copy and V(s') must not matter, so they are large."""
    far = np.full(np.shape(q), 7.0, np.float32)
    said = hand.predictions(q, v, far, far[0])
    return said._replace(other_q_EB=None if other is None else np.asarray(other, np.float32))
