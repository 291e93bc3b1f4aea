"""Hindsight relabeling as a pure JAX function of a key and the episodes' bounds.

It computes row and text *numbers* only, so the same draw serves a table on the device and one on
the host. Everything here is about one logical shard; the learner maps it over shards.

Reward convention: r(s, g) = 1 iff g holds in s (its sentence stands in the note of s, or the note
is g). An outcome holds after the last step of an episode that ended so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgv_jax.data.examples import Examples
from pgv_jax.data.next_notes import Notes
from pgv_jax.data.table import Shard
from pgv_jax.errors import PgvError
from pgv_jax.types import GOAL_KINDS

SUCCESS_ID, FAILURE_ID = 0, 1
"""Text numbers of the outcome sentences in every shard."""
CURRENT, FUTURE, RANDOM, OUTCOME = range(len(GOAL_KINDS))
SENTENCE_TRIES = 4
"""Sentences looked at for one that does not hold now; the last is taken if all do."""


Facts = Callable[[Any, jax.Array, jax.Array, jax.Array, float, int], Any]
"""(index, row, goal, kind, gamma, longest) -> Draw, as the function ``facts``."""
IntArray = Any
"""int32 of numpy on the host, of JAX on a device."""


@dataclass(frozen=True)
class GoalSpec:
    """How goals are drawn; ``shares`` in the order of ``GOAL_KINDS`` (any positive scale)."""

    shares: tuple[float, float, float, float]
    gamma: float
    form: str
    horizon: str
    include_present: bool
    failure: float
    facts: Facts | None = None
    """What is true of a step and a goal; None: ``facts``, those of one step."""


class Index(NamedTuple):
    """The int32 arrays of one shard that relabeling reads, padded to common lengths.

    ``step_row`` [n] lists the rows that are steps, of which the first ``steps`` are real.
    """

    shard: IntArray
    steps: IntArray
    rows: IntArray
    step_row: IntArray
    row_obs: IntArray
    row_note: IntArray
    row_thought: IntArray
    row_episode: IntArray
    sentence_start: IntArray
    sentence_ids: IntArray
    episode_start: IntArray
    episode_task: IntArray
    episode_success: IntArray
    episode_terminal: IntArray
    examples: ExampleIndex | None = None
    part_start: IntArray | None = None
    part_ids: IntArray | None = None


class ExampleIndex(NamedTuple):
    """A shard's ``Examples``, padded, of which ``first`` are of group 0 and ``count`` are real."""

    arrays: Examples
    first: IntArray
    count: IntArray


class Draw(NamedTuple):
    """Relabeled steps in numbers: rows and text numbers within the shard [B], then facts [B * G].

    Step i meets goals i, i + 1, ..., i + G - 1 (modulo B). The facts are those of ``types.Batch``.
    The last four are known of examples alone.
    """

    row: jax.Array
    task: jax.Array
    obs: jax.Array
    thought: jax.Array
    next_obs: jax.Array
    goal: jax.Array
    reached: jax.Array
    next_reached: jax.Array
    discount: jax.Array
    monte_carlo: jax.Array
    kind: jax.Array
    weight: jax.Array
    other: jax.Array | None = None
    has_other: jax.Array | None = None
    target: jax.Array | None = None
    value: jax.Array | None = None
    notes: Notes | None = None


SHORT_NOTE = 15
"""Shorter notes are searched as if of so many sentences: the number stands in the programs, and so
one serves all logs of short notes."""


def longest_note(shards: Sequence[Shard]) -> int:
    """The largest number of sentences in a note, ``SHORT_NOTE`` at least: ``holds`` needs it."""
    return max(SHORT_NOTE, *(int(np.diff(shard.sentence_start).max(initial=0)) for shard in shards))


def index_of(
    shards: Sequence[Shard],
    own: Sequence[int] | None = None,
    length: Callable[[int], int] = int,
    like: Sequence[Shard] = (),
) -> Index:
    """Stack the index arrays of the shards ``own`` (all), padded to the lengths that all need.

    Arrays are numpy's, [len(own), ...]; of the other shards only lengths are read, and of the
    shards ``like``, which are to fit as well. ``length`` may make a length longer.
    """
    own = range(len(shards)) if own is None else own

    with_parts = shards[0].part_start is not None

    def stack(name: str, fill: int) -> np.ndarray:
        width = length(max(1, *(len(getattr(shard, name)) for shard in (*shards, *like))))
        out = np.full((len(own), width), fill, np.int32)
        for row, s in zip(out, own, strict=True):
            array = getattr(shards[s], name)
            row[: len(array)] = array
        return out

    # Every row but an episode's last is a step.
    counts = [len(shard.row_obs) - len(shard.episode_success) for shard in (*shards, *like)]
    step_row = np.zeros((len(own), length(max(counts))), np.int32)
    for row, s in zip(step_row, own, strict=True):
        row[: counts[s]] = np.flatnonzero(np.asarray(shards[s].row_thought) >= 0)
    return Index(
        shard=np.asarray(own, np.int32),
        steps=np.asarray([counts[s] for s in own], np.int32),
        rows=np.asarray([len(shards[s].row_obs) for s in own], np.int32),
        step_row=step_row,
        row_obs=stack("row_obs", 0),
        row_note=stack("row_note", 0),
        row_thought=stack("row_thought", -1),
        row_episode=stack("row_episode", 0),
        sentence_start=stack("sentence_start", 0),
        sentence_ids=stack("sentence_ids", -1),
        episode_start=stack("episode_start", 0),
        episode_task=stack("episode_task", 0),
        episode_success=stack("episode_success", -1),
        episode_terminal=stack("episode_terminal", 0),
        examples=_example_index([shard.examples for shard in shards if shard.examples], own),
        part_start=stack("part_start", 0) if with_parts else None,
        part_ids=stack("part_ids", -1) if with_parts else None,
    )


def _example_index(shards: list[Examples], own: Sequence[int]) -> ExampleIndex | None:
    if not shards:
        return None
    width = max(len(examples.row) for examples in shards)
    shards = [shards[s] for s in own]

    def stack(*arrays: np.ndarray) -> np.ndarray:
        return np.stack([np.pad(array, (0, width - len(array))) for array in arrays])

    return ExampleIndex(
        Examples(*(stack(*arrays) for arrays in zip(*shards, strict=True))),
        np.asarray([int((examples.group == 0).sum()) for examples in shards], np.int32),
        np.asarray([len(examples.row) for examples in shards], np.int32),
    )


def holds(index: Index, row: jax.Array, goal: jax.Array, longest: int) -> jax.Array:
    """Does text ``goal`` stand in the note of ``row``, as one of its sentences or as the whole?

    ``row`` and ``goal`` broadcast. Binary search in the row's ascending sentence numbers, of which
    there are at most ``longest``.
    """
    shape = jnp.broadcast_shapes(row.shape, goal.shape)
    row, goal = jnp.broadcast_to(row, shape), jnp.broadcast_to(goal, shape)
    start, end = index.sentence_start[row], index.sentence_start[row + 1]

    low, high = start, end
    for _ in range(int(longest).bit_length()):  # unrolled: a few gathers in one kernel, no loop
        middle = (low + high) // 2
        below = (low < high) & (index.sentence_ids[middle] < goal)
        low, high = jnp.where(below, middle + 1, low), jnp.where(below, high, middle)
    found = (low < end) & (index.sentence_ids[jnp.minimum(low, end - 1)] == goal)
    return found | (index.row_note[row] == goal)


class Chance(NamedTuple):
    """All the randomness of a draw, made by one call: uint32 [B], or [tries, B]."""

    step: jax.Array
    kind: jax.Array
    offset: jax.Array
    other: jax.Array
    side: jax.Array
    sentence: jax.Array


def chance(key: jax.Array, size: int) -> Chance:
    """Draw the random bits of ``size`` steps."""
    bits = jax.random.bits(key, (5 + SENTENCE_TRIES, size), jnp.uint32)
    return Chance(bits[0], bits[1], bits[2], bits[3], bits[4], bits[5:])


def _below(bits: jax.Array, count: jax.Array) -> jax.Array:
    """Uniform over 0 .. count - 1 (0 for an empty range), for counts far below 2^32."""
    return (bits % jnp.maximum(count, 1).astype(jnp.uint32)).astype(jnp.int32)


def _unit(bits: jax.Array) -> jax.Array:
    """Uniform in [0, 1), float32."""
    return (bits >> 8).astype(jnp.float32) * 2.0**-24


def future_offset(bits: jax.Array, left: jax.Array, spec: GoalSpec) -> jax.Array:
    """Distance to a future row, in [1, left] (from 0 with ``include_present``); shape of ``left``.

    geometric: P(k) ~ gamma^k, cut off at the episode's end and renormalised, by inversion;
    uniform: all alike. OGBench clips instead, which heaps the mass past the end on the last row.
    """
    first = 0 if spec.include_present else 1
    count = left + 1 - first
    if spec.horizon == "uniform" or spec.gamma == 1.0:
        return first + _below(bits, count)
    rate = math.log(spec.gamma)  # on the host: float32 takes a gamma within 6e-8 of 1 for 1
    mass = -jnp.expm1(rate * count.astype(jnp.float32))
    k = jnp.floor(jnp.log1p(-_unit(bits) * mass) / rate)
    return first + jnp.clip(k.astype(jnp.int32), 0, count - 1)


def goal_kind(bits: jax.Array, known: jax.Array, spec: GoalSpec) -> jax.Array:
    """Index into ``GOAL_KINDS`` by the shares; where the outcome is not ``known``, its share is 0.

    Under outcome goals alone, a step of unknown outcome is given a future goal.
    """
    shares = np.asarray(spec.shares, np.float32)
    without = np.where(np.arange(len(shares)) == OUTCOME, 0, shares)
    if without.sum() == 0:
        without[FUTURE] = 1
    bounds = jnp.where(
        known[..., None],
        jnp.asarray(np.cumsum(shares / shares.sum())[None, :-1]),
        jnp.asarray(np.cumsum(without / without.sum())[None, :-1]),
    )
    return (_unit(bits)[..., None] >= bounds).sum(-1)


def _goal_text(
    bits: jax.Array, index: Index, row: jax.Array, now: jax.Array, spec: GoalSpec, longest: int
) -> jax.Array:
    """A goal from the note of ``row``: the whole, or a sentence that preferably is not true now.

    Rows of ``now`` that equal ``row`` (current goals) take any sentence. ``bits`` is [tries, B].
    """
    if spec.form == "note":
        return index.row_note[row]
    start = index.sentence_start[row]
    count = index.sentence_start[row + 1] - start
    texts = index.sentence_ids[start[None] + _below(bits, count[None])]
    fresh = (row == now)[None] | ~holds(index, now, texts, longest)
    first_fresh = jnp.argmax(fresh.at[-1].set(True), axis=0)
    chosen = jnp.take_along_axis(texts, first_fresh[None], axis=0)[0]
    return jnp.where(count > 0, chosen, index.row_note[row])


def draw(
    key: jax.Array, index: Index, size: int, spec: GoalSpec, longest: int, goals: int = 1
) -> Draw:
    """Draw ``size`` steps of one shard, uniformly, each with a goal; see the module's head.

    With ``goals`` > 1 every step also meets the goals of the ``goals - 1`` steps after it in the
    batch, as a random goal: B projections of goals then serve B * G triples.
    """
    bits = chance(key, size)
    if index.examples is not None:
        if goals > 1:
            raise PgvError(
                f"train.goals = {goals}, but this objective's examples name their goals; use 1."
            )
        return draw_examples(bits, index, index.examples)
    row = index.step_row[_below(bits.step, index.steps)]
    own = relabel(bits, index, row, spec, longest)
    if goals == 1:
        return own
    shift = (jnp.arange(size)[:, None] + jnp.arange(goals)[None, :]) % size
    goal, kind = own.goal[shift], own.kind[shift]
    is_own = jnp.arange(goals)[None, :] == 0
    kind = jnp.where(is_own | (kind == OUTCOME), kind, RANDOM)
    told, rows = spec.facts or facts, jnp.broadcast_to(row[:, None], goal.shape)
    met = told(index, rows, goal, kind, spec.gamma, longest)
    known = index.episode_success[index.row_episode[row]] >= 0
    counts = (is_own | (kind != OUTCOME) | known[:, None]) * 1.0
    flat = {
        name: getattr(met, name).reshape(-1)
        for name in ("reached", "next_reached", "discount", "monte_carlo", "kind")
    }
    return own._replace(**flat, weight=counts.reshape(-1))


def draw_examples(bits: Chance, index: Index, examples: ExampleIndex) -> Draw:
    """Draw examples of one shard; of its two groups, if it has both, in turn (balanced)."""
    odd = jnp.arange(bits.step.shape[0]) % 2 == 1
    second = (odd & (examples.first < examples.count)) | (examples.first == 0)
    low = jnp.where(second, examples.first, 0)
    high = jnp.where(second, examples.count, examples.first)
    one = jax.tree.map(lambda x: x[low + _below(bits.step, high - low)], examples.arrays)
    never = jnp.zeros(odd.shape, bool)
    return Draw(
        row=one.row,
        task=index.episode_task[index.row_episode[one.row]],
        obs=index.row_obs[one.row],
        thought=one.thought,
        next_obs=index.row_obs[one.row + 1],
        goal=one.goal,
        reached=never,
        next_reached=never,
        discount=jnp.zeros(odd.shape),
        monte_carlo=jnp.full(odd.shape, jnp.nan),
        kind=jnp.where(one.goal <= FAILURE_ID, OUTCOME, RANDOM),
        weight=jnp.ones(odd.shape),
        other=jnp.maximum(one.other, 0),
        has_other=one.other >= 0,
        target=one.target,
        value=one.value,
    )


def relabel(bits: Chance, index: Index, row: jax.Array, spec: GoalSpec, longest: int) -> Draw:
    """Give each step ``row`` [B] a goal and the facts that the objectives need."""
    episode = index.row_episode[row]
    end = index.episode_start[episode + 1] - 1
    kind = goal_kind(bits.kind, index.episode_success[episode] >= 0, spec)
    future = row + future_offset(bits.offset, end - row, spec)
    other = _below(bits.other, index.rows)
    goal_row = jnp.select([kind == CURRENT, kind == FUTURE], [row, future], other)
    goal = _goal_text(bits.sentence, index, goal_row, row, spec, longest)
    outcome = jnp.where(_unit(bits.side) < spec.failure, FAILURE_ID, SUCCESS_ID)
    goal = jnp.where(kind == OUTCOME, outcome, goal)
    return (spec.facts or facts)(index, row, goal, kind, spec.gamma, longest)


def facts(
    index: Index,
    row: jax.Array,
    goal: jax.Array,
    kind: jax.Array,
    gamma: float,
    longest: int,
) -> Draw:
    """What is true of step ``row`` and goal text ``goal``: reached now, next, discount, return."""
    episode = index.row_episode[row]
    end = index.episode_start[episode + 1] - 1
    is_outcome = kind == OUTCOME
    is_last = row + 1 == end
    outcome_holds = index.episode_success[episode] == (goal == SUCCESS_ID)
    both = holds(index, jnp.stack([row, row + 1]), goal, longest)
    reached = ~is_outcome & both[0]
    next_reached = jnp.where(is_outcome, is_last & outcome_holds, both[1])
    # Past its end an episode's outcome cannot change, even where the log was cut by a step limit.
    over = is_last & (is_outcome | (index.episode_terminal[episode] == 1)) & ~next_reached
    discount = gamma * (1.0 - reached) * (1.0 - over)
    returned = jnp.power(gamma, (end - row).astype(jnp.float32)) * outcome_holds
    return Draw(
        row=row,
        task=index.episode_task[episode],
        obs=index.row_obs[row],
        thought=index.row_thought[row],
        next_obs=index.row_obs[row + 1],
        goal=goal,
        reached=reached,
        next_reached=next_reached,
        discount=discount,
        monte_carlo=jnp.where(is_outcome, returned, jnp.nan),
        kind=kind,
        weight=jnp.ones(row.shape),
    )
