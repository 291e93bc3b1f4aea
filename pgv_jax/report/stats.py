"""Intervals and paired tests for outcomes that come in clusters (many episodes of one game).

Episodes of one task resemble each other, so the unit is the task ("cluster"), not the episode.
Every interval is made of a statistic of all clusters and of all but one of them in turn, by
``cluster_interval``. ``benchmarks/coverage.py`` prints how often the truth is inside.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, t

from pgv_jax.errors import PgvError

LEVEL = 0.95

Scale = Literal["share", "difference", "mean", "ratio", "correlation"]
"""What a statistic is: in [0, 1], in [-1, 1], unbounded, above 0, or Pearson's."""


class Interval(NamedTuple):
    """An estimate and its interval; NaN where the data cannot tell."""

    value: float
    low: float
    high: float

    def as_json(self, name: str = "value") -> dict[str, Any]:
        """``{name: value, "ci95": [low, high]}`` with None for NaN, rounded to 6 digits."""
        return {name: rounded(self.value), "ci95": [rounded(self.low), rounded(self.high)]}


class SignTest(NamedTuple):
    """In how many clusters each of two paired arms was the better, and the two-sided p-value."""

    better: int
    worse: int
    p: float

    def as_json(self) -> dict[str, Any]:
        """``{"tasks_better", "tasks_worse", "p"}``."""
        return {"tasks_better": self.better, "tasks_worse": self.worse, "p": float(f"{self.p:.6g}")}


class AucTerms(NamedTuple):
    """An AUC split by cluster: ``wins[c, d]`` of the positives of c over the negatives of d."""

    wins: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @property
    def units(self) -> int:
        """Clusters with a positive, or with a negative if these are fewer."""
        return int(min((self.positives > 0).sum(), (self.negatives > 0).sum()))


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A float for JSON: rounded, None where it is None, NaN or infinite."""
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), digits)


def cluster_codes(clusters: Sequence[Hashable]) -> np.ndarray:
    """Number the clusters 0, 1, ... in order of first appearance: int [n]."""
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(c, len(codes)) for c in clusters], dtype=np.int64)


def left_out(n_clusters: int) -> np.ndarray:
    """Weights of all clusters, then of all but each in turn: float [1 + C, C]."""
    return np.concatenate([np.ones((1, n_clusters)), 1 - np.eye(n_clusters)])


def cluster_interval(
    values: np.ndarray, scale: Scale, *, units: int | None = None, level: float = LEVEL
) -> Interval:
    """The interval of a statistic by its values [1 + C] under the weights ``left_out(C)``.

    ``units`` counts the clusters that can tell anything (default C). With one, or where a value
    without some cluster is undefined, the interval is NaN.
    """
    low, high = interval_ends(values, scale, units=units, level=level)
    return Interval(float(values[0]), float(low), float(high))


def interval_ends(
    values: np.ndarray, scale: Scale, *, units: int | None = None, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the intervals of many statistics, ``values`` [..., 1 + C]: two floats [...].

    The standard error is the jackknife's over clusters (Efron & Stein 1981), the quantile q
    Student's t with 2C / (kurtosis - 1) degrees of freedom, at most C - 1, by the kurtosis of the
    jackknife's deviations (Satterthwaite 1946): few clusters that hold all the variance count as
    few. By scale:

    - share: Wilson's interval for theta (1 - theta) / se^2 trials (Wilson 1927; for clusters Dean &
      Pagano 2015); ``units`` trials where nothing varies.
    - difference: theta +- q se within [-1, 1]. Where nothing varies, a share of at most
      q^2 / (units + q^2) further clusters, Wilson's upper end at 0, may still differ by 1.
    - mean: theta +- q se. ratio: the same of its logarithm. correlation: of its artanh.
    """
    values = np.asarray(values, np.float64)
    n = values.shape[-1] - 1
    n_units = n if units is None else units
    theta, moved = values[..., 0], values
    with np.errstate(all="ignore"):
        if scale == "ratio":
            moved = np.log(values)
        elif scale == "correlation":
            moved = np.arctanh(np.clip(values, -1 + 1e-12, 1 - 1e-12))
        u = moved[..., 1:] - moved[..., 1:].mean(-1, keepdims=True)
        total = (u**2).sum(-1)
        se = np.sqrt((n - 1) / n * total) if n else np.full(theta.shape, np.nan)
        se = np.where(total <= n * (1e-12 * np.maximum(np.abs(theta), 1)) ** 2, 0.0, se)  # rounding
        kurtosis = np.maximum(n * (u**4).sum(-1) / total**2, 1 + 1e-9)
        freedom = 2 * n / (kurtosis - 1)
        freedom = np.where(se > 0, np.clip(freedom, 1, n - 1), max(n_units - 1, 1))
        q = t.ppf((1 + level) / 2, freedom)
        if scale == "share":
            low, high = _wilson(theta, np.where(se > 0, theta * (1 - theta) / se**2, n_units), q)
        elif scale == "difference":
            further = q**2 / (n_units + q**2)
            low = np.where(se > 0, theta - q * se, theta - further * (1 + theta))
            high = np.where(se > 0, theta + q * se, theta + further * (1 - theta))
            low, high = np.maximum(low, -1), np.minimum(high, 1)
        else:
            low, high = moved[..., 0] - q * se, moved[..., 0] + q * se
            back = {"ratio": np.exp, "correlation": np.tanh}.get(scale)
            low, high = (low, high) if back is None else (back(low), back(high))
    if scale == "ratio":  # nothing at all above the line, whichever cluster is left out
        none = (values == 0).all(-1)
        low, high = np.where(none, 0.0, low), np.where(none, 0.0, high)
    told = np.isfinite(values).all(-1) & (min(n, n_units) > 1)
    return np.where(told, low, np.nan), np.where(told, high, np.nan)


def _wilson(p: np.ndarray, trials: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p + q^2/2n +- q sqrt(p(1-p)/n + q^2/4n^2)) / (1 + q^2/n); n need not be whole."""
    scaled = q**2 / trials
    middle = (p + scaled / 2) / (1 + scaled)
    half = np.sqrt(scaled * p * (1 - p) + scaled**2 / 4) / (1 + scaled)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def cluster_share(
    values: ArrayLike, clusters: Sequence[Hashable], *, level: float = LEVEL
) -> Interval:
    """Mean of ``values`` in [0, 1] (successes, credits) with its interval over clusters."""
    return _cluster_mean(values, clusters, "share", level)


def cluster_mean(
    values: ArrayLike, clusters: Sequence[Hashable], *, level: float = LEVEL
) -> Interval:
    """Mean of ``values`` of any size with its interval over clusters."""
    return _cluster_mean(values, clusters, "mean", level)


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable], *, level: float = LEVEL
) -> Interval:
    """Mean of a - b, both in [0, 1], over pairs (same task, same seed), with its interval."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _same_length(a, b)
    return _cluster_mean(a - b, clusters, "difference", level)


def paired_ratio(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable], *, level: float = LEVEL
) -> Interval:
    """mean(a) / mean(b) over pairs of values of at least 0; NaN where mean(b) is 0.

    By Fieller (1954): the ratios r at which sum(a - r b) is within q standard errors of 0, q
    Student's t with C - 1 degrees of freedom. Where b may be 0 the upper end is infinite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _same_length(a, b)
    codes = cluster_codes(clusters)
    n = int(codes.max()) + 1 if len(a) else 0
    sums = np.stack([np.bincount(codes, x, minlength=n) for x in (a, b)])
    top, bottom = sums.sum(1)
    if not bottom:
        return Interval(float("nan"), float("nan"), float("nan"))
    ratio = float(top / bottom)
    if n < 2:
        return Interval(ratio, float("nan"), float("nan"))
    spread = n * np.cov(sums) * t.ppf((1 + level) / 2, n - 1) ** 2
    square, cross, rest = np.array([bottom**2, top * bottom, top**2]) - spread[[1, 0, 0], [1, 1, 0]]
    root = float(np.sqrt(max(cross**2 - square * rest, 0.0)))
    if square > 0:
        return Interval(ratio, max((cross - root) / square, 0.0), (cross + root) / square)
    low = (cross - root) / square if square < 0 < rest else 0.0
    return Interval(ratio, max(low, 0.0), float("inf"))


def sign_test(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> SignTest:
    """Exact sign test of paired values over clusters (Dixon & Mood 1946).

    A cluster counts once, for the arm that is better in it over all its pairs: under the null the
    better ones are binomial at 1/2 among those that differ; p is 1 if there are none. With one pair
    of successes a cluster it is McNemar's exact test.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _same_length(a, b)
    _same_length(a, clusters)
    gained = np.bincount(cluster_codes(clusters), a - b) if len(a) else np.zeros(0)
    better, worse = int((gained > 1e-12).sum()), int((gained < -1e-12).sum())
    p = float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0
    return SignTest(better, worse, p)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """P(score of a positive > score of a negative) + half of the ties (Mann & Whitney 1947).

    NaN where a class is missing.
    """
    terms = auc_terms(labels, scores, np.zeros(len(np.asarray(labels)), np.int64), 1)
    return float(weighted_auc(terms, np.ones((1, 1)))[0])


def auc_terms(labels: ArrayLike, scores: ArrayLike, codes: np.ndarray, n_clusters: int) -> AucTerms:
    """Split an AUC into clusters, so that it under weights is a matrix product: wins [C, C].

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

    NaN where the weights leave no positive or no negative.
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


def _cluster_mean(
    values: ArrayLike, clusters: Sequence[Hashable], scale: Scale, level: float
) -> Interval:
    values = np.asarray(values, np.float64)
    _same_length(values, clusters)
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    codes = cluster_codes(clusters)
    sums, sizes = np.bincount(codes, values), np.bincount(codes).astype(np.float64)
    drawn = mean_values(sums, sizes)
    return cluster_interval(drawn, scale, level=level)


def mean_values(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """A mean by clusters' sums and sizes [..., C], of all and of all but each: [..., 1 + C].

    NaN where nothing is left.
    """
    top = np.concatenate([sums.sum(-1, keepdims=True), sums.sum(-1, keepdims=True) - sums], -1)
    size = np.concatenate([sizes.sum(-1, keepdims=True), sizes.sum(-1, keepdims=True) - sizes], -1)
    return np.divide(top, size, out=np.full(top.shape, np.nan), where=size > 0)


def _same_length(a: Sequence[Any] | np.ndarray, b: Sequence[Any] | np.ndarray) -> None:
    if len(a) != len(b):
        raise PgvError(f"Paired data differ in length: {len(a)} against {len(b)} values.")
