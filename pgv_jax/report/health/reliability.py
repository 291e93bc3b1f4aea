"""Do scores read as likelihoods? Reliability bins, Brier score and expected calibration error."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from pgv_jax.report.stats import cluster_codes, percentile_interval, rounded


def calibration(
    scores: np.ndarray,
    outcomes: np.ndarray,
    clusters: Sequence[Hashable],
    weights: np.ndarray,
    *,
    constant: float,
    bins: int = 10,
) -> dict[str, Any]:
    """Compare scores [B] with outcomes in [0, 1] [B]; intervals by cluster ``weights`` [R, C].

    - Brier = mean (score - outcome)^2 (Brier 1950), on the raw score.
    - skill = 1 - Brier / Brier(constant): above 0 where the score beats the base rate.
    - ECE = sum_b (n_b / n) |mean score - mean outcome| over equal-width bins of [0, 1]
      (Naeini et al. 2015); scores outside count in the end bins, ``outside`` says how many.
      No interval: noise only ever adds to an ECE, so its resamples lie above the estimate.
    """
    codes, n_clusters = cluster_codes(clusters), weights.shape[1]
    error = _sums(codes, (scores - outcomes) ** 2, n_clusters)
    base = _sums(codes, (constant - outcomes) ** 2, n_clusters)
    size = _sums(codes, np.ones_like(scores), n_clusters)
    drawn_size = weights @ size
    brier = percentile_interval(error.sum() / size.sum(), weights @ error / drawn_size)
    drawn_base = weights @ base
    skill = percentile_interval(
        1 - error.sum() / base.sum() if base.sum() else float("nan"),
        1 - _divide(weights @ error, drawn_base),
    )
    table, ece = _bins(scores, outcomes, codes, weights, bins)
    return {
        "rows": len(scores),
        "brier": brier.as_json(),
        "skill": skill.as_json(),
        "ece": rounded(ece),
        "mean_score": rounded(float(scores.mean())),
        "mean_outcome": rounded(float(outcomes.mean())),
        "outside": rounded(float(((scores < 0) | (scores > 1)).mean())),
        "bins": table,
    }


def _bins(
    scores: np.ndarray, outcomes: np.ndarray, codes: np.ndarray, weights: np.ndarray, bins: int
) -> tuple[list[dict[str, Any]], float]:
    n_clusters = weights.shape[1]
    place = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    gap = 0.0
    table = []
    for b in range(bins):
        inside = place == b
        if not inside.any():
            continue
        size = _sums(codes[inside], np.ones(inside.sum()), n_clusters)
        outcome = _sums(codes[inside], outcomes[inside], n_clusters)
        gap += abs(scores[inside].sum() - outcome.sum())
        interval = percentile_interval(
            outcome.sum() / size.sum(), _divide(weights @ outcome, weights @ size)
        )
        table.append(
            {
                "low": b / bins,
                "high": (b + 1) / bins,
                "count": int(inside.sum()),
                "tasks": int((size > 0).sum()),
                "score": rounded(float(scores[inside].mean())),
                **interval.as_json("outcome"),
            }
        )
    return table, float(gap / len(scores))


def _sums(codes: np.ndarray, values: np.ndarray, n_clusters: int) -> np.ndarray:
    return np.bincount(codes, values, minlength=n_clusters)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
