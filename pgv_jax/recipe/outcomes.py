"""Steps whose outcome is known, as arrays: what every candidate is fitted and judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pgv_jax.report.health.baselines import task_folds
from pgv_jax.report.rows import Rows, step_rows
from pgv_jax.texts.templates import History
from pgv_jax.types import Episode

FIELDS = ("task", "observation", "thought")
"""What Q's expert reads; V's reads all but the thought."""
RANK = 256
"""Principal components kept: more cost time and carry next to no variance."""

Lookup = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Outcomes:
    """B steps with their outcomes, and folds of whole tasks.

    ``vectors`` are the embeddings [B, D] of each field. Fold k is (rows to fit on, rows held out),
    both with successes and failures; the rows of a fold that lacks either are only ever fitted on.
    """

    rows: Rows
    vectors: dict[str, np.ndarray]
    folds: list[tuple[np.ndarray, np.ndarray]]

    @property
    def success_B(self) -> np.ndarray:
        """1 where the step's episode succeeded, else 0: float [B]."""
        return self.rows.success_B.astype(np.float64)


@dataclass(frozen=True)
class Components:
    """Principal components of some concatenated fields: x = (vectors - mean) @ axes."""

    fields: tuple[str, ...]
    mean: np.ndarray
    axes: np.ndarray
    x_BR: np.ndarray

    def unfold(self, kernel_RH: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """A kernel on the components -> ({field: [D, H]}, bias [H]) on the raw embeddings."""
        raw = self.axes[:, : len(kernel_RH)] @ kernel_RH
        kernels = dict(zip(self.fields, np.split(raw, len(self.fields)), strict=True))
        return kernels, -self.mean @ raw


def outcomes_of(
    episodes: Iterable[Episode], lookup: Lookup, history: History, seed: int
) -> Outcomes:
    """The steps of all episodes whose outcome is known, embedded and dealt to folds by task."""
    rows = step_rows(episodes, history)
    columns = dict(zip(FIELDS, (rows.tasks, rows.observations, rows.thoughts), strict=True))
    folds = task_folds(rows, seed) if len(np.unique(rows.success_B)) == 2 else []
    return Outcomes(
        rows, {name: _embedded(lookup, texts) for name, texts in columns.items()}, folds
    )


def components_of(outcomes: Outcomes, fields: tuple[str, ...]) -> Components:
    """At most ``RANK`` principal components of the fields' embeddings, by the covariance."""
    x_BF = np.concatenate([outcomes.vectors[field] for field in fields], axis=1)
    mean = x_BF.mean(0, dtype=np.float64)
    centred = x_BF - mean.astype(np.float32)
    with threadpool_limits(1):  # on a busy machine threads mostly wait for each other
        variance, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    kept = axes[:, np.argsort(variance)[::-1][:RANK]]
    return Components(fields, mean, kept, centred @ kept.astype(np.float32))


def _embedded(lookup: Lookup, texts: Sequence[str]) -> np.ndarray:
    distinct = list(dict.fromkeys(texts))
    place = {text: i for i, text in enumerate(distinct)}
    vectors = np.asarray(lookup(distinct), np.float32) if distinct else np.zeros((0, 1), np.float32)
    return vectors[[place[text] for text in texts]]
