"""Logged steps as columns: what a scorer is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pgv_jax.texts.templates import SUCCESS, History, observation_text
from pgv_jax.types import Candidate, Episode


class Scorer(Protocol):
    """A critic as the report sees it; ``critic.value.ValueFunction`` is one. All return [B]."""

    def q_pairs(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        """Q of each row's thought for each row's goal."""
        ...

    def v_pairs(
        self, tasks: Sequence[str], observations: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """V of each row for each row's goal."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """B scored thoughts as parallel columns.

    ``steps_left`` is T - t, so a success that is sure is worth gamma^steps_left at step t.
    """

    tasks: list[str]
    observations: list[str]
    thoughts: list[str]
    task_ids: list[str]
    step_B: np.ndarray
    steps_left_B: np.ndarray
    success_B: np.ndarray

    def __len__(self) -> int:
        return len(self.tasks)

    def take(self, index: np.ndarray) -> Rows:
        """The rows of an integer index or a boolean mask."""
        chosen = np.flatnonzero(index) if index.dtype == bool else index
        pick = [int(i) for i in chosen]
        return Rows(
            [self.tasks[i] for i in pick],
            [self.observations[i] for i in pick],
            [self.thoughts[i] for i in pick],
            [self.task_ids[i] for i in pick],
            self.step_B[chosen],
            self.steps_left_B[chosen],
            self.success_B[chosen],
        )


@dataclass(frozen=True, slots=True)
class Decisions:
    """Steps at which candidates were offered, of which some are known to be correct, some not.

    ``rows`` holds all candidates one after the other; decision i owns rows start[i]:start[i+1].
    """

    rows: Rows
    start: np.ndarray
    correct_B: np.ndarray
    task_ids: list[str]

    def __len__(self) -> int:
        return len(self.task_ids)


def step_rows(episodes: Iterable[Episode], history: History = 0) -> Rows:
    """Every logged step of the episodes whose outcome is known."""
    known = (e for e in episodes if e.success is not None)
    return rows_of(
        (e, t, e.steps[t].thought, observation_text(e, t, history))
        for e in known
        for t in range(len(e.steps))
    )


def decisions(episodes: Iterable[Episode], history: History = 0) -> Decisions:
    """Every step with at least one correct and one incorrect candidate."""
    found, sizes, correct, task_ids = [], [], [], []
    for episode in episodes:
        for t, step in enumerate(episode.steps):
            known = [c for c in step.candidates if c.correct is not None]
            if not _differ(known):
                continue
            seen = observation_text(episode, t, history)
            found += [(episode, t, c.thought, seen) for c in known]
            correct += [bool(c.correct) for c in known]
            sizes.append(len(known))
            task_ids.append(episode.task_id)
    start = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    return Decisions(rows_of(iter(found)), start, np.array(correct, bool), task_ids)


def q_success(scorer: Scorer, rows: Rows) -> np.ndarray:
    """Q of each row for the goal that the task is done."""
    goals = [SUCCESS] * len(rows)
    return np.asarray(
        scorer.q_pairs(rows.tasks, rows.observations, rows.thoughts, goals), np.float64
    )


def _differ(candidates: Sequence[Candidate]) -> bool:
    return len({bool(c.correct) for c in candidates}) == 2


def rows_of(found: Iterator[tuple[Episode, int, str, str]]) -> Rows:
    """Columns of (episode, step, thought, observation text); an unknown outcome counts as False."""
    rows = list(found)
    return Rows(
        [e.task for e, _, _, _ in rows],
        [seen for _, _, _, seen in rows],
        [thought for _, _, thought, _ in rows],
        [e.task_id for e, _, _, _ in rows],
        np.array([t for _, t, _, _ in rows], np.int64),
        np.array([len(e.steps) - t for e, t, _, _ in rows], np.int64),
        np.array([bool(e.success) for e, _, _, _ in rows], bool),
    )
