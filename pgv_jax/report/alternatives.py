"""Real decisions at which something else was thought of: what a critic would have taken there.

Another thought is one that the run offered; else what another attempt at the task thought where it
saw the same; else what another attempt thought at the same step, where it saw something else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pgv_jax.report.rows import Rows, Scorer, q_success, rows_of
from pgv_jax.texts.templates import SUCCESS, History, observation_text
from pgv_jax.types import Episode

MOST_DECISIONS, MOST_OTHERS = 400, 4
"""Decisions that are asked about at most, evenly over the log, and other thoughts of each."""
OFFERED, SAME, ATTEMPT, DONE = "offered", "same", "attempt", "done"
"""Where a thought is from: the run offered it; another attempt that saw the same; another attempt
at the same step; the decision itself."""


@dataclass(frozen=True, slots=True)
class Option:
    """A thought, where it is from, its Q of success, and how the attempt that took it ended."""

    thought: str
    origin: str
    q: float
    success: bool | None


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """A decision again: ``options`` in falling order of Q, and V of success where it is known."""

    episode: Episode
    t: int
    options: tuple[Option, ...]
    v: float | None = None

    @property
    def done(self) -> Option:
        """What was done."""
        return next(option for option in self.options if option.origin == DONE)

    @property
    def gap(self) -> float:
        """By how much the best thought is above what was done; 0: it would have done the same."""
        return self.options[0].q - self.done.q


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a critic says of a log's decisions; ``shown`` are those with the widest gaps.

    ``compared`` decisions had another thought, and it differs in ``differing``. Of ``told``
    decisions, whose options came from attempts that succeeded and attempts that failed, it takes
    one of a success in ``right``; a choice at random does in ``chance`` of them on average.
    """

    shown: tuple[Reconsidered, ...]
    compared: int
    differing: int
    told: int
    right: int
    chance: float


def compare(
    episodes: Sequence[Episode],
    scorer: Scorer,
    history: History,
    shown: int = 5,
    v_head: bool = True,
) -> Comparison:
    """Ask ``scorer`` about the decisions of ``episodes``.

    Where the log has no other thought at all, ``shown`` are the steps whose Q is furthest below V,
    or none without a V.
    """
    asked = _evenly(list(_asked(episodes)), MOST_DECISIONS)
    if not asked:
        doubted = _doubted(episodes, scorer, history, shown) if v_head else ()
        return Comparison(doubted, 0, 0, 0, 0, 0.0)
    rows = rows_of(
        (episode, t, thought, observation_text(episode, t, history))
        for episode, t, options in asked
        for thought, _, _ in options
    )
    q = iter(q_success(scorer, rows))
    found = []
    for episode, t, options in asked:
        scored = [
            Option(thought, origin, float(next(q)), success) for thought, origin, success in options
        ]
        scored.sort(key=lambda option: (-option.q, option.origin != DONE))
        found.append(Reconsidered(episode, t, tuple(scored)))
    mixed = [d for d in found if {True, False} <= {o.success for o in d.options}]
    return Comparison(
        _widest([d for d in found if d.gap > 0], shown),
        len(found),
        sum(d.gap > 0 for d in found),
        len(mixed),
        sum(d.options[0].success is True for d in mixed),
        sum(float(np.mean([o.success is True for o in d.options])) for d in mixed),
    )


Thought = tuple[str, str, bool | None]
"""A thought, where it is from, and how the attempt that took it ended."""
Asked = tuple[Episode, int, list[Thought]]


def _asked(episodes: Sequence[Episode]) -> Iterable[Asked]:
    """Decisions with another thought: what was done comes first. What is nearest decides."""
    same: dict[tuple[str, str], list[tuple[Episode, str]]] = defaultdict(list)
    at: dict[tuple[str, int], list[tuple[Episode, str]]] = defaultdict(list)
    for episode in episodes:
        for t, step in enumerate(episode.steps):
            same[episode.task_id, step.observation.strip()].append((episode, step.thought))
            at[episode.task_id, t].append((episode, step.thought))
    levels: list[list[Asked]] = [[], [], []]
    for episode in episodes:
        for t, step in enumerate(episode.steps):
            offered: list[Thought] = [
                (candidate.thought, OFFERED, None) for candidate in step.candidates
            ]
            met = same[episode.task_id, step.observation.strip()]
            groups: tuple[list[Thought], ...] = (
                offered,
                [(thought, SAME, e.success) for e, thought in met if e is not episode],
                [
                    (thought, ATTEMPT, e.success)
                    for e, thought in at[episode.task_id, t]
                    if e is not episode
                ],
            )
            for level, others in zip(levels, groups, strict=True):
                kept = _distinct(step.thought, others)
                if kept:
                    level.append((episode, t, [(step.thought, DONE, episode.success), *kept]))
                    break
    for level in levels:
        if level:  # decisions of the nearest kind alone: the kinds are not worth the same
            return level
    return []


def _distinct(done: str, others: Iterable[Thought]) -> list[Thought]:
    """At most ``MOST_OTHERS`` thoughts that are told apart from what was done and each other."""
    seen, kept = {done.strip()}, []
    for thought, origin, success in others:
        if thought.strip() and thought.strip() not in seen:
            seen.add(thought.strip())
            kept.append((thought, origin, success))
    return kept[:MOST_OTHERS]


def _evenly(asked: list[Asked], most: int) -> list[Asked]:
    if len(asked) <= most:
        return asked
    return [asked[i] for i in np.linspace(0, len(asked) - 1, most).astype(int)]


def _widest(found: Sequence[Reconsidered], shown: int) -> tuple[Reconsidered, ...]:
    """Those of the widest gaps, each once, one an episode while there are episodes enough."""
    once: dict[tuple[str, ...], Reconsidered] = {}
    for decision in sorted(found, key=lambda decision: -decision.gap):
        episode, step = decision.episode, decision.episode.steps[decision.t]
        once.setdefault((episode.task_id, step.observation, step.thought), decision)
    ranked = list(once.values())
    first: dict[str, Reconsidered] = {}
    for decision in ranked:
        first.setdefault(decision.episode.episode_id, decision)
    chosen = list(first.values())[:shown]
    rest = [decision for decision in ranked if decision not in chosen]
    return tuple([*chosen, *rest][:shown])


def _doubted(
    episodes: Sequence[Episode], scorer: Scorer, history: History, shown: int
) -> tuple[Reconsidered, ...]:
    """The steps whose thought it rates furthest below what it expects of the state."""
    steps = _evenly([(e, t, []) for e in episodes for t in range(len(e.steps))], MOST_DECISIONS)
    rows: Rows = rows_of(
        (e, t, e.steps[t].thought, observation_text(e, t, history)) for e, t, _ in steps
    )
    if not len(rows):
        return ()
    q_B = q_success(scorer, rows)
    v_B = scorer.v_pairs(rows.tasks, rows.observations, [SUCCESS] * len(rows))
    found = [
        Reconsidered(e, t, (Option(e.steps[t].thought, DONE, float(q), e.success),), v=float(v))
        for (e, t, _), q, v in zip(steps, q_B, v_B, strict=True)
    ]
    found.sort(key=lambda decision: decision.done.q - (decision.v or 0.0))
    first: dict[str, Reconsidered] = {}
    for decision in found:
        first.setdefault(decision.episode.episode_id, decision)
    return tuple(list(first.values())[:shown])
