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
from sklearn.exceptions import ConvergenceWarning
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
    """Logistic regression with L2 penalty on the concatenated (task, observation, thought).

    C is chosen by the log-likelihood in cross-validation over *tasks*; at most ``max_rows``
    training steps are used, drawn with ``seed``. ``c`` is the choice, ``folds`` how many folds
    could be used (0: too few tasks, C = 1).
    """

    name = "logistic_regression"

    def __init__(
        self,
        train: Rows,
        embed: Embed,
        *,
        history: History = 0,
        max_rows: int = MOST_ROWS,
        seed: int = 0,
    ):
        self._embed, self._history = embed, history
        train = _at_most(train, max_rows, seed)
        folds = task_folds(train, seed)
        self.folds = len(folds)
        model = LogisticRegression(max_iter=500)
        features = _features(embed, train, history)
        self._model, best = _search(
            model, {"C": list(C_GRID)}, "neg_log_loss", features, train.success_B, folds
        )
        self.c = best.get("C", 1.0)

    def score(self, rows: Rows) -> np.ndarray:
        """P(success | task, observation, thought): float [B]."""
        if not len(rows):
            return np.zeros(0)
        return _probability(self._model, _features(self._embed, rows, self._history))


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
    """Fit the constant, the clock, the lengths and two probes on training episodes.

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
        MonteCarloProbe(rows, embed, gamma=gamma or 1.0, history=history, seed=seed),
    ]
    return fitted, []


def _at_most(rows: Rows, most: int, seed: int) -> Rows:
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed)
    return rows.take(np.sort(rng.choice(len(rows), most, replace=False)))


def _features(embed: Embed, rows: Rows, history: History) -> np.ndarray:
    said = zip(rows.observations, rows.thoughts, strict=True)
    thoughts = [thought_text(seen, thought, history) for seen, thought in said]
    columns = (rows.tasks, rows.observations, thoughts)
    texts = list(dict.fromkeys(text for column in columns for text in column))
    place = {text: i for i, text in enumerate(texts)}
    vectors = np.asarray(embed(texts), np.float32)
    return np.concatenate([vectors[[place[text] for text in column]] for column in columns], axis=1)


def _search(
    model: Any,
    grid: dict[str, list[float]],
    scoring: str,
    features: np.ndarray,
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


def _probability(model: LogisticRegression, features: np.ndarray) -> np.ndarray:
    if not len(features):
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
