"""Does a score rank? Later success against failure, and right candidates against wrong ones.

Every function takes the scores of all scorers and returns a JSON-able section; intervals are by
bootstrap over tasks, the same draws for every scorer, so that differences are paired.
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
    auc_terms,
    cluster_codes,
    cluster_mean,
    cluster_weights,
    paired_difference,
    percentile_interval,
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
        return not_testable(f"no step has {need} later successes and {need} later failures")
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


def top1(
    offered: Decisions,
    columns: Sequence[Baseline],
    limits: Thresholds,
    resamples: int,
    seed: int,
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


def same_state(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    limits: Thresholds,
    resamples: int,
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


def auc_within(
    rows: Rows,
    scores: Mapping[str, np.ndarray],
    strata: Sequence[Hashable],
    tested: Sequence[int],
    limits: Thresholds,
    resamples: int,
    seed: int,
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
    weights = np.concatenate([np.ones((1, n)), cluster_weights(n, resamples, seed)])
    drawn, pairs = {}, 0.0
    for name, score in scores.items():
        above, below = np.zeros(len(weights)), np.zeros(len(weights))
        for t in tested:
            terms = _terms(rows, score, codes, n, rows.step_B == t)
            both = np.outer(terms.positives, terms.negatives)
            above += _within(weights, terms.wins, same)
            below += _within(weights, both, same)
        pairs = float(below[0])
        drawn[name] = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    if pairs < limits.pairs:
        return not_testable(f"{pairs:.0f} pairs of unlike end within one, under {limits.pairs}")
    return {
        "testable": True,
        "pairs": int(pairs),
        "strata": len(np.unique(group)),
        "scorers": {
            name: {
                **_interval(drawn_R, "auc"),
                "critic_minus": _interval(drawn[CRITIC] - drawn_R, "difference"),
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
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Spearman's correlation with the return gamma^(steps left) * success at fixed steps, its mean.

    Ranks are taken once within a step, over all episodes; resamples reweight them.
    """
    codes = cluster_codes(rows.task_ids)
    n = int(codes.max()) + 1
    weights = np.concatenate([np.ones((1, n)), cluster_weights(n, resamples, seed)])
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
                **_interval(mean_R, "rho"),
                "critic_minus": _interval(means[CRITIC] - mean_R, "difference"),
            }
            for name, mean_R in means.items()
        },
    }
