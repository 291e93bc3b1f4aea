"""What else could explain a critic's figures? Controls that take something away from it.

A score that does not move when the thought is exchanged cannot choose between thoughts; a critic
that is as sure far from its data as near to it does not know what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.stats import rankdata

from pgv_jax.report.health.sections import not_testable
from pgv_jax.report.health.state_goals import GoalRows, q_goals
from pgv_jax.report.rows import Rows, Scorer
from pgv_jax.report.stats import (
    Interval,
    cluster_codes,
    cluster_interval,
    cluster_mean,
    left_out,
    rounded,
    weighted_correlation,
)
from pgv_jax.texts.templates import SUCCESS, History, thought_text

FIELDS = ("task", "observation", "thought")
NEIGHBOURS = 4000
"""Training texts, and judged texts, that distances are taken between at most."""


@runtime_checkable
class Ensemble(Protocol):
    """A scorer that shows its members; ``pgv_jax.critic.value.ValueFunction`` does."""

    def q_members(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        """Q of each member: float [E, B]."""
        ...


def exchange(n: int, seed: int, strata: np.ndarray | None = None) -> np.ndarray:
    """A random order [n] that moves rows within their stratum only."""
    rng = np.random.default_rng(seed)
    order = np.arange(n)
    for stratum in np.unique(strata) if strata is not None else [None]:
        rows = np.flatnonzero(strata == stratum) if strata is not None else order
        order[rows] = rng.permutation(rows)
    return order


def shuffled_thoughts(scorer: Scorer, rows: Rows, seed: int) -> np.ndarray:
    """Q of success where each row gets the thought of another row of the same step: float [B]."""
    order = exchange(len(rows), seed, rows.step_B)
    thoughts = [rows.thoughts[i] for i in order]
    goals = [SUCCESS] * len(rows)
    return np.asarray(scorer.q_pairs(rows.tasks, rows.observations, thoughts, goals), np.float64)


def sensitivity(
    scorer: Scorer, rows: Rows, q: np.ndarray, goals: Sequence[str], seed: int
) -> dict[str, Any]:
    """How far Q moves when one text alone is exchanged: Jansen's total effect of each field.

    S_f = E[(Q - Q_f)^2] / (2 Var Q), with field f taken from another row (Jansen 1999; Saltelli et
    al. 2010, table 2f): 0 where Q ignores the field, 1 where nothing else matters. Fields of logs
    are not independent, so the shares need not sum to at least 1. ``goals`` [B] is ``goal``.
    """
    spread = float(q.var()) if len(q) else 0.0
    if spread < 1e-12:
        return not_testable("all scores are the same")
    columns = {
        "task": rows.tasks,
        "observation": rows.observations,
        "thought": rows.thoughts,
        "goal": list(goals),
    }
    fields = [name for name in columns if len(set(columns[name])) > 1]
    shares = {}
    for place, name in enumerate(fields):
        order = exchange(len(rows), seed + place)
        asked = {**columns, name: [columns[name][i] for i in order]}
        moved = scorer.q_pairs(asked["task"], asked["observation"], asked["thought"], asked["goal"])
        effect = (q - np.asarray(moved, np.float64)) ** 2 / (2 * spread)
        shares[name] = cluster_mean(effect, rows.task_ids).as_json("share")
    return {"testable": True, "rows": len(rows), "spread": rounded(spread**0.5), "fields": shares}


def disagreement(scorer: Ensemble, rows: Rows, error_B: np.ndarray) -> dict[str, Any]:
    """Spearman's correlation of the members' standard deviation with the error, and its interval.

    Above 0, members disagree where the critic errs.
    """
    members = np.asarray(
        scorer.q_members(rows.tasks, rows.observations, rows.thoughts, [SUCCESS] * len(rows))
    )
    if len(members) < 2:
        return not_testable("the critic has one member")
    return {
        "testable": True,
        "members": len(members),
        "spread": rounded(float(members.std(0).mean())),
        **_spearman(members.std(0), error_B, rows.task_ids).as_json("rho"),
    }


def distance(
    embed: Callable[[Sequence[str]], np.ndarray],
    train: Rows,
    rows: Rows,
    error_B: np.ndarray,
    history: History,
    seed: int,
) -> dict[str, Any]:
    """How far judged observations and thoughts are from the nearest one in training.

    Distance = 1 - cosine. ``usual`` is the 95th percentile of the distance from a training text to
    the nearest one of *another* training task; ``far`` the share of judged texts beyond it;
    ``rho`` Spearman's correlation of the distance with the error.
    """
    if not len(train):
        return not_testable("no training episodes were given")
    rng = np.random.default_rng(seed)
    near, here = (_sample(len(part), rng) for part in (train, rows))
    known, asked = train.take(near), rows.take(here)
    tasks = np.array(known.task_ids)
    fields = {}
    for name in ("observation", "thought"):
        inside = unit_vectors(embed, _texts(known, name, history))
        gap = 1 - (unit_vectors(embed, _texts(asked, name, history)) @ inside.T).max(1)
        among = leave_task_out(inside, tasks)
        usual = float(np.quantile(among, 0.95))
        rho = _spearman(gap, error_B[here], asked.task_ids)
        fields[name] = {
            "median": rounded(float(np.median(gap))),
            "usual": rounded(usual),
            "far": rounded(float((gap > usual).mean())),
            **rho.as_json("rho"),
        }
    return {"testable": True, "rows": len(asked), "train_rows": len(known), "fields": fields}


def _texts(rows: Rows, name: str, history: History) -> list[str]:
    """A field's texts as the critic embeds them."""
    if name == "observation":
        return list(rows.observations)
    said = zip(rows.observations, rows.thoughts, strict=True)
    return [thought_text(seen, thought, history) for seen, thought in said]


def _sample(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(n)[:NEIGHBOURS])


def unit_vectors(embed: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """The texts' vectors at length 1, each distinct text embedded once: float32 [n, D]."""
    distinct = list(dict.fromkeys(texts))
    place = {text: i for i, text in enumerate(distinct)}
    vectors = np.asarray(embed(distinct), np.float32)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors[[place[text] for text in texts]]


def leave_task_out(vectors: np.ndarray, tasks: np.ndarray, block: int = 500) -> np.ndarray:
    """Distance of each vector to the nearest one of another task: float [n]."""
    if len(np.unique(tasks)) < 2:
        return np.zeros(len(vectors))
    nearest = []
    for start in range(0, len(vectors), block):
        part = slice(start, start + block)
        cosine = vectors[part] @ vectors.T
        cosine[tasks[part, None] == tasks[None, :]] = -np.inf
        nearest.append(1 - cosine.max(1))
    return np.concatenate(nearest)


def _spearman(x: np.ndarray, y: np.ndarray, task_ids: Sequence[str]) -> Interval:
    codes = cluster_codes(task_ids)
    weights = left_out(int(codes.max()) + 1)
    drawn_R = weighted_correlation(rankdata(x), rankdata(y), codes, weights)
    return cluster_interval(drawn_R, "correlation")


def goal_controls(scorer: Scorer, asked: GoalRows, seed: int) -> dict[str, np.ndarray]:
    """Q of state goals where the goal, or all but the goal, is another row's: {name: [B]}."""
    order = exchange(len(asked), seed)
    rows = asked.rows.take(order)
    elsewhere = scorer.q_pairs(rows.tasks, rows.observations, rows.thoughts, asked.goals)
    return {
        "shuffled_goals": q_goals(scorer, asked, order),
        "shuffled_states": np.asarray(elsewhere, np.float64),
    }
