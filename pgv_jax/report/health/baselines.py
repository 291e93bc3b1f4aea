"""What a critic has to beat: a constant, a clock, lengths, linear probes, and other critics.

The baselines are fitted on training tasks and judged on held-out ones, on the same steps and the
same embeddings as the critic. Each is a ``Baseline``: a name and a score for every row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pgv_jax.report.rows import Rows, Scorer, q_success, step_rows
from pgv_jax.texts.templates import History, thought_text
from pgv_jax.types import Episode

Embed = Callable[[Sequence[str]], np.ndarray]
"""Distinct texts -> float [n, D], as ``EmbeddingStore.lookup``."""

C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the L2 penalty that cross-validation chooses from."""
FIELDS, TASK = ("task", "observation", "thought"), ("task",)
"""What a probe reads."""
WORDS = 20_000
MOST_ROWS = 8000
"""Training steps that a probe is fitted on at most."""


class Baseline(Protocol):
    """Scores rows; higher means that success is thought more likely."""

    @property
    def name(self) -> str:
        """The scorer's name in the report."""
        ...

    def score(self, rows: Rows) -> np.ndarray:
        """One number a row: float [B]."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The success rate of the training steps, whatever is seen."""

    rate: float
    name: str = "constant"

    def score(self, rows: Rows) -> np.ndarray:
        """The same number for every row: float [B]."""
        return np.full(len(rows), self.rate)


class StepIndex:
    """A clock: logistic regression on t and log(1 + t), blind to every text.

    At a fixed step it is a constant (AUC 1/2); whatever it scores over all steps together is
    not evidence about texts, since long episodes are more often failures.
    """

    name = "step_index"

    def __init__(self, train: Rows):
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=1000))
        self._model.fit(_clock(train), train.success_B)

    def score(self, rows: Rows) -> np.ndarray:
        """P(success | t): float [B]."""
        return _probability(self._model, _clock(rows))


class Lengths:
    """Logistic regression on log(1 + characters) of task, observation and thought, no words."""

    name = "length_only"

    def __init__(self, train: Rows):
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=1000))
        self._model.fit(_lengths(train), train.success_B)

    def score(self, rows: Rows) -> np.ndarray:
        """P(success | lengths): float [B]."""
        return _probability(self._model, _lengths(rows))


class LogisticProbe:
    """Logistic regression with L2 penalty on the concatenated embeddings of ``fields``.

    C is chosen by the log-likelihood in cross-validation over *tasks*; at most ``max_rows``
    training steps are used, drawn with ``seed``. ``c`` is the choice, ``folds`` how many folds
    could be used (0: too few tasks, C = 1).
    """

    def __init__(
        self,
        train: Rows,
        embed: Embed,
        *,
        name: str = "logistic_regression",
        fields: Sequence[str] = FIELDS,
        history: History = 0,
        max_rows: int = MOST_ROWS,
        seed: int = 0,
    ):
        self.name, self._embed, self._fields, self._history = name, embed, fields, history
        train = _at_most(train, max_rows, seed)
        folds = task_folds(train, seed)
        self.folds = len(folds)
        model = LogisticRegression(max_iter=500)
        features = _features(embed, train, history, fields)
        self._model, best = _search(
            model, {"C": list(C_GRID)}, "neg_log_loss", features, train.success_B, folds
        )
        self.c = best.get("C", 1.0)

    def score(self, rows: Rows) -> np.ndarray:
        """P(success | the fields): float [B]."""
        if not len(rows):
            return np.zeros(0)
        return _probability(self._model, _features(self._embed, rows, self._history, self._fields))


class WordProbe:
    """Logistic regression with L2 penalty on the TF-IDF weights of the words of ``fields``.

    Each field has words of its own, the ``WORDS`` commonest of training at most. The penalty is
    chosen as that of ``LogisticProbe``. It reads no embedding: what a frozen encoder loses of the
    words, it has.
    """

    def __init__(
        self,
        train: Rows,
        *,
        name: str = "tf_idf",
        fields: Sequence[str] = FIELDS,
        max_rows: int = MOST_ROWS,
        seed: int = 0,
    ):
        self.name, self._fields = name, fields
        train = _at_most(train, max_rows, seed)
        self._words = {
            field: TfidfVectorizer(sublinear_tf=True, max_features=WORDS, token_pattern=r"\w+")
            for field in fields
        }
        for field, words in self._words.items():
            words.fit([*_column(train, field), "word"])  # a vocabulary may not be empty
        model = LogisticRegression(solver="liblinear", max_iter=200)
        self._model, _ = _search(
            model,
            {"C": list(C_GRID)},
            "neg_log_loss",
            self._weights(train),
            train.success_B,
            task_folds(train, seed),
        )

    def score(self, rows: Rows) -> np.ndarray:
        """P(success | the words): float [B]."""
        return np.zeros(0) if not len(rows) else _probability(self._model, self._weights(rows))

    def _weights(self, rows: Rows) -> Any:
        return hstack(
            [words.transform(_column(rows, field)) for field, words in self._words.items()], "csr"
        )


class MonteCarloProbe:
    """Ridge regression of the return gamma^(steps left) * success on the same embeddings.

    The penalty is chosen as that of ``LogisticProbe``, by squared error.
    """

    name = "monte_carlo_regression"

    def __init__(
        self,
        train: Rows,
        embed: Embed,
        *,
        gamma: float = 1.0,
        history: History = 0,
        max_rows: int = MOST_ROWS,
        seed: int = 0,
    ):
        self._embed, self._history = embed, history
        train = _at_most(train, max_rows, seed)
        returns = gamma**train.steps_left_B * train.success_B
        grid = {"alpha": [1 / c for c in C_GRID]}
        features = _features(embed, train, history)
        self._model, _ = _search(
            Ridge(), grid, "neg_mean_squared_error", features, returns, task_folds(train, seed)
        )

    def score(self, rows: Rows) -> np.ndarray:
        """The expected return, not bounded: float [B]."""
        if not len(rows):
            return np.zeros(0)
        return np.asarray(
            self._model.predict(_features(self._embed, rows, self._history)), np.float64
        )


@dataclass(frozen=True, slots=True)
class Critic:
    """A critic asked for Q of the thought and the goal that the task is done."""

    name: str
    scorer: Scorer

    def score(self, rows: Rows) -> np.ndarray:
        """Q(s, thought, success): float [B]."""
        return q_success(self.scorer, rows)


def fit_baselines(
    train: Iterable[Episode],
    embed: Embed,
    *,
    history: History = 0,
    gamma: float | None = None,
    seed: int = 0,
) -> tuple[list[Baseline], list[str]]:
    """Fit the constant, the clock, the lengths and the probes on training episodes.

    ``gamma`` discounts the return that ``MonteCarloProbe`` regresses on (None: 1). Returns the
    baselines and a sentence for each that could not be fitted.
    """
    rows = step_rows(train, history)
    if not len(rows):
        return [], ["no baseline could be fitted: no training episode has a known outcome"]
    fitted: list[Baseline] = [Constant(float(rows.success_B.mean()))]
    if rows.success_B.all() or not rows.success_B.any():
        which = "succeed" if rows.success_B.all() else "fail"
        why = f"only the constant could be fitted: all training episodes {which}"
        return fitted, [why]
    fitted += [
        StepIndex(rows),
        Lengths(rows),
        LogisticProbe(rows, embed, history=history, seed=seed),
        LogisticProbe(rows, embed, name="task_only", fields=TASK, history=history, seed=seed),
        WordProbe(rows, seed=seed),
        WordProbe(rows, name="tf_idf_task", fields=TASK, seed=seed),
        MonteCarloProbe(rows, embed, gamma=gamma or 1.0, history=history, seed=seed),
    ]
    return fitted, []


def _at_most(rows: Rows, most: int, seed: int) -> Rows:
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed)
    return rows.take(np.sort(rng.choice(len(rows), most, replace=False)))


def _column(rows: Rows, field: str, history: History = 0) -> list[str]:
    """A field's texts, as the critic embeds them."""
    if field != "thought":
        return {"task": rows.tasks, "observation": rows.observations}[field]
    said = zip(rows.observations, rows.thoughts, strict=True)
    return [thought_text(seen, thought, history) for seen, thought in said]


def _features(
    embed: Embed, rows: Rows, history: History, fields: Sequence[str] = FIELDS
) -> np.ndarray:
    columns = [_column(rows, field, history) for field in fields]
    texts = list(dict.fromkeys(text for column in columns for text in column))
    place = {text: i for i, text in enumerate(texts)}
    vectors = np.asarray(embed(texts), np.float32)
    return np.concatenate([vectors[[place[text] for text in column]] for column in columns], axis=1)


def _search(
    model: Any,
    grid: dict[str, list[float]],
    scoring: str,
    features: Any,
    targets: np.ndarray,
    folds: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[Any, dict[str, float]]:
    """The model fitted with the best constants of ``grid``; without folds with its own."""
    # Small solves gain nothing from threads, and on a busy machine waiting for them costs most.
    with warnings.catch_warnings(), threadpool_limits(1):
        # An unconverged fit is judged by its likelihood as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if not folds:
            return model.fit(features, targets), {}
        search = GridSearchCV(model, grid, cv=folds, scoring=scoring, n_jobs=1)
        search.fit(features, targets)
    return search.best_estimator_, search.best_params_


def _lengths(rows: Rows) -> np.ndarray:
    columns = (rows.tasks, rows.observations, rows.thoughts)
    return np.log1p(np.array([[len(text) for text in column] for column in columns], float).T)


def _clock(rows: Rows) -> np.ndarray:
    return np.stack([rows.step_B, np.log1p(rows.step_B)], axis=1).astype(np.float64)


def _probability(model: LogisticRegression, features: Any) -> np.ndarray:
    if not features.shape[0]:
        return np.zeros(0)
    return np.asarray(model.predict_proba(features)[:, 1], np.float64)


def task_folds(rows: Rows, seed: int, most: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of whole tasks in which both sides hold both classes; fewer than two: none."""
    n_tasks = len(set(rows.task_ids))
    if n_tasks < 2:
        return []
    splitter = StratifiedGroupKFold(min(most, n_tasks), shuffle=True, random_state=seed)
    y = rows.success_B
    with warnings.catch_warnings():  # fewer successes than folds: such folds are dropped below
        warnings.simplefilter("ignore", UserWarning)
        folds = list(splitter.split(np.zeros(len(y)), y, rows.task_ids))
    usable = [(a, b) for a, b in folds if all(len(np.unique(y[part])) == 2 for part in (a, b))]
    return usable if len(usable) > 1 else []
