"""Preferred plans: critics of whole attempts beside simple baselines, on Plan-RewardBench.

    python benchmarks/pairs.py --data ../shared/data/plan-rewardbench --out runs/pairs

Plan-RewardBench pairs two attempts of an agent at one query, of which one is preferred; a method
prefers one by a number for each. The share of pairs in which it prefers the same one is printed for
each file and for their mean, with intervals (95 %) over queries; a tie counts one half. What learns
is fitted on the queries of four folds and asked about the fifth; folds are the same for all.

fewer_steps    the attempt with fewer steps
longer_words   the attempt whose thoughts have more characters
lengths        logistic regression on the differences of both numbers
tfidf          logistic regression on the difference of the attempts' words and pairs of words
outcomes_mean  the recipe's probe of success (MiniLM), learned from preferred = success, rejected =
               failure: the mean of its logits over an attempt's steps
outcomes_last  its logit at the attempt's last step
pairs          the same components of the embeddings, their means' difference: Bradley and Terry's
               model (1952) with the probe's penalty
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from entry import begin
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MaxAbsScaler

from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import importer_of
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.recipe.outcomes import FIELDS, Outcomes, components_of
from pgv_jax.recipe.probe import fit_probe
from pgv_jax.report.health.baselines import task_folds
from pgv_jax.report.rows import step_rows
from pgv_jax.report.stats import Interval, cluster_mean
from pgv_jax.types import Episode

HISTORY = 3


@dataclass(frozen=True)
class Pairs:
    """P pairs of attempts: episodes 2 i (preferred) and 2 i + 1, their query and file."""

    episodes: list[Episode]
    files: list[str]

    @property
    def queries(self) -> list[str]:
        """Each pair's query, by which folds are dealt: [P]."""
        return [episode.task_id for episode in self.episodes[::2]]

    def difference(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """A number for each attempt, the preferred one's less the other's: [P, ...]."""
        each = np.asarray(values)
        return np.asarray(each[::2] - each[1::2])


def read(data: Path) -> Pairs:
    """The pairs of all files in a folder; a query in several files is one."""
    paths = sorted(data.glob("*.jsonl*"))
    if not paths:
        raise PgvError(f"{data} holds no *.jsonl files; give the folder of Plan-RewardBench.")
    episodes: list[Episode] = []
    files: list[str] = []
    for path in paths:
        for found in importer_of("plan-rewardbench").read(path, Options()):
            if isinstance(found, BadRecord):
                raise PgvError(f"A record cannot be read: {found}.")
            episodes.append(replace(found, task_id=found.task))
            files.append(path.name.split(".")[0])
    return Pairs(episodes, files[::2])


def folds_of(outcomes: Outcomes, pairs: Pairs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The steps' folds as pairs (fitted on, held out)."""
    queries = np.asarray(pairs.queries, object)
    for _, held_out in outcomes.folds:
        inside = np.isin(queries, [outcomes.rows.task_ids[i] for i in held_out])
        yield np.flatnonzero(~inside), np.flatnonzero(inside)


def learned(features: Callable[[np.ndarray], Any], outcomes: Outcomes, pairs: Pairs) -> np.ndarray:
    """Cross-fitted margins [P] of a logistic regression on differences, each taken both ways.

    ``features`` gives the differences [P, F] of all pairs, and may read those fitted on.
    """
    margin_P = np.zeros(len(pairs.files))
    for fitted_on, held_out in folds_of(outcomes, pairs):
        x_PF = csr_matrix(features(fitted_on))
        scaler = MaxAbsScaler().fit(x_PF[fitted_on])
        x = scaler.transform(x_PF[fitted_on])
        model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=2000)
        model.fit(vstack([x, -x]), np.repeat([1, 0], len(fitted_on)))
        margin_P[held_out] = scaler.transform(x_PF[held_out]) @ model.coef_[0]
    return margin_P


def words_of(texts: Sequence[str], fitted_on: np.ndarray) -> Any:
    """Differences [P, F] of the attempts' TF-IDF, whose words are those of the pairs fitted on."""
    known = [texts[i] for pair in fitted_on for i in (2 * pair, 2 * pair + 1)]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(known)
    return words.transform(texts[::2]) - words.transform(texts[1::2])


def of_pairs(outcomes: Outcomes, pairs: Pairs, attempt_B: np.ndarray) -> np.ndarray:
    """Margins [P] by a probe of the mean components' difference, cross-fitted."""
    components = components_of(outcomes, FIELDS)
    count = np.bincount(attempt_B)[:, None]
    mean_AR = np.stack(
        [np.bincount(attempt_B, weights=column) for column in components.x_BR.T], axis=1
    )
    x_PR = pairs.difference(mean_AR / count)
    size = len(x_PR)
    folds = [
        (np.concatenate([a, a + size]), np.concatenate([b, b + size]))
        for a, b in folds_of(outcomes, pairs)
    ]
    both = np.concatenate([np.arange(size)] * 2)
    rows = replace(outcomes.rows.take(both), success_B=np.repeat([True, False], size))
    probe = fit_probe(
        replace(outcomes, rows=rows, folds=folds),
        replace(components, x_BR=np.concatenate([x_PR, -x_PR])),
    )
    return probe.crossfit_B[:size] - probe.crossfit_B[size:]


def right(margin_P: np.ndarray) -> np.ndarray:
    """1 for each pair that a margin puts right, one half for a tie: [P]."""
    return np.asarray((np.sign(margin_P) + 1) / 2)


def by_files(value_P: np.ndarray, pairs: Pairs, less: float = 0.0) -> list[float]:
    """The mean over files of each file's mean of ``value_P``, in per cent, with its interval.

    ``less`` is taken off before queries are weighed by the number of their pairs, and put back.
    """
    names, counts = np.unique(pairs.files, return_counts=True)
    share = dict(zip(names, len(value_P) / len(names) / counts, strict=True))
    weight_P = np.asarray([share[file] for file in pairs.files])
    return percent(cluster_mean(weight_P * (value_P - less), pairs.queries), less)


def percent(found: Interval, more: float = 0.0) -> list[float]:
    """[value, low, high] of an interval, moved by ``more``."""
    return [round(100 * (x + more), 1) for x in (found.value, found.low, found.high)]


def figures(margin_P: np.ndarray, beside_P: np.ndarray, pairs: Pairs) -> dict[str, list[float]]:
    """Per cent of the pairs that are put right, file by file and in the mean of files.

    ``less_tfidf`` is that mean less the one of ``beside_P``, pair by pair.
    """
    right_P, told = right(margin_P), {}
    for name in sorted(set(pairs.files)):
        own = [i for i, file in enumerate(pairs.files) if file == name]
        told[name] = percent(cluster_mean(right_P[own], [pairs.queries[i] for i in own]))
    told["mean"] = by_files(right_P, pairs, less=0.5)
    told["less_tfidf"] = by_files(right_P - right(beside_P), pairs)
    return told


def main() -> None:
    """Fit and ask everybody, and print a line of JSON each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of *.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"))
    parser.add_argument("--encoder", default="sentences:minilm")
    args = parser.parse_args()
    pairs = read(args.data)
    rows = step_rows(pairs.episodes, HISTORY)
    attempt_B = np.repeat(np.arange(len(pairs.episodes)), [len(e.steps) for e in pairs.episodes])
    store = EmbeddingStore(args.out / "embeddings", open_encoder(args.encoder))
    store.add([*rows.tasks, *rows.observations, *rows.thoughts])
    columns = dict(zip(FIELDS, (rows.tasks, rows.observations, rows.thoughts), strict=True))
    vectors = {name: np.asarray(store.lookup(texts)) for name, texts in columns.items()}
    outcomes = Outcomes(rows, vectors, task_folds(rows, 0))
    words = ["\n".join(step.thought for step in e.steps) for e in pairs.episodes]
    steps = pairs.difference([len(e.steps) for e in pairs.episodes])
    letters = pairs.difference([len(text) for text in words])
    logit_B = fit_probe(outcomes, components_of(outcomes, FIELDS)).crossfit_B
    last = np.cumsum([len(e.steps) for e in pairs.episodes]) - 1
    methods = {
        "fewer_steps": -steps,
        "longer_words": letters,
        "lengths": learned(lambda _: np.stack([steps, letters], 1, dtype=float), outcomes, pairs),
        "tfidf": learned(partial(words_of, words), outcomes, pairs),
        "outcomes_mean": pairs.difference(
            np.bincount(attempt_B, weights=logit_B) / np.bincount(attempt_B)
        ),
        "outcomes_last": pairs.difference(logit_B[last]),
        "pairs": of_pairs(outcomes, pairs, attempt_B),
    }
    for name, margin_P in methods.items():
        told = figures(margin_P, methods["tfidf"], pairs)
        print(json.dumps({"method": name, **told}), flush=True)


if __name__ == "__main__":
    begin(main)
