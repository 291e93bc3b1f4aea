"""Would another critic choose otherwise? Where each one's best thought is, decision by decision.

Of two critics that differ in their expectile alone, the one with the higher takes luck for a choice
(docs/objectives.md, "Luck"): what they choose otherwise is what that costs, or gains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pgv_jax.report.health.alike import in_turns
from pgv_jax.report.health.sections import finite, not_testable
from pgv_jax.report.rows import Rows, Scorer, q_success, rows_of
from pgv_jax.report.stats import cluster_share
from pgv_jax.texts.templates import History, observation_text
from pgv_jax.types import Episode

CANDIDATES = "candidates of the log"
LOGGED = "thoughts of other steps"
"""What a decision chooses among where the log has no step with two candidates."""
DECISIONS, THOUGHTS = 128, 6
"""Decisions drawn in a log without candidates, and the thoughts of each: its own and others."""
NO_CHOICE = "no step has two candidates, and too few thoughts are logged"


def offered(episodes: Iterable[Episode], history: History = 0) -> tuple[Rows, np.ndarray]:
    """Every step with two candidates or more: their rows, and where each decision starts [D + 1].

    A thought that stands twice is one; whether it is known to be correct plays no part.
    """
    found, sizes = [], [0]
    for episode in episodes:
        for t, step in enumerate(episode.steps):
            thoughts = list(dict.fromkeys(candidate.thought for candidate in step.candidates))
            if len(thoughts) > 1:
                seen = observation_text(episode, t, history)
                found += [(episode, t, thought, seen) for thought in thoughts]
                sizes.append(len(thoughts))
    return rows_of(iter(found)), np.cumsum(sizes)


def best_differs(q_B: np.ndarray, other_B: np.ndarray, start: np.ndarray) -> np.ndarray:
    """For each decision, whether no thought is best for both critics: [D]. Ties share the best."""

    def best(scores: np.ndarray) -> np.ndarray:
        highest = np.maximum.reduceat(scores, start[:-1])
        return np.asarray(scores == np.repeat(highest, np.diff(start)))

    return ~np.logical_or.reduceat(best(q_B) & best(other_B), start[:-1])


def mixed(logged: Rows, seed: int) -> tuple[Rows, np.ndarray]:
    """Steps with their own thought and up to five others of the log, and where each begins [D + 1].

    At most ``DECISIONS`` steps, of as many tasks as possible; each draws its own thoughts, so that
    one pair of thoughts does not decide them all.
    """
    rng = np.random.default_rng(seed)
    every = list(dict.fromkeys(logged.thoughts))
    if len(every) < 2:
        return logged.take(np.arange(0)), np.zeros(1, np.int64)
    places = in_turns(logged.task_ids, seed)[:DECISIONS]
    chosen = []
    for place in places:
        own = logged.thoughts[place]
        drawn = rng.permutation(len(every))[:THOUGHTS]
        others = [every[i] for i in drawn if every[i] != own]
        chosen.append([own, *others[: THOUGHTS - 1]])
    sizes = [len(thoughts) for thoughts in chosen]
    rows = logged.take(np.repeat(np.asarray(places, np.int64), sizes))
    return replace(rows, thoughts=[t for thoughts in chosen for t in thoughts]), np.cumsum(
        [0, *sizes]
    )


def logged_decisions(
    episodes: Sequence[Episode], logged: Rows, history: History, seed: int
) -> tuple[Rows, np.ndarray, str] | None:
    """The rows of all decisions, where each one starts [D + 1], and what is chosen among.

    Decisions are the steps with two candidates or more; without any, those of ``mixed`` over
    ``logged``, the steps of ``episodes``. None where there is nothing to choose among.
    """
    rows, start = offered(episodes, history)
    if len(start) > 1:
        return rows, start, CANDIDATES
    rows, start = mixed(logged, seed)
    return None if len(start) == 1 else (rows, start, LOGGED)


def difference(differ_D: np.ndarray, task_ids: Sequence[str]) -> dict[str, Any]:
    """In how many of D decisions the choice is another one, and the share with its interval."""
    share = cluster_share(differ_D.astype(np.float64), task_ids)
    return {"differ": int(differ_D.sum()), **share.as_json("share")}


def choices(
    scorer: Scorer,
    others: Mapping[str, Scorer],
    episodes: Sequence[Episode],
    logged: Rows,
    history: History = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """The section: the share of decisions in which each of ``others`` prefers another thought.

    Decisions are those of ``logged_decisions``; intervals are over tasks.
    """
    found = logged_decisions(episodes, logged, history, seed)
    if found is None:
        return not_testable(NO_CHOICE)
    rows, start, among = found
    task_ids = [rows.task_ids[i] for i in start[:-1]]
    q_B = finite("critic", q_success(scorer, rows))
    critics = {}
    for name, other in others.items():
        differ = best_differs(q_B, finite(name, q_success(other, rows)), start)
        critics[name] = difference(differ, task_ids)
    return {"testable": True, "decisions": len(task_ids), "among": among, "critics": critics}
