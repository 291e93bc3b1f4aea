"""Batches: a function of (seed, step, logical shard), whatever the devices and the feed.

Each logical shard holds its own episodes, vectors and random stream, and gives B / S steps of a
batch; a device holds one or more shards. So 1, 2 or 8 devices see the same batches in the same
order, and a resumed run continues at (seed, step) with nothing to replay.

``ResidentFeed`` keeps the table on the devices and fuses K updates in one call. ``StreamFeed``
keeps the vectors in memory-mapped files: row numbers are still drawn on the devices, a thread
gathers the next updates' vectors while the devices compute. Both draw the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgv_jax.config import Config
from pgv_jax.data.relabel import Draw, GoalSpec, Index, draw, index_of
from pgv_jax.data.table import Table
from pgv_jax.errors import PgvError
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.state import State
from pgv_jax.learner.step import Metrics, Update
from pgv_jax.types import Batch

log = logging.getLogger(__name__)

STREAM_BYTES = 64 << 20
"""Vectors that one streamed call carries, about; two calls' worth are in memory."""
RESIDENT_SHARE = 0.5
"""Of the devices' memory, what a resident table may take."""
RESIDENT_BYTES = 2 << 30
"""What a resident table may take where a device does not tell its memory (a CPU)."""
EMBEDDED = ("task", "obs", "thought", "next_obs", "goal")


class Feed(Protocol):
    """Brings a state forward by whole updates."""

    def advance(self, state: State, step: int, length: int) -> tuple[State, Metrics]:
        """Do updates ``step + 1 .. step + length``; metrics are [length], still on the devices."""
        ...


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


def make_feed(table: Table, mesh: Mesh, config: Config, abstract: State, update: Update) -> Feed:
    """The feed that ``train.feed`` names; ``auto`` chooses by size and says why."""
    asked = config.train.feed
    if asked == "auto":
        size = sum(shard.vectors.nbytes for shard in table.shards)
        room = _room(mesh)
        asked = "resident" if size <= room else "stream"
        log.info(
            "feed %s: the table's vectors take %.2f GB, and %.2f GB may stay on the devices",
            *(asked, size / 1e9, room / 1e9),
        )
    kind = ResidentFeed if asked == "resident" else StreamFeed
    return kind(table, mesh, config, abstract, update)


def _room(mesh: Mesh) -> int:
    total = 0
    for device in mesh.devices.flat:
        stats = device.memory_stats() or {}
        total += int(RESIDENT_SHARE * stats["bytes_limit"]) if "bytes_limit" in stats else 0
    return total or RESIDENT_BYTES


class _Sampler:
    """Draws a batch's row and text numbers on the devices, each shard for itself."""

    def __init__(self, table: Table, mesh: Mesh, config: Config):
        shards = table.shards
        meshes.check_batch(config.train.batch, len(shards))
        self._mesh, self._spec, self._seed = mesh, goal_spec(config), config.train.seed
        self._per_shard = config.train.batch // len(shards)
        self._goals = config.train.goals
        if self._goals > self._per_shard:
            raise PgvError(
                f"train.goals = {self._goals} goals a step need as many steps a shard, but a batch "
                f"of {config.train.batch} over {len(shards)} shards has {self._per_shard}; use "
                f"train.goals={self._per_shard} or train.batch={self._goals * len(shards)}."
            )
        index, self._longest = index_of(shards)
        self.index: Index = jax.device_put(index, meshes.split(mesh))

    def draw(self, index: Index, step: jax.Array) -> Draw:
        """One shard's part of the batch of update ``step``."""
        key = jax.random.fold_in(jax.random.key(self._seed), step)
        key = jax.random.fold_in(key, index.shard)
        return draw(key, index, self._per_shard, self._spec, self._longest, self._goals)


def _batch(vectors: dict[str, jax.Array], drawn: Draw) -> Batch:
    return Batch(
        task_BD=vectors["task"],
        obs_BD=vectors["obs"],
        thought_BD=vectors["thought"],
        next_obs_BD=vectors["next_obs"],
        goal_BD=vectors["goal"],
        reached_B=drawn.reached,
        next_reached_B=drawn.next_reached,
        discount_B=drawn.discount,
        monte_carlo_B=drawn.monte_carlo,
        kind_B=drawn.kind,
        weight_B=drawn.weight,
    )


def _flat(tree: Any) -> Any:
    """[S, b, ...] -> [S * b, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


class _Resident(NamedTuple):
    """All of a table on the devices: vectors [S, U, D] (padded) and the index [S, ...]."""

    vectors: Any
    rows: Index


class ResidentFeed:
    """The whole table on the devices; K updates are one donated scan."""

    def __init__(self, table: Table, mesh: Mesh, config: Config, abstract: State, update: Update):
        self._sampler = _Sampler(table, mesh, config)
        self._mesh, self._abstract, self._update = mesh, abstract, update
        vectors = _stack([shard.vectors for shard in table.shards])
        self._data = _Resident(jax.device_put(vectors, meshes.split(mesh)), self._sampler.index)
        self._calls: dict[int, Any] = {}

    def advance(self, state: State, step: int, length: int) -> tuple[State, Metrics]:
        """One fused call; a length is compiled ahead of its first use and then never again."""
        if length not in self._calls:
            self._calls[length] = self._compiled(length)
        return self._calls[length](state, self._data)

    def batch(self, data: _Resident, step: jax.Array) -> Batch:
        """The batch of update ``step``, split over the devices; for use inside jit."""

        def local(step: jax.Array, data: _Resident) -> Batch:
            def one(vectors_UD: jax.Array, index: Index) -> Batch:
                drawn = self._sampler.draw(index, step)
                taken = {n: vectors_UD[getattr(drawn, n)].astype(jnp.float32) for n in EMBEDDED}
                return _batch(taken, drawn)

            return _flat(jax.vmap(one)(data.vectors, data.rows))

        return meshes.over_shards(self._mesh, local)(step, data)

    def _compiled(self, length: int) -> Any:
        def call(state: State, data: _Resident) -> tuple[State, Metrics]:
            def body(state: State, _: None) -> tuple[State, Metrics]:
                return self._update(state, self.batch(data, state.step))

            return jax.lax.scan(body, state, None, length=length)

        shardings = jax.tree.map(lambda leaf: leaf.sharding, self._abstract)
        jitted = jax.jit(
            call,
            donate_argnums=0,
            in_shardings=(shardings, meshes.split(self._mesh)),
            out_shardings=(shardings, meshes.replicated(self._mesh)),
        )
        return jitted.lower(self._abstract, self._data).compile()


class StreamFeed:
    """Vectors stay in the memory-mapped files; a thread gathers ahead of the devices."""

    def __init__(self, table: Table, mesh: Mesh, config: Config, abstract: State, update: Update):
        self._sampler = _Sampler(table, mesh, config)
        self._mesh, self._update = mesh, update
        self._vectors = [shard.vectors for shard in table.shards]
        bytes_an_update = config.train.batch * len(EMBEDDED) * table.manifest["dim"] * 4
        self._most = max(1, STREAM_BYTES // bytes_an_update)
        self._thread = ThreadPoolExecutor(1, "gather")
        self._ahead: tuple[tuple[int, int], Future] | None = None
        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
        self._numbers = jax.jit(self._draws, static_argnums=2)
        self._call = jax.jit(
            self._updates, donate_argnums=0, out_shardings=(shardings, meshes.replicated(mesh))
        )

    def advance(self, state: State, step: int, length: int) -> tuple[State, Metrics]:
        """Calls of at most ``STREAM_BYTES`` of vectors each; the next is gathered meanwhile."""
        parts = []
        end = step + length
        while step < end:
            size = min(self._most, end - step)
            vectors, drawn = self._gathered(step, size).result()
            following = step + size
            ahead = min(self._most, end - following) or min(self._most, length)
            self._prefetch(following, ahead)
            state, metrics = self._call(state, vectors, drawn)
            parts.append(metrics)
            step = following
        return state, jax.tree.map(lambda *x: jnp.concatenate(x), *parts)

    def _draws(self, index: Index, step: jax.Array, size: int) -> Draw:
        """Numbers of ``size`` updates: [S, size, b]."""

        def local(step: jax.Array, index: Index) -> Draw:
            steps = step + jnp.arange(size)
            return jax.vmap(lambda one: jax.vmap(lambda s: self._sampler.draw(one, s))(steps))(
                index
            )

        return meshes.over_shards(self._mesh, local)(step, index)

    def _updates(self, state: State, vectors: Any, drawn: Draw) -> tuple[State, Metrics]:
        """Scan over a call's updates: vectors {field: [S, size, b, D]}, drawn [S, size, ...]."""

        def body(state: State, part: tuple[Any, Draw]) -> tuple[State, Metrics]:
            taken, numbers = _flat(part)
            taken = {name: x.astype(jnp.float32) for name, x in taken.items()}
            return self._update(state, _batch(taken, numbers))

        by_update = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (vectors, drawn))
        return jax.lax.scan(body, state, by_update)

    def _prefetch(self, step: int, size: int) -> None:
        if self._ahead is None or self._ahead[0] != (step, size):
            self._ahead = ((step, size), self._thread.submit(self._gather, step, size))

    def _gathered(self, step: int, size: int) -> Future:
        self._prefetch(step, size)
        assert self._ahead is not None
        return self._ahead[1]

    def _gather(self, step: int, size: int) -> tuple[dict[str, jax.Array], Draw]:
        drawn = self._numbers(self._sampler.index, jnp.int32(step), size)
        numbers = jax.device_get({name: getattr(drawn, name) for name in EMBEDDED})
        taken = {
            name: np.stack([v[ids[s]] for s, v in enumerate(self._vectors)])
            for name, ids in numbers.items()
        }
        return jax.device_put(taken, meshes.split(self._mesh)), drawn


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    longest = max(len(array) for array in arrays)
    out = np.zeros((len(arrays), longest, arrays[0].shape[1]), arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
