"""What a critic has to beat: a constant, a clock, a linear probe, and other critics.

The baselines are fitted on training tasks and judged on held-out ones, on the same steps and the
same embeddings as the critic. Each is a ``Baseline``: a name and a score for every row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pgv_jax.data.texts import History, thought_text
from pgv_jax.report.rows import Rows, Scorer, q_success, step_rows
from pgv_jax.types import Episode

Embed = Callable[[Sequence[str]], np.ndarray]
"""Distinct texts -> float [n, D], as ``EmbeddingStore.lookup``."""

C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the L2 penalty that cross-validation chooses from."""


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
        max_rows: int = 8000,
        seed: int = 0,
    ):
        self._embed, self._history = embed, history
        if len(train) > max_rows:
            rng = np.random.default_rng(seed)
            train = train.take(np.sort(rng.choice(len(train), max_rows, replace=False)))
        features = self._features(train)
        folds = _folds(train, seed)
        self.folds = len(folds)
        model = LogisticRegression(max_iter=500)
        # Small solves gain nothing from threads, and on a busy machine waiting for them costs most.
        with warnings.catch_warnings(), threadpool_limits(1):
            # An unconverged fit is judged by its likelihood as well.
            warnings.simplefilter("ignore", ConvergenceWarning)
            if folds:
                search = GridSearchCV(
                    model, {"C": list(C_GRID)}, cv=folds, scoring="neg_log_loss", n_jobs=1
                )
                search.fit(features, train.success_B)
                self._model, self.c = search.best_estimator_, float(search.best_params_["C"])
            else:
                self._model, self.c = model.fit(features, train.success_B), 1.0

    def score(self, rows: Rows) -> np.ndarray:
        """P(success | task, observation, thought): float [B]."""
        if not len(rows):
            return np.zeros(0)
        return _probability(self._model, self._features(rows))

    def _features(self, rows: Rows) -> np.ndarray:
        said = zip(rows.observations, rows.thoughts, strict=True)
        thoughts = [thought_text(seen, thought, self._history) for seen, thought in said]
        columns = (rows.tasks, rows.observations, thoughts)
        texts = list(dict.fromkeys(text for column in columns for text in column))
        place = {text: i for i, text in enumerate(texts)}
        vectors = np.asarray(self._embed(texts), np.float32)
        return np.concatenate(
            [vectors[[place[text] for text in column]] for column in columns], axis=1
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
    train: Iterable[Episode], embed: Embed, *, history: History = 0, seed: int = 0
) -> tuple[list[Baseline], list[str]]:
    """Fit the constant, the clock and the probe on training episodes.

    Returns the baselines and a sentence for each that could not be fitted.
    """
    rows = step_rows(train, history)
    if not len(rows):
        return [], ["no baseline could be fitted: no training episode has a known outcome"]
    fitted: list[Baseline] = [Constant(float(rows.success_B.mean()))]
    if rows.success_B.all() or not rows.success_B.any():
        which = "succeed" if rows.success_B.all() else "fail"
        why = f"only the constant could be fitted: all training episodes {which}"
        return fitted, [why]
    fitted += [StepIndex(rows), LogisticProbe(rows, embed, history=history, seed=seed)]
    return fitted, []


def _clock(rows: Rows) -> np.ndarray:
    return np.stack([rows.step_B, np.log1p(rows.step_B)], axis=1).astype(np.float64)


def _probability(model: LogisticRegression, features: np.ndarray) -> np.ndarray:
    if not len(features):
        return np.zeros(0)
    return np.asarray(model.predict_proba(features)[:, 1], np.float64)


def _folds(rows: Rows, seed: int, most: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
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
