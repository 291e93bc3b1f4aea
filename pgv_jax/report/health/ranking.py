"""Does a score rank? Later success against failure, and right candidates against wrong ones.

Every function takes the scores of all scorers and returns a JSON-able section; intervals are over
tasks (``stats.cluster_interval``), and differences are taken before an interval is, so paired.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pgv_jax.report.health.baselines import Baseline
from pgv_jax.report.health.sections import CRITIC, Thresholds, finite, not_testable
from pgv_jax.report.rows import Decisions, Rows
from pgv_jax.report.stats import (
    AucTerms,
    Scale,
    auc_terms,
    cluster_codes,
    cluster_interval,
    cluster_share,
    left_out,
    paired_difference,
    rounded,
    weighted_auc,
    weighted_correlation,
)

AT_STEPS = (0, 2, 5, 10, 20, 40, 80)


def auc_at_steps(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    at_steps: Sequence[int],
    limits: Thresholds,
) -> dict[str, Any]:
    """AUC of eventual success at fixed steps, their mean, and (for the record) over all steps."""
    codes = cluster_codes(rows.task_ids)
    n = int(codes.max()) + 1
    weights = left_out(n)
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
        return not_testable(f"no step has {need} later successes and {need} later failures")
    terms = {
        name: [_terms(rows, score, codes, n, rows.step_B == t) for t in tested]
        for name, score in scores.items()
    }
    units = [at.units for at in terms[CRITIC]]
    drawn = {
        name: np.stack([weighted_auc(at, weights) for at in found]) for name, found in terms.items()
    }
    everywhere = np.ones(len(rows), bool)
    table = {}
    for name, drawn_TR in drawn.items():
        mean_R = _mean(drawn_TR)
        table[name] = {
            "by_step": [
                {"step": t, **_interval(drawn_R, "auc", "share", count)}
                for t, drawn_R, count in zip(tested, drawn_TR, units, strict=True)
            ],
            **_interval(mean_R, "mean", "share", min(units)),
            "critic_minus": _minus(_mean(drawn[CRITIC]), mean_R, name, min(units)),
            "all_steps": rounded(
                weighted_auc(_terms(rows, scores[name], codes, n, everywhere), weights[:1])[0]
            ),
        }
    return {"testable": True, "steps": counts, "scorers": table}


def _terms(rows: Rows, score: np.ndarray, codes: np.ndarray, n: int, where: np.ndarray) -> AucTerms:
    return auc_terms(rows.success_B[where], score[where], codes[where], n)


def _mean(drawn_TR: np.ndarray) -> np.ndarray:
    """Mean over the steps that can be tested without a task: [R]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # without both classes it is NaN
        return np.asarray(np.nanmean(drawn_TR, axis=0))


def _interval(
    drawn_R: np.ndarray, name: str, scale: Scale, units: int | None = None
) -> dict[str, Any]:
    """By the statistic of all tasks, then of all but each."""
    return cluster_interval(drawn_R, scale, units=units).as_json(name)


def _minus(
    critic_R: np.ndarray,
    other_R: np.ndarray,
    name: str,
    units: int | None = None,
    scale: Scale = "difference",
) -> dict[str, Any]:
    """The critic less another scorer; less itself, it is 0 for certain."""
    if name == CRITIC:
        return {"difference": 0.0, "ci95": [0.0, 0.0]}
    return _interval(critic_R - other_R, "difference", scale, units)


def top1(
    offered: Decisions,
    columns: Sequence[Baseline],
    limits: Thresholds,
) -> dict[str, Any]:
    """How often the best-scored candidate is a correct one; tied best ones share the credit."""
    if len(offered) < limits.pairs:
        return not_testable(f"{len(offered)} decisions with known candidates, under {limits.pairs}")
    first, correct = offered.start[:-1], offered.correct_B
    sizes = np.diff(offered.start)
    hits = {
        column.name: _hits(offered, finite(column.name, column.score(offered.rows)))
        for column in columns
    }
    hits["first"] = correct[first].astype(np.float64)
    hits["random"] = np.add.reduceat(correct.astype(np.float64), first) / sizes
    table = {}
    for name, hit in hits.items():
        minus = paired_difference(hits[CRITIC], hit, offered.task_ids).as_json("difference")
        if name == CRITIC:
            minus["ci95"] = [0.0, 0.0]
        share = cluster_share(hit, offered.task_ids)
        table[name] = {**share.as_json("top1"), "critic_minus": minus}
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


def same_state(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    limits: Thresholds,
    seed: int,
) -> dict[str, Any]:
    """P(higher score) for the successful one of two thoughts at one observation of one task."""
    above, below = _same_state_pairs(rows, seed)
    if len(above) < limits.pairs:
        return not_testable(
            f"{len(above)} pairs of different thoughts at one observation with different ends, "
            f"under {limits.pairs}"
        )
    task_ids = [rows.task_ids[i] for i in above]
    table = {}
    for name, score in scores.items():
        better = (score[above] > score[below]) + 0.5 * (score[above] == score[below])
        table[name] = cluster_share(better, task_ids).as_json("better")
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


def auc_within(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    strata: Sequence[Hashable],
    tested: Sequence[int],
    limits: Thresholds,
) -> dict[str, Any]:
    """AUC over pairs of one stratum and one step, all steps ``tested`` together.

    ``strata`` [B] is a task or a group of tasks. What a scorer knows of a stratum as a whole (that
    this task is hard) does not help it here.
    """
    codes = cluster_codes(rows.task_ids)
    n = int(codes.max()) + 1
    group = np.zeros(n, np.int64)
    group[codes] = cluster_codes(strata)
    same = group[:, None] == group[None, :]
    weights = left_out(n)
    drawn, pairs, units = {}, 0.0, n
    for name, score in scores.items():
        above, below = np.zeros(len(weights)), np.zeros(len(weights))
        for t in tested:
            terms = _terms(rows, score, codes, n, rows.step_B == t)
            both = np.outer(terms.positives, terms.negatives)
            above += _within(weights, terms.wins, same)
            below += _within(weights, both, same)
        pairs = float(below[0])
        units = int((below[1:] < below[0]).sum())  # tasks without which there are fewer pairs
        drawn[name] = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    if pairs < limits.pairs:
        return not_testable(f"{pairs:.0f} pairs of unlike end within one, under {limits.pairs}")
    return {
        "testable": True,
        "pairs": int(pairs),
        "strata": len(np.unique(group)),
        "scorers": {
            name: {
                **_interval(drawn_R, "auc", "share", units),
                "critic_minus": _minus(drawn[CRITIC], drawn_R, name, units),
            }
            for name, drawn_R in drawn.items()
        },
    }


def _within(weights: np.ndarray, matrix: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Sum over pairs of clusters of one stratum, weighted; a lone cluster counts once a draw."""
    if np.array_equal(same, np.eye(len(same), dtype=bool)):
        return np.asarray(weights @ np.diag(matrix))
    return np.asarray(np.einsum("rc,rc->r", weights @ (matrix * same), weights))


def spearman_at_steps(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    gamma: float,
    tested: Sequence[int],
) -> dict[str, Any]:
    """Spearman's correlation with the return gamma^(steps left) * success at fixed steps, its mean.

    Ranks are taken once within a step, over all episodes.
    """
    codes = cluster_codes(rows.task_ids)
    n = int(codes.max()) + 1
    weights = left_out(n)
    returns = gamma**rows.steps_left_B * rows.success_B
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    for t in tested:
        at = rows.step_B == t
        y = rankdata(returns[at])
        for name, score in scores.items():
            x = rankdata(score[at])
            drawn[name].append(weighted_correlation(x, y, codes[at], weights))
    means = {name: _mean(np.stack(found)) for name, found in drawn.items()}
    return {
        "testable": True,
        "scorers": {
            name: {
                **_interval(mean_R, "rho", "correlation"),
                "critic_minus": _minus(means[CRITIC], mean_R, name, scale="mean"),
            }
            for name, mean_R in means.items()
        },
    }
