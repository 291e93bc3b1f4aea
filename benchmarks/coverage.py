"""How often the truth is inside the reports' 95 % intervals, in planted populations of tasks.

    python benchmarks/coverage.py [--draws 2000]

A task's chance of success is drawn from a beta distribution (``spread`` is the correlation of two
episodes of a task: 0, all tasks alike; .7, nearly every task always or never succeeds), its
episodes or steps by that chance. The intervals are those of ``pgv_jax.report.stats``: a share of
successes, the paired difference of two arms that play the same tasks, the AUC of a score and the
difference of two AUCs on the same rows (draws with 10 of both outcomes, as the report demands),
and perfect likelihoods, whose calibration error is 0: how often its estimate is above the health
report's limit, and how often the upper end of its interval, which the report looks at, is within.
Beside them: how often the sign test rejects a true null at .05, over tasks and (as McNemar's test
does) over pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
import numpy as np
from entry import begin
from scipy.stats import binomtest, rankdata

from pgv_jax.report.health.reliability import ece_values
from pgv_jax.report.health.trust import Limits
from pgv_jax.report.stats import (
    Scale,
    auc_terms,
    interval_ends,
    left_out,
    mean_values,
    weighted_auc,
)

TASKS = (12, 50, 200)
PER_TASK = 4
MEANS, SPREADS = (0.05, 0.2, 0.5), (0.0, 0.25, 0.7)
GAP = 0.1
"""By how much of what is left to 1 the second arm's chance is higher."""
SIGNALS = (0.5, 1.5)
"""Of a score: the mean of successes less that of failures, in standard deviations of a step."""
Random = np.random.Generator


def chances(rng: Random, shape: tuple[int, ...], mean: float, spread: float) -> np.ndarray:
    """Each task's chance of success."""
    if not spread:
        return np.full(shape, mean)
    both = 1 / spread - 1
    return rng.beta(mean * both, (1 - mean) * both, shape)


def covered(values: np.ndarray, scale: Scale, truth: float, units: int | None = None) -> str:
    """How many of the intervals of ``values`` [draws, 1 + C] hold the truth, and the mean width."""
    low, high = interval_ends(values, scale, units=units)
    inside = (low <= truth + 1e-9) & (truth <= high + 1e-9)
    return f"{inside.mean():.3f} ({np.mean(high - low):.2f})"


def shares(rng: Random, draws: int) -> Iterator[list[str]]:
    """Success of one arm, and the paired difference of two."""
    for mean in MEANS:
        for spread in SPREADS:
            row, paired = [f"{mean:g}", f"{spread:g}"], [f"{mean:g}", f"{spread:g}"]
            for n in TASKS:
                p = chances(rng, (draws, n), mean, spread)
                size = np.full((draws, n), float(PER_TASK))
                won = rng.binomial(PER_TASK, p)
                row.append(covered(mean_values(won, size), "share", mean))
                other = rng.binomial(PER_TASK, p + GAP * (1 - p)) - won
                paired.append(covered(mean_values(other, size), "difference", GAP * (1 - mean)))
            yield ["success", *row]
            yield ["paired difference", *paired]


def scored(
    rng: Random, n: int, mean: float, spread: float, signal: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes and two scores of ``PER_TASK`` steps of n tasks, each [n, PER_TASK]."""
    p = chances(rng, (n,), mean, spread)
    won = rng.random((n, PER_TASK)) < p[:, None]
    hard = 0.7 * rng.standard_normal((n, 1)) + (p[:, None] - mean)
    first = signal * won + hard + rng.standard_normal(won.shape)
    return won, first, 0.7 * first + 0.7 * rng.standard_normal(won.shape)


def area(won: np.ndarray, score: np.ndarray) -> float:
    """The AUC of a large population, by ranks."""
    rank, positives = rankdata(score.ravel()), int(won.sum())
    above = rank[won.ravel()].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (won.size - positives)))


def aucs(rng: Random, draws: int) -> Iterator[list[str]]:
    """AUC of success over steps of many tasks, and the difference of two scores' AUCs."""
    for mean in MEANS[1:]:
        for spread in SPREADS[:2]:
            for signal in SIGNALS:
                large = scored(rng, 200_000, mean, spread, signal)
                truth, other = area(large[0], large[1]), area(large[0], large[2])
                label = [f"{mean:g}", f"{spread:g}"]
                row, paired = [f"AUC {truth:.2f}", *label], [f"AUC less {other:.2f}", *label]
                for n in TASKS:
                    values: list[np.ndarray] = []
                    differences: list[np.ndarray] = []
                    while len(values) < draws // (4 if n > 100 else 2):
                        won, *both = scored(rng, n, mean, spread, signal)
                        if min(won.sum(), (~won).sum()) < 10:
                            continue
                        codes = np.repeat(np.arange(n), PER_TASK)
                        first, second = (
                            weighted_auc(
                                auc_terms(won.ravel(), score.ravel(), codes, n), left_out(n)
                            )
                            for score in both
                        )
                        values.append(first)
                        differences.append(first - second)
                    row.append(covered(np.stack(values), "share", truth))
                    paired.append(covered(np.stack(differences), "difference", truth - other))
                yield row
                yield paired


def rejected(rng: Random, draws: int) -> Iterator[list[str]]:
    """Two arms alike: how often a sign test over tasks, or over pairs, has p < .05."""
    for mean in MEANS:
        over_tasks: list[str] = []
        over_pairs: list[str] = []
        for n in TASKS:
            # The arms are alike over the population of tasks, and unlike in any one task.
            won = [
                rng.random((draws, n, PER_TASK)) < chances(rng, (draws, n, 1), mean, SPREADS[1])
                for _ in range(2)
            ]
            gained = won[0].astype(int) - won[1]
            for kept, units in ((over_tasks, gained.sum(2)), (over_pairs, gained)):
                axes = tuple(range(1, units.ndim))
                up, down = (units > 0).sum(axes), (units < 0).sum(axes)
                kept.append(
                    f"{np.mean([_p(a, b) < 0.05 for a, b in zip(up, down, strict=True)]):.3f}"
                )
        label = [f"{mean:g}", f"{SPREADS[1]:g}"]
        yield ["sign test, over tasks", *label, *over_tasks]
        yield ["McNemar, over pairs", *label, *over_pairs]


def _p(up: int, down: int) -> float:
    return float(binomtest(int(up), int(up + down), 0.5).pvalue) if up + down else 1.0


def errors(rng: Random, draws: int) -> Iterator[list[str]]:
    """Perfect likelihoods: the share of draws above the limit by the estimate, and shown to be
    within by the interval's upper end."""
    limit = Limits().ece
    for spread in SPREADS[1:]:
        bare, within = [], []
        for n in TASKS:
            values: list[np.ndarray] = []
            codes = np.repeat(np.arange(n), PER_TASK)
            for _ in range(draws // 4):
                p = np.repeat(chances(rng, (n,), 0.5, spread), PER_TASK)
                values.append(ece_values(p, (rng.random(len(p)) < p).astype(float), codes))
            _, high = interval_ends(np.stack(values), "share")
            bare.append(f"{np.mean([v[0] > limit for v in values]):.3f}")
            within.append(f"{np.mean(high <= limit):.3f}")
        label = ["0.5", f"{spread:g}"]
        yield [f"ECE above {limit:g}", *label, *bare]
        yield [f"ECE shown within {limit:g}", *label, *within]


PARTS: tuple[Callable[[Random, int], Iterator[list[str]]], ...] = (shares, aucs, rejected, errors)


@click.command()
@click.option("--draws", default=2000, show_default=True, help="Samples of each population.")
@click.option("--seed", default=0, show_default=True)
def main(draws: int, seed: int) -> None:
    """Print a Markdown table: coverage (mean width), or the share of draws, by number of tasks."""
    rng = np.random.default_rng(seed)
    head = ["what", "mean success", "spread", *(f"{n} tasks" for n in TASKS)]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for part in PARTS:
        for row in part(rng, draws):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    begin(main)
