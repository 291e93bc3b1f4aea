"""Batches: a function of (seed, step, logical shard), whatever the devices.

Each logical shard holds its own episodes, vectors and random stream, and gives B / S steps of a
batch; a device holds one or more shards. So 1, 2 or 8 devices see the same batches in the same
order, and a resumed run continues at (seed, step) with nothing to replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgv_jax.config import Config
from pgv_jax.data.relabel import Draw, GoalSpec, Index, draw, index_of
from pgv_jax.data.table import Table
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.standardize import standardized, standards_of
from pgv_jax.types import Batch


class ResidentData(NamedTuple):
    """All of a table on the devices: vectors [S, U, D] (padded) and the index [S, ...]."""

    vectors: Any
    rows: Index


def goal_spec(config: Config) -> GoalSpec:
    """The goal mixture that a configuration asks for."""
    g = config.goals
    return GoalSpec(
        shares=(g.current, g.future, g.random, g.outcome),
        gamma=config.objective.gamma,
        form=g.form,
        horizon=g.horizon,
        include_present=g.include_present,
        failure=g.failure,
    )


def gather(vectors_UD: jax.Array, draw: Draw) -> Batch:
    """Turn the text numbers of a draw into embeddings."""

    def take(ids: jax.Array) -> jax.Array:
        return vectors_UD[ids].astype(jnp.float32)

    return Batch(
        task_BD=take(draw.task),
        obs_BD=take(draw.obs),
        thought_BD=take(draw.thought),
        next_obs_BD=take(draw.next_obs),
        goal_BD=take(draw.goal),
        reached_B=draw.reached,
        next_reached_B=draw.next_reached,
        discount_B=draw.discount,
        monte_carlo_B=draw.monte_carlo,
        kind_B=draw.kind,
    )


class ResidentFeed:
    """The whole table on the devices; sampling, relabeling and gathering happen inside jit."""

    def __init__(self, table: Table, mesh: Mesh, config: Config):
        shards = table.shards
        meshes.check_batch(config.train.batch, len(shards))
        self.standards = standards_of(table)
        self._mesh = mesh
        self._per_shard = config.train.batch // len(shards)
        self._spec = goal_spec(config)
        self._seed = config.train.seed
        index, self._longest = index_of(shards)
        self.data = jax.device_put(
            ResidentData(_stack([shard.vectors for shard in shards]), index), meshes.split(mesh)
        )

    def batch(self, data: ResidentData, step: jax.Array) -> Batch:
        """The batch of update ``step``: [B, ...], split over the devices. For use inside jit.

        Its embeddings are standardised.
        """

        def local(step: jax.Array, data: ResidentData) -> Batch:
            def one(vectors_UD: jax.Array, index: Index) -> Batch:
                key = jax.random.fold_in(jax.random.key(self._seed), step)
                key = jax.random.fold_in(key, index.shard)
                drawn = draw(key, index, self._per_shard, self._spec, self._longest)
                return gather(vectors_UD, drawn)

            batches = jax.vmap(one)(data.vectors, data.rows)
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batches)

        return standardized(meshes.over_shards(self._mesh, local)(step, data), self.standards)


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    longest = max(len(array) for array in arrays)
    out = np.zeros((len(arrays), longest, arrays[0].shape[1]), arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
