"""Batches: a function of (seed, step, logical shard), whatever the devices and the feed.

Each logical shard holds its own episodes, vectors and random stream, and gives B / S steps of a
batch; a device holds one or more shards. So 1, 2 or 8 devices see the same batches in the same
order, and a resumed run continues at (seed, step) with nothing to replay.

``ResidentFeed`` keeps the table on the devices and fuses a line of updates a call. ``StreamFeed``
keeps the vectors in memory-mapped files: row numbers are still drawn on the devices, a thread
gathers the next updates' vectors while the devices compute. Both draw the same rows. Of many
processes, each reads the shards that its devices hold.
"""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgv_jax.config import Config, CriticConfig
from pgv_jax.data.next_notes import notes_of
from pgv_jax.data.relabel import Draw, Index, draw, facts, index_of, longest_note
from pgv_jax.data.table import Table
from pgv_jax.errors import PgvError
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.row_files import Rows, index_length, padded_length, stack
from pgv_jax.learner.standardize import Constants, constants_of
from pgv_jax.learner.state import State, goal_spec
from pgv_jax.learner.step import Metrics, Update, scanned
from pgv_jax.types import Batch, Scenes

log = logging.getLogger(__name__)

STREAM_BYTES = 64 << 20
"""Vectors that one streamed call carries, about; two calls' worth are in memory."""
RESIDENT_SHARE = 0.5
"""Of the devices' memory, what a resident table may take."""
RESIDENT_BYTES = 2 << 30
"""What a resident table may take where a device does not tell its memory (a CPU)."""
DRAWN = 1 << 21
"""Triples that a resident feed draws at once, about 60 bytes each."""
FEW = 0.5
"""Distinct tasks are few where projecting them costs at most this share of projecting each row."""
EMBEDDED = ("obs", "thought", "next_obs", "goal", "other")


class Feed(Protocol):
    """Brings a state forward by whole updates, in calls that are queued one behind the other.

    Updates are fused in chunks that divide a line of metrics, so that which updates share a chunk
    depends on the step alone and not on how many are asked for; and so one program does them all.

    ``tasks`` is how many distinct tasks an update projects, or None where it projects one a step.
    """

    tasks: int | None

    def advance(self, state: State, step: int, length: int) -> tuple[State, list[Metrics]]:
        """Do updates ``step + 1 .. step + length``.

        Metrics are those of each call, [updates], still on the devices.
        """
        ...


def make_feed(
    table: Table,
    mesh: Mesh,
    config: Config,
    abstract: State,
    update: Update,
    like: Table | None = None,
) -> Feed:
    """The feed that ``train.feed`` names; ``auto`` chooses by size and says why.

    A resident table's arrays are made as long as those of ``like``, whose programs serve it then.
    """
    asked = config.train.feed
    if asked == "auto":
        longest = padded_length(max(len(shard.vectors) for shard in table.shards))
        row = table.manifest["dim"] * table.tasks.dtype.itemsize
        size = table.tasks.nbytes + len(table.shards) * longest * row
        room = _room(mesh)
        asked = "resident" if size <= room else "stream"
        log.info(
            "feed %s: the table's vectors take %.2f GB, and %.2f GB may stay on the devices",
            *(asked, size / 1e9, room / 1e9),
        )
    if asked == "resident":
        return ResidentFeed(table, mesh, config, abstract, update, like)
    return StreamFeed(table, mesh, config, abstract, update)


def _room(mesh: Mesh) -> int:
    total = 0
    for device in mesh.devices.flat:
        stats = (device.process_index == jax.process_index() and device.memory_stats()) or {}
        total += int(RESIDENT_SHARE * stats.get("bytes_limit", 0))
    return total * jax.process_count() or RESIDENT_BYTES


class _Sampler:
    """Draws a batch's row and text numbers on the devices, each shard for itself."""

    def __init__(self, table: Table, mesh: Mesh, config: Config, like: Table | None = None):
        shards, dim = table.shards, table.manifest["dim"]
        meshes.check_batch(config.train.batch, len(shards))
        self._mesh, self._spec = mesh, goal_spec(config.goals, config.objective)
        # An argument of the programs: with another seed they are the same ones.
        seed = jax.random.key_data(jax.random.key(config.train.seed))
        self.key = meshes.place_same(mesh, np.asarray(seed))
        self._per_shard = config.train.batch // len(shards)
        self._goals = config.train.goals
        if self._goals > self._per_shard:
            raise PgvError(
                f"train.goals = {self._goals} goals a step need as many steps a shard, but a batch "
                f"of {config.train.batch} over {len(shards)} shards has {self._per_shard}; use "
                f"train.goals={self._per_shard} or train.batch={self._goals * len(shards)}."
            )
        self._longest = longest_note([*shards, *(like.shards if like else ())])
        imagines = config.critic.q == "imagined" and table.parts is not None
        self._read = table.manifest["parts"]["longest"] if imagines else 0
        self.index: Index = meshes.place_shards(
            mesh,
            len(shards),
            lambda own: index_of(shards, own, index_length, like.shards if like else ()),
        )
        rows = config.train.batch // mesh.shape[meshes.DATA]
        # Projecting the distinct tasks and picking rows, in multiplications, against row by row.
        few = len(table.tasks) * (dim + rows) <= FEW * rows * dim
        self.tasks = len(table.tasks) if few else None

    def draw(self, index: Index, key: jax.Array, step: jax.Array) -> Draw:
        """One shard's part of the batch of update ``step``."""
        key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
        key = jax.random.fold_in(key, index.shard)
        drawn = draw(key, index, self._per_shard, self._spec, self._longest, self._goals)
        if not self._read:
            return drawn
        # The notes' value looks one step ahead, whatever the objective does.
        kind = drawn.kind.reshape(len(drawn.row), -1)[:, 0]
        ahead = facts(index, drawn.row, drawn.goal, kind, self._spec.gamma, self._longest)
        told = {name: getattr(ahead, name) for name in ("reached", "next_reached")}
        return drawn._replace(notes=notes_of(index, drawn.row, self._read)._replace(**told))

    def draws(self, index: Index, key: jax.Array, step: jax.Array, size: int) -> Draw:
        """Numbers of updates ``step`` .. ``step + size - 1`` at once: [S, size, b], for jit.

        A draw is many small operations on small arrays; together they cost little more than one's.
        """

        def local(start: tuple[jax.Array, jax.Array], index: Index) -> Draw:
            key, step = start
            steps = step + jnp.arange(size)
            return jax.vmap(lambda one: jax.vmap(lambda s: self.draw(one, key, s))(steps))(index)

        return meshes.over_shards(self._mesh, local)((key, step), index)


class _Parts(NamedTuple):
    """The known sentences [K, D] and each task's rows of them [N, M], on every device."""

    vectors: Any
    tasks: Any


def _parts_of(table: Table, mesh: Mesh, critic: CriticConfig) -> _Parts | None:
    if table.parts is None or critic.q != "imagined":
        return None
    placed = np.asarray(table.parts.parts), np.asarray(table.parts.task_parts)
    return _Parts(*meshes.place_same(mesh, placed))


def _batch(
    task_ND: Any,
    task_B: Any,
    vectors: dict[str, jax.Array],
    drawn: Draw,
    parts: _Parts | None,
) -> Batch:
    """Embeddings in float32, whatever type the table has."""
    taken: dict[str, Any] = {f"{name}_BD": x.astype(jnp.float32) for name, x in vectors.items()}
    names = ("reached", "next_reached", "discount", "monte_carlo", "kind", "weight")
    told: dict[str, Any] = {
        f"{name}_B": getattr(drawn, name) for name in (*names, "has_other", "target", "value")
    }
    batch = Batch(task_ND=task_ND.astype(jnp.float32), task_B=task_B, **taken, **told)
    if parts is None or drawn.notes is None:
        return batch
    now_BL, next_BL, end_B, whole_B, reached_B, next_reached_B = drawn.notes
    assert reached_B is not None and next_reached_B is not None
    task_BM = parts.tasks[drawn.task]
    scenes = Scenes(now_BL, next_BL, task_BM, end_B, whole_B, reached_B, next_reached_B)
    return batch._replace(parts_KD=parts.vectors.astype(jnp.float32), scenes=scenes)


def _embedded(drawn: Draw) -> dict[str, jax.Array]:
    """The text numbers whose vectors a batch needs."""
    return {n: getattr(drawn, n) for n in EMBEDDED if getattr(drawn, n) is not None}


def _by_update(tree: Any) -> Any:
    """[S, size, ...] -> [size, S, ...], what a scan over updates reads."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), tree)


def _line(length: int, log_every: int) -> int:
    """Updates of a call that share a line of metrics."""
    return length if length < log_every else math.gcd(length, log_every)


def _divisor(length: int, most: int) -> int:
    """The largest divisor of ``length`` up to ``most``."""
    return max(n for n in range(1, min(length, most) + 1) if length % n == 0)


def _flat(tree: Any) -> Any:
    """[S, b, ...] -> [S * b, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


class _Resident(NamedTuple):
    """All of a table on the devices: tasks [N, D], vectors [S, U, D] (padded), index [S, ...].

    ``key`` is the data of the random key that all draws come from. Arrays are longer than their
    contents (``padded_length``), so that one program serves logs of nearly the same size.
    """

    tasks: Any
    vectors: Any
    rows: Index
    parts: _Parts | None
    key: Any
    constants: Constants


class ResidentFeed:
    """The whole table on the devices; a line's updates are one donated scan."""

    def __init__(
        self,
        table: Table,
        mesh: Mesh,
        config: Config,
        abstract: State,
        update: Update,
        like: Table | None = None,
    ):
        self._sampler = sampler = _Sampler(table, mesh, config, like)
        self._mesh, self._abstract, self._update = mesh, abstract, update
        self.tasks = sampler.tasks
        shards = table.shards
        tables = [table, *([like] if like else [])]
        longest = padded_length(max(len(s.vectors) for each in tables for s in each.shards))
        count = padded_length(max(len(each.tasks) for each in tables))
        vectors = meshes.place_shards(
            mesh, len(shards), lambda own: stack([shards[s].vectors for s in own], longest)
        )
        tasks = meshes.place_same(mesh, stack([table.tasks], count)[0])
        parts = _parts_of(table, mesh, config.critic)
        constants = meshes.place_same(mesh, constants_of(table))
        self._data = _Resident(tasks, vectors, sampler.index, parts, sampler.key, constants)
        self._triples = config.train.batch * config.train.goals
        self._log_every = config.train.log_every
        self._calls: dict[int, Any] = {}

    def advance(self, state: State, step: int, length: int) -> tuple[State, list[Metrics]]:
        """A fused call a line; its program is compiled ahead of its first use, never again."""
        line = _line(length, self._log_every)
        if line not in self._calls:
            self._calls[line] = self._compiled(line)
        parts = []
        for _ in range(length // line):
            state, metrics = self._calls[line](state, self._data)
            parts.append(metrics)
        return state, parts

    def _compiled(self, line: int) -> Any:
        chunk = _divisor(line, max(1, DRAWN // self._triples))

        def call(state: State, data: _Resident) -> tuple[State, Metrics]:
            def updates(state: State, _: None) -> tuple[State, Metrics]:
                drawn = self._sampler.draws(data.rows, data.key, state.step, chunk)
                batch_of = partial(self._batch, data)
                return scanned(self._update, batch_of, state, _by_update(drawn), data.constants)

            state, metrics = jax.lax.scan(updates, state, None, length=line // chunk)
            return state, _flat(metrics)

        shardings = jax.tree.map(lambda leaf: leaf.sharding, self._abstract)
        jitted = jax.jit(
            call,
            donate_argnums=0,
            in_shardings=(shardings, jax.tree.map(lambda leaf: leaf.sharding, self._data)),
            out_shardings=(shardings, meshes.replicated(self._mesh)),
        )
        return jitted.lower(self._abstract, self._data).compile()

    def _batch(self, data: _Resident, drawn: Draw) -> Batch:
        """The batch of one update, split over the devices: drawn [S, b], for use inside jit."""

        def local(_: tuple[()], data: tuple[Any, dict[str, jax.Array]]) -> dict[str, jax.Array]:
            return jax.vmap(lambda x_UD, n: {name: x_UD[t] for name, t in n.items()})(*data)

        vectors = meshes.over_shards(self._mesh, local)((), (data.vectors, _embedded(drawn)))
        vectors, drawn = _flat((vectors, drawn))
        if self.tasks is not None:
            return _batch(data.tasks, drawn.task, vectors, drawn, data.parts)
        return _batch(data.tasks[drawn.task], None, vectors, drawn, data.parts)


class StreamFeed:
    """Vectors stay in the memory-mapped files; a thread gathers ahead of the devices."""

    def __init__(self, table: Table, mesh: Mesh, config: Config, abstract: State, update: Update):
        self._sampler = _Sampler(table, mesh, config)
        self._mesh, self._update, self._shards = mesh, update, table.shards
        self.tasks = self._sampler.tasks
        self._rows = Rows()
        # Few tasks are on the devices, many are read as the other vectors are.
        self._task_file = table.tasks
        few = self.tasks is not None
        tasks = meshes.place_same(mesh, np.asarray(table.tasks)) if few else None
        constants = meshes.place_same(mesh, constants_of(table))
        self._fixed = (tasks, _parts_of(table, mesh, config.critic), constants)
        fields = len(EMBEDDED) + (not few)
        width = table.manifest["dim"] * table.tasks.dtype.itemsize
        self._most = max(1, STREAM_BYTES // (config.train.batch * fields * width))
        self._log_every = config.train.log_every
        self._thread = ThreadPoolExecutor(1, "gather")
        self._ahead: tuple[tuple[int, int], Future] | None = None
        self._numbers = jax.jit(self._sampler.draws, static_argnums=3)
        self._abstract = abstract
        self._calls: dict[int, Any] = {}

    def advance(self, state: State, step: int, length: int) -> tuple[State, list[Metrics]]:
        """Calls of at most ``STREAM_BYTES`` of vectors each; the next is gathered meanwhile."""
        parts = []
        line = _line(length, self._log_every)
        begin, end = step, step + length
        while step < end:
            size = min(self._most, line - (step - begin) % line)
            vectors, drawn = self._gathered(step, size).result()
            following = step + size
            self._prefetch(following, min(self._most, line - (following - begin) % line))
            if size not in self._calls:
                self._calls[size] = self._compiled(vectors, drawn)
            state, metrics = self._calls[size](state, self._fixed, vectors, drawn)
            parts.append(metrics)
            step = following
        return state, parts

    def _updates(
        self, state: State, fixed: tuple[Any, ...], vectors: Any, drawn: Draw
    ) -> tuple[State, Metrics]:
        """Scan over a call's updates: vectors {field: [S, size, b, D]}, drawn [S, size, ...]."""
        tasks, parts, constants = fixed

        def batch_of(part: tuple[Any, Draw]) -> Batch:
            taken, numbers = _flat(part)
            if tasks is None:
                task_ND, task_B = taken.pop("task"), None
            else:
                task_ND, task_B = tasks, numbers.task
            return _batch(task_ND, task_B, taken, numbers, parts)

        return scanned(self._update, batch_of, state, _by_update((vectors, drawn)), constants)

    def _compiled(self, vectors: Any, drawn: Draw) -> Any:
        """The call on arrays like these, compiled ahead of its first use."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self._abstract)
        jitted = jax.jit(
            self._updates,
            donate_argnums=0,
            out_shardings=(shardings, meshes.replicated(self._mesh)),
        )
        return jitted.lower(self._abstract, self._fixed, vectors, drawn).compile()

    def _prefetch(self, step: int, size: int) -> None:
        if self._ahead is None or self._ahead[0] != (step, size):
            self._ahead = ((step, size), self._thread.submit(self._gather, step, size))

    def _gathered(self, step: int, size: int) -> Future:
        self._prefetch(step, size)
        assert self._ahead is not None
        return self._ahead[1]

    def _gather(self, step: int, size: int) -> tuple[dict[str, jax.Array], Draw]:
        drawn = self._numbers(self._sampler.index, self._sampler.key, jnp.int32(step), size)
        fields = {name: [shard.vectors for shard in self._shards] for name in _embedded(drawn)}
        if self._fixed[0] is None:
            fields["task"] = [self._task_file] * len(self._shards)
        taken = {
            name: self._placed(meshes.own_shards(getattr(drawn, name)), files)
            for name, files in fields.items()
        }
        return taken, drawn

    def _placed(self, numbers: dict[int, np.ndarray], files: list[np.ndarray]) -> jax.Array:
        """Read the rows of each shard of this process: [S, size, b, D] over the devices."""
        read = lambda own: np.stack([self._rows.read(files[s], numbers[s]) for s in own])  # noqa: E731
        return meshes.place_shards(self._mesh, len(files), read)
