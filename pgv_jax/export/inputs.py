"""What an export is compared on: random unit vectors, and the embeddings of logged texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle, islice

import numpy as np

from pgv_jax.critic.value import ValueFunction
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import (
    FAILURE,
    SUCCESS,
    History,
    observation_text,
    sentences,
    thought_text,
)
from pgv_jax.types import FIELDS, Episode

Inputs = Mapping[str, np.ndarray]
"""One embedding a field and row: {field: float32 [B, D]}."""

PROBES = 256


def probes(dim: int) -> dict[str, np.ndarray]:
    """PROBES random unit vectors a field, always the same: float32 [PROBES, dim]."""
    generator = np.random.default_rng(0)
    vectors = {field: generator.standard_normal((PROBES, dim)) for field in FIELDS}
    return {
        field: (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
        for field, x in vectors.items()
    }


def logged(value: ValueFunction, episodes: Iterable[Episode]) -> dict[str, np.ndarray]:
    """The first PROBES steps of ``episodes`` as the critic meets them: float32 [B, D] a field.

    Goals take turns: success, failure, and the sentences of the episode's final observation.
    """
    rows = list(islice(_rows(episodes, value.history), PROBES))
    if not rows:
        raise PgvError("The dataset holds no steps to compare the export on; name another.")
    return {field: value.vectors([row[i] for row in rows]) for i, field in enumerate(FIELDS)}


def _rows(episodes: Iterable[Episode], history: History) -> Iterator[tuple[str, ...]]:
    for episode in episodes:
        goals = cycle([SUCCESS, FAILURE, *sentences(episode.final_observation)])
        for t, step in enumerate(episode.steps):
            seen = observation_text(episode, t, history)
            yield episode.task, seen, thought_text(seen, step.thought, history), next(goals)
