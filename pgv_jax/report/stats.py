"""Intervals and paired tests for outcomes that come in clusters (many episodes of one game).

Episodes of one task resemble each other, so the unit that is resampled is the task ("cluster"),
not the episode. Everything is seeded and vectorised: a resample is a row of integer weights,
how often each cluster was drawn, and every statistic here is a ratio of weighted sums.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from pgv_jax.errors import PgvError

LEVEL = 0.95
RESAMPLES = 4000


class Interval(NamedTuple):
    """An estimate and its interval; NaN where the data cannot tell."""

    value: float
    low: float
    high: float

    def as_json(self, name: str = "value") -> dict[str, Any]:
        """``{name: value, "ci95": [low, high]}`` with None for NaN, rounded to 6 digits."""
        return {name: rounded(self.value), "ci95": [rounded(self.low), rounded(self.high)]}


class McNemar(NamedTuple):
    """How often only one of two paired arms succeeded, and the exact two-sided p-value."""

    only_a: int
    only_b: int
    p: float


class AucTerms(NamedTuple):
    """An AUC split by cluster: ``wins[c, d]`` of the positives of c over the negatives of d."""

    wins: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A float for JSON: rounded, None where it is None, NaN or infinite."""
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), digits)


def wilson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Wilson score interval of a proportion of independent trials (Wilson 1927).

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), computed by scipy. It treats every
    trial as independent: with several episodes a task it is too narrow, see ``cluster_mean``.
    """
    if trials < 1:
        return Interval(float("nan"), float("nan"), float("nan"))
    if not 0 <= successes <= trials:
        raise PgvError(f"{successes} successes of {trials} trials cannot be; check the counts.")
    ci = binomtest(int(successes), int(trials)).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(ci.low), float(ci.high))


def cluster_codes(clusters: Sequence[Hashable]) -> np.ndarray:
    """Number the clusters 0, 1, ... in order of first appearance: int [n]."""
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(c, len(codes)) for c in clusters], dtype=np.int64)


@lru_cache(maxsize=8)
def cluster_weights(n_clusters: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each cluster is drawn in each bootstrap resample: float [resamples, n_clusters].

    n_clusters draws with replacement, so every row sums to n_clusters. The same arguments give the
    same draws, which keeps statistics paired; the array is kept, and read-only.
    """
    rng = np.random.default_rng(seed)
    shares = np.full(n_clusters, 1.0 / n_clusters)
    weights = rng.multinomial(n_clusters, shares, size=resamples).astype(np.float64)
    weights.flags.writeable = False
    return weights


def percentile_interval(estimate: float, resampled: np.ndarray, level: float = LEVEL) -> Interval:
    """Percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13) around an estimate.

    Resamples in which the statistic is undefined (NaN) are left out.
    """
    resampled = resampled[~np.isnan(resampled)]
    if not resampled.size or not np.isfinite(estimate):
        return Interval(float(estimate), float("nan"), float("nan"))
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(estimate), float(low), float(high))


def cluster_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of ``values`` with a percentile bootstrap over clusters.

    theta* = sum_c w_c sum(values in c) / sum_c w_c |c|, w the multinomial counts of the resample.
    One cluster tells nothing of the spread between clusters: its interval is NaN.
    """
    return _cluster_ratio(np.asarray(values, np.float64), None, clusters, level, resamples, seed)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of a - b over pairs (same task, same seed), bootstrapped over clusters of pairs."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _same_length(a, b)
    return cluster_mean(a - b, clusters, level=level, resamples=resamples, seed=seed)


def paired_ratio(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """mean(a) / mean(b) over pairs, bootstrapped over clusters; NaN where mean(b) is 0.

    A resample with mean(b) = 0 < mean(a) counts as infinite, so the upper end can be infinite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _same_length(a, b)
    return _cluster_ratio(a, b, clusters, level, resamples, seed)


def mcnemar_exact(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Exact McNemar test of paired successes (McNemar 1947; exact: Fay 2010).

    Of the pairs in which just one arm succeeded, under the null half are a's:
    p = two-sided binomial test of only_a among only_a + only_b at 1/2; 1 if there are none. It
    takes pairs as independent, so read it beside ``paired_difference``, which does not.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    _same_length(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """P(score of a positive > score of a negative) + half of the ties (Mann & Whitney 1947).

    NaN where a class is missing.
    """
    terms = auc_terms(labels, scores, np.zeros(len(np.asarray(labels)), np.int64), 1)
    return float(weighted_auc(terms, np.ones((1, 1)))[0])


def auc_terms(labels: ArrayLike, scores: ArrayLike, codes: np.ndarray, n_clusters: int) -> AucTerms:
    """Split an AUC into clusters so that a bootstrap is a matrix product: wins [C, C].

    ``codes`` are cluster numbers 0 .. n_clusters - 1. A positive wins 1 over each smaller negative
    and 1/2 over each equal one: the mean of its left and right places among them.
    """
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    _same_length(labels, scores)
    pos, code_pos = scores[labels], codes[labels]
    wins = np.zeros((n_clusters, n_clusters))
    for d in np.unique(codes[~labels]):
        neg = np.sort(scores[~labels & (codes == d)])
        place = (np.searchsorted(neg, pos, "left") + np.searchsorted(neg, pos, "right")) / 2
        wins[:, d] = np.bincount(code_pos, place, minlength=n_clusters)
    return AucTerms(
        wins,
        np.bincount(code_pos, minlength=n_clusters).astype(np.float64),
        np.bincount(codes[~labels], minlength=n_clusters).astype(np.float64),
    )


def weighted_auc(terms: AucTerms, weights: np.ndarray) -> np.ndarray:
    """AUC under cluster weights [R, C]: w' wins w / (w . positives)(w . negatives): float [R].

    NaN in resamples that lack a class.
    """
    above = np.einsum("rc,rc->r", weights @ terms.wins, weights)
    pairs = (weights @ terms.positives) * (weights @ terms.negatives)
    return np.divide(above, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def weighted_correlation(
    x: np.ndarray, y: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Pearson's correlation of x and y [B] under cluster weights [R, C]: float [R].

    0 where x or y does not vary.
    """
    n = weights.shape[1]
    x, y = np.asarray(x - x.mean(), np.float64), np.asarray(y - y.mean(), np.float64)
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    one, x_, y_, xx, yy, xy = (weights @ np.bincount(codes, c, minlength=n) for c in columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_x, at_y = x_ / one, y_ / one
        spread_x, spread_y = xx / one - at_x**2, yy / one - at_y**2
        spread = np.sqrt(np.maximum(spread_x, 0) * np.maximum(spread_y, 0))
        return np.where(spread > 1e-12, (xy / one - at_x * at_y) / spread, 0.0)


def _cluster_ratio(
    top: np.ndarray,
    bottom: np.ndarray | None,
    clusters: Sequence[Hashable],
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    _same_length(top, clusters)
    if not len(top):
        return Interval(float("nan"), float("nan"), float("nan"))
    codes = cluster_codes(clusters)
    n = int(codes.max()) + 1
    sums = np.bincount(codes, top, minlength=n)
    sizes = np.bincount(codes, bottom, minlength=n).astype(np.float64)
    estimate = float(sums.sum() / sizes.sum()) if sizes.sum() else float("nan")
    if n < 2:
        return Interval(estimate, float("nan"), float("nan"))
    weights = cluster_weights(n, resamples, seed)
    above, below = weights @ sums, weights @ sizes
    undefined = np.where(above > 0, np.inf, np.nan)
    drawn = np.divide(above, below, out=undefined, where=below > 0)
    return percentile_interval(estimate, drawn, level)


def _same_length(a: Sequence[Any] | np.ndarray, b: Sequence[Any] | np.ndarray) -> None:
    if len(a) != len(b):
        raise PgvError(f"Paired data differ in length: {len(a)} against {len(b)} values.")
