"""Relabeling: membership is membership, draws have their closed-form shares, facts are facts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency, chisquare

from pgv_jax.data.relabel import (
    CURRENT,
    FAILURE_ID,
    FUTURE,
    OUTCOME,
    RANDOM,
    SENTENCE_TRIES,
    SUCCESS_ID,
    Draw,
    GoalSpec,
    draw,
    facts,
    future_offset,
    holds,
    index_of,
    longest_note,
)
from pgv_jax.data.table import Shard
from pgv_jax.objectives.iql import td_target

FEW = 1e-3
"""A fixed key either passes or not; a wrong law is off by far more."""
MANY = 30_000


@dataclass(frozen=True)
class Note:
    """An observation in text numbers: the whole, and its sentences."""

    whole: int
    sentences: tuple[int, ...]

    def __contains__(self, goal: int) -> bool:
        return goal == self.whole or goal in self.sentences


@dataclass(frozen=True)
class Walk:
    """An episode of ``len(notes) - 1`` steps; success 1, 0 or -1 (unknown)."""

    notes: tuple[Note, ...]
    success: int = -1
    terminal: bool = False


def shard_of(walks: Sequence[Walk]) -> Shard:
    notes = [note for walk in walks for note in walk.notes]
    lengths = [len(walk.notes) for walk in walks]
    thought = np.arange(len(notes)) + 1000
    ends = np.cumsum(lengths)
    thought[ends - 1] = -1
    return Shard(
        vectors=np.zeros((0, 1), np.float32),
        row_obs=np.arange(len(notes)) + 2000,
        row_note=np.asarray([note.whole for note in notes]),
        row_thought=thought,
        row_episode=np.repeat(np.arange(len(walks)), lengths),
        sentence_start=np.cumsum([0, *(len(note.sentences) for note in notes)]),
        sentence_ids=np.asarray([i for note in notes for i in sorted(note.sentences)], int),
        episode_start=np.asarray([0, *ends]),
        episode_task=np.arange(len(walks)) + 3000,
        episode_success=np.asarray([walk.success for walk in walks]),
        episode_terminal=np.asarray([walk.terminal for walk in walks]),
    )


def index_and_longest(*shards: Shard):
    """The first shard's index; the others only pad it."""
    return jax.tree.map(lambda x: x[0], index_of(shards)), longest_note(shards)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def drawn(key, index, size: int, spec: GoalSpec, longest: int) -> Draw:
    return draw(key, index, size, spec, longest)


def spec_of(shares, gamma, **other) -> GoalSpec:
    plain = {"form": "sentence", "horizon": "geometric", "include_present": False, "failure": 0.5}
    return GoalSpec(shares, gamma, **{**plain, **other})


MIXED = spec_of((0.1, 0.4, 0.2, 0.3), 0.8, failure=0.3)
PADDING = Walk(tuple(Note(2, (2, 3, 4, 5)) for _ in range(40)))


def sample(walks: Sequence[Walk], spec: GoalSpec = MIXED) -> Draw:
    """Many draws. Beside a shard that pads it, so that a spec is compiled once for all walks."""
    index, longest = index_and_longest(shard_of(walks), shard_of([PADDING] * 4))
    return jax.device_get(drawn(jax.random.key(0), index, MANY, spec, longest))


def of_kind(got: Draw, kind: int) -> Draw:
    return jax.tree.map(lambda x: x[got.kind == kind], got)


def corridor(steps: int, start: int = 2, **outcome) -> Walk:
    """A walk whose row t says one sentence that no other row says: a goal tells its row."""
    return Walk(tuple(Note(start + t, (start + t,)) for t in range(steps + 1)), **outcome)


def corridors(*steps: int, **outcome) -> list[Walk]:
    starts = np.cumsum([2, *(n + 1 for n in steps)])
    return [corridor(n, int(start), **outcome) for n, start in zip(steps, starts, strict=False)]


# Membership


ROWS, POOL, MOST = 12, 9, 6
notes = st.builds(
    lambda sentences, own: Note(
        # A one-sentence note is that sentence; others are texts of their own.
        min(sentences) if len(sentences) == 1 else own,
        tuple(sentences),
    ),
    st.sets(st.integers(2, POOL - 1), max_size=MOST),
    st.integers(POOL, POOL + 3),
)


@functools.partial(jax.jit, static_argnums=1)
def holds_grid(index, longest: int):
    rows = np.arange(ROWS)[:, None]
    return holds(index, rows, np.arange(POOL + 4)[None], longest)


@settings(max_examples=60)
@given(st.lists(notes, min_size=ROWS, max_size=ROWS))
def test_holds_is_membership(rows: list[Note]) -> None:
    # Beside a shard that pads every array to one length: one compilation for all examples.
    padding = shard_of([Walk(tuple(Note(2, (2,)) for _ in range(ROWS * MOST)))])
    index, longest = index_and_longest(shard_of([Walk(tuple(rows))]), padding)
    most = max(1, *(len(note.sentences) for note in rows))
    assert longest == max(15, most)  # short notes share one program
    wanted = [[goal in note for goal in range(POOL + 4)] for note in rows]
    np.testing.assert_array_equal(holds_grid(index, most), wanted)
    np.testing.assert_array_equal(holds_grid(index, longest), wanted)


# Which steps and which goals


def test_every_step_is_drawn_alike_and_no_final_row() -> None:
    got = sample(corridors(1, 4, 2))
    rows, counts = np.unique(got.row, return_counts=True)
    assert rows.tolist() == [0, 2, 3, 4, 5, 7, 8]
    assert chisquare(counts).pvalue > FEW
    assert (got.thought == got.row + 1000).all()
    assert (got.obs == got.row + 2000).all() and (got.next_obs == got.obs + 1).all()
    assert (got.task == 3000 + np.searchsorted([2, 7, 10], got.row, side="right")).all()


@pytest.mark.parametrize("spec", [MIXED, spec_of((0, 0, 0, 2.0), 0.9, failure=0.0)])
def test_kinds_come_by_their_shares_and_unknown_outcomes_get_no_outcome_goals(spec) -> None:
    got = sample([corridor(3, success=1), corridor(3, start=6)], spec)
    shares = np.asarray(spec.shares) / sum(spec.shares)
    rest = np.where(np.arange(4) == OUTCOME, 0, shares)
    rest = rest / rest.sum() if rest.sum() else np.eye(4)[FUTURE]
    for rows, wanted in ((got.row < 4, shares), (got.row >= 4, rest)):
        counts = np.bincount(got.kind[rows], minlength=4)
        possible = wanted > 0
        assert counts[~possible].sum() == 0
        if possible.sum() > 1:
            assert chisquare(counts[possible], wanted[possible] * rows.sum()).pvalue > FEW
    about_outcome = set(of_kind(got, OUTCOME).goal)
    assert about_outcome == ({SUCCESS_ID, FAILURE_ID} if spec.failure else {SUCCESS_ID})
    assert (got.goal[got.kind != OUTCOME] >= 2).all()


@pytest.mark.parametrize(
    "spec",
    [
        MIXED,
        spec_of((0, 1, 0, 0), 0.8, include_present=True),
        spec_of((0, 1, 0, 0), 0.8, horizon="uniform", include_present=True),
        spec_of((0, 1, 0, 0), 1.0),
    ],
    ids=["exclusive", "inclusive", "uniform", "undiscounted"],
)
def test_future_goals_lie_ahead_by_the_closed_form(spec) -> None:
    """P(k) ~ gamma^k cut off at the end of the episode and renormalised, or all alike."""
    length, first = 4, 0 if spec.include_present else 1
    got = of_kind(sample([corridor(length)], spec), FUTURE)
    offsets = got.goal - 2 - got.row
    for row in range(length):
        ahead = np.arange(first, length - row + 1)
        weight = np.ones(len(ahead)) if spec.horizon == "uniform" else spec.gamma**ahead
        here = offsets[got.row == row]
        assert set(here) == set(ahead)
        if len(ahead) > 1:
            wanted = weight / weight.sum() * len(here)
            assert chisquare(np.bincount(here)[first:], wanted).pvalue > FEW


def test_current_goals_hold_now_and_random_goals_come_from_every_row() -> None:
    got = sample(corridors(3, 1, 4))
    current, anywhere = of_kind(got, CURRENT), of_kind(got, RANDOM)
    assert (current.goal == current.row + 2).all() and current.reached.all()
    counts = np.bincount(anywhere.goal)[2:]
    assert len(counts) == 11 and chisquare(counts).pvalue > FEW


def test_outcome_goals_do_not_depend_on_the_result() -> None:
    got = of_kind(sample([corridor(2, success=1), corridor(2, start=5, success=0)]), OUTCOME)
    failed, asked = got.row >= 3, got.goal == FAILURE_ID
    table = [[np.sum((failed == r) & (asked == a)) for a in (False, True)] for r in (False, True)]
    assert chi2_contingency(table).pvalue > FEW
    assert binomtest(int(asked.sum()), len(asked), MIXED.failure).pvalue > FEW


def test_a_sentence_goal_prefers_what_is_not_true_now() -> None:
    """A stale one is taken only if all tries are stale: share^tries, not share."""
    got = sample([Walk((Note(20, (2, 3, 4)), Note(21, (2, 3, 4, 5))))])
    future, current = of_kind(got, FUTURE), of_kind(got, CURRENT)
    stale = future.goal != 5
    assert binomtest(int(stale.sum()), len(stale), 0.75**SENTENCE_TRIES).pvalue > FEW
    assert (future.reached == stale).all() and set(future.goal) == {2, 3, 4, 5}
    # A current goal is any sentence of the present note.
    assert set(current.goal) == {2, 3, 4}
    assert chisquare(np.bincount(current.goal)[2:]).pvalue > FEW


def test_a_goal_is_the_whole_note_where_asked_or_where_it_has_no_sentence() -> None:
    walks = [Walk((Note(20, (2, 3)), Note(21, (3, 4)), Note(22, ())))]
    whole = of_kind(sample(walks, spec_of(MIXED.shares, 0.8, form="note")), FUTURE)
    assert set(whole.goal) == {21, 22} and not whole.reached.any()
    assert set(of_kind(sample(walks), FUTURE).goal) == {3, 4, 22}


def test_other_shards_change_nothing_but_the_padding() -> None:
    walks = corridors(3, 1, 4, success=1)
    index, longest = index_and_longest(shard_of(walks))
    alone = drawn(jax.random.key(0), index, MANY, MIXED, longest)
    for a, b in zip(alone, sample(walks), strict=True):
        np.testing.assert_array_equal(a, b)


# What is true of them


GAMMA = 0.9
STORY = (
    # two sentences that come and go, a note without any, one that is a single sentence
    Walk((Note(20, (2, 3)), Note(21, (3, 4)), Note(4, (4,)), Note(22, ())), 1, True),
    Walk((Note(21, (3, 4)), Note(20, (2, 3))), 0, True),
    Walk((Note(4, (4,)), Note(23, (2, 4)), Note(24, (3,))), 0, False),  # cut by a step limit
    Walk((Note(25, (2,)), Note(25, (2,))), -1, True),
    Walk((Note(25, (2,)), Note(26, (3, 4)), Note(27, (4,))), -1, False),  # the log merely stops
)


def truth(walk: Walk, t: int, goal: int, kind: int) -> dict[str, float]:
    """The facts of one step in plain words."""
    last = t + 2 == len(walk.notes)
    if kind == OUTCOME:
        happened = walk.success == (1 if goal == SUCCESS_ID else 0)
        reached, next_reached, over = False, last and happened, last
        returned = GAMMA ** (len(walk.notes) - 1 - t) * happened
    else:
        reached, next_reached = goal in walk.notes[t], goal in walk.notes[t + 1]
        over, returned = last and walk.terminal, np.nan
    return {
        "reached": reached,
        "next_reached": next_reached,
        "discount": 0.0 if reached or (over and not next_reached) else GAMMA,
        "monte_carlo": returned,
    }


@pytest.fixture(scope="module")
def told() -> tuple[Draw, list[tuple[Walk, int, int, int]]]:
    """Every step of the story with every goal of every kind, and what was asked."""
    asked, rows, begin = [], [], 0
    for walk in STORY:
        for t in range(len(walk.notes) - 1):
            goals = [(goal, FUTURE) for goal in (*range(2, 6), *range(20, 28))]
            if walk.success >= 0:
                goals += [(SUCCESS_ID, OUTCOME), (FAILURE_ID, OUTCOME)]
            asked += [(walk, t, *goal) for goal in goals]
            rows += [begin + t] * len(goals)
        begin += len(walk.notes)
    index, longest = index_and_longest(shard_of(STORY))
    goal, kind = (np.asarray([entry[i] for entry in asked]) for i in (2, 3))
    run = jax.jit(facts, static_argnums=(4, 5))
    return jax.device_get(run(index, np.asarray(rows), goal, kind, GAMMA, longest)), asked


@pytest.mark.parametrize("name", ["reached", "next_reached", "discount", "monte_carlo"])
def test_facts_by_enumeration(told, name) -> None:
    got, asked = told
    np.testing.assert_allclose(getattr(got, name), [truth(*a)[name] for a in asked], rtol=1e-6)


def test_targets_by_the_reward_convention(told) -> None:
    """1 at the goal, gamma one step before it, 0 where the task ended, else gamma V."""
    got, asked = told
    next_v = np.float32(0.5)
    seen = SimpleNamespace(
        reached_B=got.reached, next_reached_B=got.next_reached, discount_B=got.discount
    )
    targets = np.asarray(td_target(np.full(len(asked), next_v), seen))
    for target, (walk, t, goal, kind) in zip(targets, asked, strict=True):
        fact, last = truth(walk, t, goal, kind), t + 2 == len(walk.notes)
        if fact["reached"]:
            wanted = 1.0
        elif fact["next_reached"]:
            wanted = GAMMA
        elif last and (walk.terminal or kind == OUTCOME):
            wanted = 0.0
        else:
            wanted = GAMMA * next_v
        assert target == pytest.approx(wanted)


def test_ends_by_hand(told) -> None:
    """Spelled out: what ends in the world ends the value, what ends in the log does not."""
    got, asked = told
    discount = {
        (STORY.index(w), t, g, k): d for (w, t, g, k), d in zip(asked, got.discount, strict=True)
    }
    assert discount[0, 2, 2, FUTURE] == 0  # terminal, and sentence 2 is not in the last note
    assert discount[2, 1, 4, FUTURE] == 0  # sentence 4 holds already
    assert discount[2, 1, 2, FUTURE] == 0  # so does sentence 2
    assert discount[2, 1, 20, FUTURE] == pytest.approx(GAMMA)  # truncated: bootstrap on
    assert discount[0, 2, SUCCESS_ID, OUTCOME] == pytest.approx(GAMMA)  # reached in s'
    assert discount[0, 2, FAILURE_ID, OUTCOME] == 0
    assert discount[2, 1, FAILURE_ID, OUTCOME] == pytest.approx(GAMMA)
    assert discount[2, 1, SUCCESS_ID, OUTCOME] == 0  # over, although the log is truncated
    assert discount[0, 0, SUCCESS_ID, OUTCOME] == pytest.approx(GAMMA)


@pytest.mark.parametrize("short", [1e-4, 5e-8, 1e-12])
def test_a_gamma_next_to_one_takes_all_offsets_nearly_alike(short):
    """P(k) ~ gamma^k by inversion at 1,000 even quantiles: within one of each offset's share."""
    spec = spec_of((0, 1, 0, 0), 1 - short)
    quantile = (np.arange(1000) + 0.5) / 1000
    bits = (quantile * 2**32).astype(np.uint32)
    offset = np.asarray(future_offset(bits, np.full(1000, 10, np.int32), spec))
    weight = (1 - short) ** np.arange(10.0)
    np.testing.assert_allclose(
        np.bincount(offset, minlength=11)[1:], 1000 * weight / weight.sum(), atol=1
    )
