"""State goals on held-out tasks: does a goal that the critic calls near come true, and how soon?

Goals are drawn in hindsight as in training: a sentence of a later observation of the episode, or
of any other, half and half, that does not hold now. They stand in the logs' own wording; what a
model asks for at run time may not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgv_jax.report.health.sections import CRITIC, Thresholds, few, finite, not_testable
from pgv_jax.report.rows import Rows, Scorer, rows_of
from pgv_jax.report.stats import (
    auc_terms,
    cluster_codes,
    cluster_interval,
    left_out,
    weighted_auc,
)
from pgv_jax.texts.templates import (
    FAILURE,
    SUCCESS,
    History,
    observation_text,
    own_observation,
    sentences,
)
from pgv_jax.types import Episode

MOST = 2048
"""Goals judged at most, half of them from the episode's own future."""


@dataclass(frozen=True, slots=True)
class GoalRows:
    """B (step, goal) pairs; ``steps_B`` until the goal holds, inf where it never does."""

    rows: Rows
    goals: list[str]
    steps_B: np.ndarray

    def __len__(self) -> int:
        return len(self.goals)

    @property
    def reached_B(self) -> np.ndarray:
        """Whether the goal comes true later in the episode: bool [B]."""
        return np.isfinite(self.steps_B)

    def discounted(self, gamma: float) -> np.ndarray:
        """What Q estimates: gamma^steps, 0 where the goal never holds: float [B]."""
        return np.where(self.reached_B, gamma ** np.where(self.reached_B, self.steps_B, 0), 0.0)


def goal_rows(
    episodes: Iterable[Episode], history: History = 0, *, seed: int = 0, most: int = MOST
) -> GoalRows:
    """Draw goals for the steps of episodes, with ``seed``; episodes of any outcome count."""
    episodes = [e for e in episodes if e.steps]
    notes = [
        [list(dict.fromkeys(sentences(own_observation(e, t)))) for t in range(len(e.steps) + 1)]
        for e in episodes
    ]
    rng = np.random.default_rng(seed)
    steps = [(i, t) for i, e in enumerate(episodes) for t in range(len(e.steps))]
    if len(steps) > most // 2:
        steps = [steps[k] for k in np.sort(rng.choice(len(steps), most // 2, replace=False))]
    found, goals, until = [], [], []
    for i, t in steps:
        now = {*notes[i][t], SUCCESS, FAILURE}
        other = int(rng.integers(len(episodes)))
        sources = (
            notes[i][int(rng.integers(t + 1, len(notes[i])))],
            notes[other][int(rng.integers(len(notes[other])))],
        )
        for source in sources:
            new = [sentence for sentence in source if sentence not in now]
            if not new:
                continue
            goal = new[int(rng.integers(len(new)))]
            later = (k for k in range(t + 1, len(notes[i])) if goal in notes[i][k])
            first = next(later, None)
            step, seen = episodes[i].steps[t], observation_text(episodes[i], t, history)
            found.append((episodes[i], t, step.thought, seen))
            goals.append(goal)
            until.append(np.inf if first is None else float(first - t))
    return GoalRows(rows_of(iter(found)), goals, np.array(until, np.float64))


def q_goals(scorer: Scorer, asked: GoalRows, order: np.ndarray | None = None) -> np.ndarray:
    """Q of each row for its goal, or for the goal of row ``order[i]``: float64 [B]."""
    rows = asked.rows
    goals = asked.goals if order is None else [asked.goals[i] for i in order]
    return finite(CRITIC, scorer.q_pairs(rows.tasks, rows.observations, rows.thoughts, goals))


class Popularity:
    """How often a sentence holds somewhere in a training episode: a goal's own base rate."""

    def __init__(self, train: Iterable[Episode]):
        self._count: Counter[str] = Counter()
        self._episodes = 0
        for episode in train:
            held = (own_observation(episode, t) for t in range(len(episode.steps) + 1))
            self._count.update({s for note in held for s in sentences(note)})
            self._episodes += 1

    def score(self, asked: GoalRows) -> np.ndarray:
        """The share of training episodes with each row's goal: float [B]."""
        return np.array([self._count[g] for g in asked.goals]) / max(self._episodes, 1)


def similarity(embed: Callable[[Sequence[str]], np.ndarray], asked: GoalRows) -> np.ndarray:
    """Inner product of observation and goal on the critic's embeddings: float [B]."""

    def vectors(texts: Sequence[str]) -> np.ndarray:
        distinct = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(distinct)}
        return np.asarray(embed(distinct), np.float64)[[place[text] for text in texts]]

    return np.asarray((vectors(asked.rows.observations) * vectors(asked.goals)).sum(1))


def judge_goals(
    asked: GoalRows,
    scores: Mapping[str, np.ndarray],
    limits: Thresholds,
) -> dict[str, Any]:
    """AUC of coming true later over all drawn goals: the section ``goals`` of a report."""
    reached = asked.reached_B
    if short := few(len(set(asked.rows.task_ids)), "state goals", limits):
        return short
    if min(int(reached.sum()), int((~reached).sum())) < limits.pairs:
        return not_testable(
            f"{int(reached.sum())} drawn goals come true and {int((~reached).sum())} do not; "
            f"{limits.pairs} of each are needed"
        )
    codes = cluster_codes(asked.rows.task_ids)
    n = int(codes.max()) + 1
    terms = {name: auc_terms(reached, score, codes, n) for name, score in scores.items()}
    units = terms[CRITIC].units
    drawn = {name: weighted_auc(found, left_out(n)) for name, found in terms.items()}
    return {
        "testable": True,
        "goals": len(asked),
        "distinct": len(set(asked.goals)),
        "reached": int(reached.sum()),
        "tasks": n,
        "scorers": {
            name: {
                **cluster_interval(drawn_R, "share", units=units).as_json("auc"),
                "critic_minus": {"difference": 0.0, "ci95": [0.0, 0.0]}
                if name == CRITIC
                else cluster_interval(drawn[CRITIC] - drawn_R, "difference", units=units).as_json(
                    "difference"
                ),
            }
            for name, drawn_R in drawn.items()
        },
    }
