"""Centre and scale each field's embeddings while learning; fold that into the first layer after.

Sentence embeddings share a large mean direction, and what tells two notes apart is small beside
it. Training on (x - mean_f) / scale_f is better conditioned and costs the published critic
nothing: W_f (x - m) / s = (W_f / s) x - (W_f / s) m, so the transform folds into kernel and bias.
Updates transform the embeddings and not the parameters: in bfloat16 the difference would cancel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgv_jax.data.table import Shard, Table
from pgv_jax.types import FIELDS, Batch

LEAST_SHARE = 0.01
"""A field whose texts differ less than this, of their mean square, is centred and not blown up."""
CHUNK = 65536


class Standard(NamedTuple):
    """One field's mean [D] and scale, a scalar: the root mean square of a centred entry."""

    mean: Any
    scale: Any


Standards = dict[str, Standard]


def standards_of(table: Table) -> Standards:
    """Mean and scale of each field over its distinct texts, shard by shard, in float64."""
    return {field: _standard(table, field) for field in FIELDS}


def _standard(table: Table, field: str) -> Standard:
    dim = table.manifest["dim"]
    total, squares, count = np.zeros(dim), 0.0, 0
    for shard in table.shards:
        ids = _texts(shard, field)
        for start in range(0, len(ids), CHUNK):
            vectors = np.asarray(shard.vectors[ids[start : start + CHUNK]], np.float64)
            total += vectors.sum(0)
            squares += float(np.square(vectors).sum())
            count += len(vectors)
    mean = total / count
    mean_square = squares / count
    variance = max(mean_square - float(mean @ mean), LEAST_SHARE * mean_square) / dim
    return Standard(mean.astype(np.float32), np.float32(np.sqrt(variance)))


def _texts(shard: Shard, field: str) -> np.ndarray:
    """The distinct texts of a shard that stand in a field, ascending."""
    if field == "task":
        return np.unique(shard.episode_task)
    if field == "observation":
        return np.unique(shard.row_obs)
    if field == "thought":
        return np.unique(shard.row_thought[np.asarray(shard.row_thought) >= 0])
    return np.unique(np.concatenate([[0, 1], shard.sentence_ids, shard.row_note]))


def standardized(batch: Batch, standards: Standards) -> Batch:
    """The batch with every embedding centred and scaled by its field's standard."""

    def of(x_BD: jax.Array, field: str) -> jax.Array:
        mean, scale = standards[field]
        return (x_BD - mean[None]) / scale

    return batch._replace(
        task_BD=of(batch.task_BD, "task"),
        obs_BD=of(batch.obs_BD, "observation"),
        thought_BD=of(batch.thought_BD, "thought"),
        next_obs_BD=of(batch.next_obs_BD, "observation"),
        goal_BD=of(batch.goal_BD, "goal"),
    )


def folded(params: Any, standards: Standards) -> Any:
    """Parameters for raw embeddings that give what ``params`` give for standardised ones."""
    out = {}
    for name, head in params.items():
        head = dict(head)
        bias_EH = head["bias_0"]
        for field in FIELDS:
            if field in head:
                mean, scale = standards[field]
                kernel_EDH = head[field]["kernel"] / scale
                bias_EH = bias_EH - jnp.einsum("d,edh->eh", mean, kernel_EDH)
                head[field] = {"kernel": kernel_EDH}
        out[name] = {**head, "bias_0": bias_EH}
    return out
