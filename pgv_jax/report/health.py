"""The health report: does a critic know anything on tasks that it was not trained on?

Every test is run for the critic and for each baseline on the same rows, with intervals by
bootstrap over tasks; a test without enough data says "not testable" instead of a number.
docs/health.md explains each figure to a reader.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.data.texts import FAILURE, SUCCESS, History
from pgv_jax.errors import PgvError
from pgv_jax.report.baselines import Baseline, Constant, Critic
from pgv_jax.report.calibration import calibration
from pgv_jax.report.html import render, write_text
from pgv_jax.report.rows import Decisions, Rows, Scorer, decisions, step_rows
from pgv_jax.report.stats import (
    AucTerms,
    auc_terms,
    cluster_codes,
    cluster_mean,
    cluster_weights,
    paired_difference,
    percentile_interval,
    rounded,
    weighted_auc,
)
from pgv_jax.report.verdict import verdict
from pgv_jax.types import Episode

AT_STEPS = (0, 2, 5, 10, 20, 40, 80)
CRITIC = "critic"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How much data a test needs before it prints a number."""

    tasks: int = 5
    episodes_per_class: int = 10
    pairs: int = 50


def judge(
    episodes: Iterable[Episode],
    scorer: Scorer,
    *,
    baselines: Sequence[Baseline] = (),
    critics: Mapping[str, Scorer] | None = None,
    history: History = 0,
    gamma: float | None = None,
    v_head: bool = False,
    split: str = "test",
    notes: Sequence[str] = (),
    at_steps: Sequence[int] = AT_STEPS,
    thresholds: Thresholds | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge ``scorer`` on held-out episodes; returns the JSON-able health report.

    ``baselines`` come fitted (``fit_baselines``), ``critics`` are other artifacts by name (a
    Monte-Carlo head, a goal-free critic). ``gamma`` adds calibration against gamma^steps-to-
    success; ``v_head`` judges V(s, success) as a column of its own. Raises PgvError where a
    score is not finite.
    """
    limits = thresholds or Thresholds()
    episodes = list(episodes)
    rows = step_rows(episodes, history)
    columns: list[Baseline] = [Critic(CRITIC, scorer), *baselines]
    if not any(isinstance(column, Constant) for column in columns):
        columns.append(Constant(float(rows.success_B.mean()) if len(rows) else 0.0))
    columns += [Critic(name, other) for name, other in (critics or {}).items()]
    scores = {column.name: _finite(column.name, column.score(rows)) for column in columns}
    if v_head:
        scores["critic_v"] = _finite("critic_v", _v_success(scorer, rows))
    n_tasks = len(set(rows.task_ids))
    offered = decisions(episodes, history)
    report: dict[str, Any] = {
        "format": "pgv_jax.health",
        "version": 1,
        "data": _data(episodes, rows, split, history),
        "scorers": list(scores),
        "auc": _few(n_tasks, limits) or _auc(rows, scores, at_steps, limits, resamples, seed),
        "top1": _few(len(set(offered.task_ids)), limits)
        or _top1(offered, columns, limits, resamples, seed),
        "same_state": _few(n_tasks, limits) or _same_state(rows, scores, limits, resamples, seed),
        "calibration": _few(n_tasks, limits)
        or _calibration(rows, scores, columns, gamma, resamples, seed),
        "outcome_sum": _outcome_sum(scorer, rows, scores[CRITIC]),
        "notes": list(notes),
    }
    return {"verdict": verdict(report), **report}


def _data(episodes: list[Episode], rows: Rows, split: str, history: History) -> dict[str, Any]:
    known = [e for e in episodes if e.success is not None]
    return {
        "split": split,
        "episodes": len(episodes),
        "unknown_outcome": len(episodes) - len(known),
        "successes": sum(bool(e.success) for e in known),
        "tasks": len({e.task_id for e in episodes}),
        "steps": len(rows),
        "history": history,
    }


def _few(n_tasks: int, limits: Thresholds) -> dict[str, Any] | None:
    if n_tasks >= limits.tasks:
        return None
    return _not_testable(f"{n_tasks} tasks with such data; at least {limits.tasks} are needed")


def _not_testable(why: str) -> dict[str, Any]:
    return {"testable": False, "why": why}


def _auc(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    at_steps: Sequence[int],
    limits: Thresholds,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """AUC of eventual success at fixed steps, their mean, and (for the record) over all steps."""
    codes = cluster_codes(rows.task_ids)
    n = int(codes.max()) + 1
    weights = np.concatenate([np.ones((1, n)), cluster_weights(n, resamples, seed)])
    counts, tested = [], []
    for t in at_steps:
        won = rows.success_B[rows.step_B == t]
        positives, negatives = int(won.sum()), int((~won).sum())
        testable = min(positives, negatives) >= limits.episodes_per_class
        counts.append(
            {"step": t, "successes": positives, "failures": negatives, "testable": testable}
        )
        if testable:
            tested.append(t)
    if not tested:
        need = limits.episodes_per_class
        return _not_testable(f"no step has {need} later successes and {need} later failures")
    drawn = {
        name: np.stack(
            [weighted_auc(_terms(rows, score, codes, n, rows.step_B == t), weights) for t in tested]
        )
        for name, score in scores.items()
    }
    everywhere = np.ones(len(rows), bool)
    table = {}
    for name, drawn_TR in drawn.items():
        mean_R = _mean(drawn_TR)
        table[name] = {
            "by_step": [
                {"step": t, **_interval(drawn_R, "auc")}
                for t, drawn_R in zip(tested, drawn_TR, strict=True)
            ],
            **_interval(mean_R, "mean"),
            "critic_minus": _interval(_mean(drawn[CRITIC]) - mean_R, "difference"),
            "all_steps": rounded(
                weighted_auc(_terms(rows, scores[name], codes, n, everywhere), weights[:1])[0]
            ),
        }
    return {"testable": True, "steps": counts, "scorers": table}


def _terms(rows: Rows, score: np.ndarray, codes: np.ndarray, n: int, where: np.ndarray) -> AucTerms:
    return auc_terms(rows.success_B[where], score[where], codes[where], n)


def _mean(drawn_TR: np.ndarray) -> np.ndarray:
    """Mean over the steps that a resample can test: [R]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a resample without both classes is NaN
        return np.asarray(np.nanmean(drawn_TR, axis=0))


def _interval(drawn_R: np.ndarray, name: str) -> dict[str, Any]:
    """The first column is the estimate, the rest its resamples."""
    return percentile_interval(float(drawn_R[0]), drawn_R[1:]).as_json(name)


def _top1(
    offered: Decisions,
    columns: Sequence[Baseline],
    limits: Thresholds,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """How often the best-scored candidate is a correct one; tied best ones share the credit."""
    if len(offered) < limits.pairs:
        return _not_testable(
            f"{len(offered)} decisions with known candidates, under {limits.pairs}"
        )
    first, correct = offered.start[:-1], offered.correct_B
    sizes = np.diff(offered.start)
    hits = {
        column.name: _hits(offered, _finite(column.name, column.score(offered.rows)))
        for column in columns
    }
    hits["first"] = correct[first].astype(np.float64)
    hits["random"] = np.add.reduceat(correct.astype(np.float64), first) / sizes
    table = {}
    for name, hit in hits.items():
        difference = paired_difference(
            hits[CRITIC], hit, offered.task_ids, resamples=resamples, seed=seed
        )
        mean = cluster_mean(hit, offered.task_ids, resamples=resamples, seed=seed)
        table[name] = {**mean.as_json("top1"), "critic_minus": difference.as_json("difference")}
    return {
        "testable": True,
        "decisions": len(offered),
        "tasks": len(set(offered.task_ids)),
        "candidates": rounded(float(sizes.mean()), 2),
        "scorers": table,
    }


def _hits(offered: Decisions, scores: np.ndarray) -> np.ndarray:
    first = offered.start[:-1]
    best = np.repeat(np.maximum.reduceat(scores, first), np.diff(offered.start))
    top = scores == best
    right = np.add.reduceat((top & offered.correct_B).astype(np.float64), first)
    return np.asarray(right / np.add.reduceat(top.astype(np.float64), first))


def _same_state(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    limits: Thresholds,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """P(higher score) for the successful one of two thoughts at one observation of one task."""
    above, below = _same_state_pairs(rows, seed)
    if len(above) < limits.pairs:
        return _not_testable(
            f"{len(above)} pairs of different thoughts at one observation with different ends, "
            f"under {limits.pairs}"
        )
    task_ids = [rows.task_ids[i] for i in above]
    table = {}
    for name, score in scores.items():
        better = (score[above] > score[below]) + 0.5 * (score[above] == score[below])
        mean = cluster_mean(better, task_ids, resamples=resamples, seed=seed)
        table[name] = mean.as_json("better")
    return {"testable": True, "pairs": len(above), "tasks": len(set(task_ids)), "scorers": table}


def _same_state_pairs(rows: Rows, seed: int, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of (successful, failed) with different thoughts; at most ``most`` a state."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, key in enumerate(zip(rows.task_ids, rows.observations, strict=True)):
        groups[key].append(i)
    numbers: dict[str, int] = {}
    thought_B = np.array([numbers.setdefault(t, len(numbers)) for t in rows.thoughts], np.int64)
    rng = np.random.default_rng(seed)
    pairs = [np.zeros((0, 2), np.int64)]
    for members in groups.values():
        group = np.array(members)
        won, lost = group[rows.success_B[group]], group[~rows.success_B[group]]
        up, down = np.nonzero(thought_B[won][:, None] != thought_B[lost][None, :])
        found = np.stack([won[up], lost[down]], axis=1)
        pairs.append(rng.permutation(found)[:most] if len(found) > most else found)
    above, below = np.concatenate(pairs).T
    return above, below


def _calibration(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    columns: Sequence[Baseline],
    gamma: float | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Scores as likelihoods of success, and of gamma^steps-to-success where gamma is known."""
    codes = cluster_codes(rows.task_ids)
    weights = cluster_weights(int(codes.max()) + 1, resamples, seed)
    targets = {"success": rows.success_B.astype(np.float64)}
    if gamma is not None:
        targets["discounted"] = gamma**rows.steps_left_B * targets["success"]
    critics = {column.name for column in columns if isinstance(column, Critic)} | {"critic_v"}
    return {
        "testable": True,
        "gamma": gamma,
        **{
            target: {
                name: calibration(
                    score, outcome, rows.task_ids, weights, constant=float(outcome.mean())
                )
                for name, score in scores.items()
                if target == "success" or name in critics
            }
            for target, outcome in targets.items()
        },
    }


def _outcome_sum(scorer: Scorer, rows: Rows, q: np.ndarray) -> dict[str, Any]:
    """Mean of Q(success) + Q(failure): two ends that exclude each other cannot exceed 1."""
    if not len(rows):
        return _not_testable("no step with a known outcome")
    goals = [FAILURE] * len(rows)
    failure = scorer.q_pairs(rows.tasks, rows.observations, rows.thoughts, goals)
    total = float((q + _finite(CRITIC, failure)).mean())
    return {"testable": True, "mean": rounded(total), "alarm": total > 1.1}


def _v_success(scorer: Scorer, rows: Rows) -> np.ndarray:
    return np.asarray(scorer.v_pairs(rows.tasks, rows.observations, [SUCCESS] * len(rows)))


def _finite(name: str, scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise PgvError(
            f"{bad} of {len(scores)} scores of '{name}' are not finite numbers; the artifact is "
            "damaged or its training diverged. Train it again with a smaller train.lr."
        )
    return scores


def write_health(
    report: Mapping[str, Any], about: Mapping[str, Any], out_dir: str | os.PathLike[str]
) -> Path:
    """Write ``report.json`` and ``report.html``; ``about`` names artifact, dataset and the like."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    known = {"about": dict(about), **report}
    write_text(out / "report.json", json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "report.html", render("health.html", report=report, about=about))
    return out / "report.html"
