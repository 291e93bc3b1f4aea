"""Mean and scale of each field's embeddings, over its distinct texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pgv_jax.types import FIELDS

if TYPE_CHECKING:
    from pgv_jax.data.table import Shard

LEAST_SHARE = 0.01
"""A field whose texts differ less than this, of their mean square, is centred and not blown up."""
CHUNK = 65536


def field_moments(shards: Sequence[Shard], tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 mean [F, D] and scale [F], fields in the order of ``FIELDS``.

    The scale is the root mean square of a centred entry. Each shard counts its own distinct texts
    once; sums are in float64.
    """
    told = [_standard(_pieces(shards, tasks, field)) for field in FIELDS]
    return np.stack([mean for mean, _ in told]), np.asarray([s for _, s in told], np.float32)


def _standard(pieces: Iterator[np.ndarray]) -> tuple[np.ndarray, np.float32]:
    total, squares, count = np.zeros(()), 0.0, 0
    for piece in pieces:
        vectors = np.asarray(piece, np.float64)
        total = total + vectors.sum(0)
        squares += float(np.square(vectors).sum())
        count += len(vectors)
    mean = total / count
    mean_square = squares / count
    variance = max(mean_square - float(mean @ mean), LEAST_SHARE * mean_square) / len(mean)
    return mean.astype(np.float32), np.float32(np.sqrt(variance))


def _pieces(shards: Sequence[Shard], tasks: np.ndarray, field: str) -> Iterator[np.ndarray]:
    if field == "task":
        for start in range(0, len(tasks), CHUNK):
            yield tasks[start : start + CHUNK]
        return
    for shard in shards:
        ids = _texts(shard, field)
        for start in range(0, len(ids), CHUNK):
            yield shard.vectors[ids[start : start + CHUNK]]


def _texts(shard: Shard, field: str) -> np.ndarray:
    """The distinct texts of a shard that stand in a field, ascending."""
    if field == "observation":
        return np.unique(shard.row_obs)
    if field == "thought":
        return np.unique(shard.row_thought[np.asarray(shard.row_thought) >= 0])
    return np.unique(np.concatenate([[0, 1], shard.sentence_ids, shard.row_note]))
