"""Do scores read as likelihoods? Reliability bins, Brier score and expected calibration error."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from pgv_jax.report.stats import (
    Interval,
    cluster_codes,
    cluster_interval,
    cluster_share,
    mean_values,
    rounded,
)


def calibration(
    scores: np.ndarray,
    outcomes: np.ndarray,
    clusters: Sequence[Hashable],
    *,
    constant: float,
    bins: int = 10,
) -> dict[str, Any]:
    """Compare scores [B] with outcomes in [0, 1] [B]; intervals over clusters.

    - Brier = mean (score - outcome)^2 (Brier 1950), on the raw score.
    - skill = 1 - Brier / Brier(constant): above 0 where the score beats the base rate.
    - ECE = sum_b (n_b / n) |mean score - mean outcome| over equal-width bins of [0, 1]
      (Naeini et al. 2015); scores outside count in the end bins, ``outside`` says how many. Noise
      only ever adds to it, so the upper end of its interval is on the safe side, the lower not.
    """
    codes = cluster_codes(clusters)
    size = np.bincount(codes).astype(np.float64)
    brier = mean_values(np.bincount(codes, (scores - outcomes) ** 2), size)
    base = mean_values(np.bincount(codes, (constant - outcomes) ** 2), size)
    ratio = np.divide(brier, base, out=np.full(len(base), np.nan), where=base > 0)
    worse = cluster_interval(ratio, "ratio")
    ece = cluster_interval(ece_values(scores, outcomes, codes, bins), "share")
    place = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    return {
        "rows": len(scores),
        "brier": cluster_interval(brier, "mean").as_json(),
        "skill": Interval(1 - worse.value, 1 - worse.high, 1 - worse.low).as_json(),
        "ece": rounded(ece.value),
        "ece_ci95": [rounded(ece.low), rounded(ece.high)],
        "mean_score": rounded(float(scores.mean())),
        "mean_outcome": rounded(float(outcomes.mean())),
        "outside": rounded(float(((scores < 0) | (scores > 1)).mean())),
        "bins": [
            _bin(
                b / bins,
                (b + 1) / bins,
                scores[place == b],
                outcomes[place == b],
                codes[place == b],
            )
            for b in np.unique(place)
        ],
    }


def ece_values(
    scores: np.ndarray, outcomes: np.ndarray, codes: np.ndarray, bins: int = 10
) -> np.ndarray:
    """The ECE of all clusters, then of all but each in turn: float [1 + C]."""
    n = int(codes.max()) + 1
    place = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    gap_KC = np.bincount(place * n + codes, scores - outcomes, minlength=bins * n).reshape(bins, n)
    all_K = gap_KC.sum(1, keepdims=True)
    gaps = np.abs(np.concatenate([all_K, all_K - gap_KC], axis=1)).sum(0)
    sizes = len(scores) - np.concatenate([[0], np.bincount(codes)])
    return np.divide(gaps, sizes, out=np.full(n + 1, np.nan), where=sizes > 0)


def _bin(
    low: float, high: float, scores: np.ndarray, outcomes: np.ndarray, codes: np.ndarray
) -> dict[str, Any]:
    tasks = [int(code) for code in codes]
    return {
        "low": float(low),
        "high": float(high),
        "count": len(scores),
        "tasks": len(set(tasks)),
        "score": rounded(float(scores.mean())),
        **cluster_share(outcomes, tasks).as_json("outcome"),
    }
