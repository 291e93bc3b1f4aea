"""What an export is compared on: random unit vectors, and the embeddings of logged texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from pgv_jax.critic.value import ValueFunction
from pgv_jax.errors import PgvError
from pgv_jax.export.scenes import SCENE, logged_scenes, random_scenes
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
"""What one program reads, by name: for q and v one embedding a field and row, float32 [B, D]."""

PROBES = 256
IMAGINED = "imagined"
"""The program of a critic that imagines; its heads "v" and "m" make it."""


@dataclass(frozen=True)
class Sample:
    """What programs are compared on: aligned rows, and scenes where the critic imagines."""

    rows: Inputs
    scenes: Sequence[Inputs] = ()

    def of(self, program: str) -> Sequence[Inputs]:
        """What a program is asked, one call after the other."""
        return self.scenes if program == IMAGINED else [self.rows]


def programs_of(heads: Iterable[str]) -> list[str]:
    """The programs that trained heads make."""
    return [IMAGINED if head == "m" else head for head in heads]


def fields_of(program: str) -> list[str]:
    """What a program reads, in the order of its inputs."""
    if program == IMAGINED:
        return list(SCENE)
    return [field for field in FIELDS if program == "q" or field != "thought"]


def random_sample(manifest: Mapping[str, Any]) -> Sample:
    """The same random inputs each time, for a critic as its manifest describes it."""
    dim = manifest["critic"]["dim"]
    return Sample(probes(dim), random_scenes(dim) if "m" in manifest["heads"] else ())


def probes(dim: int) -> dict[str, np.ndarray]:
    """PROBES random unit vectors a field, always the same: float32 [PROBES, dim]."""
    generator = np.random.default_rng(0)
    vectors = {field: generator.standard_normal((PROBES, dim)) for field in FIELDS}
    return {
        field: (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
        for field, x in vectors.items()
    }


def logged(value: ValueFunction, episodes: Iterable[Episode]) -> Sample:
    """The first PROBES steps of ``episodes`` as the critic meets them: float32 [B, D] a field.

    Goals take turns: success, failure, and the sentences of the episode's final observation. Where
    the critic imagines, some of these steps are scenes as well.
    """
    kept = list(islice(episodes, PROBES)) if "m" in value.manifest["heads"] else episodes
    rows = list(islice(_rows(kept, value.history), PROBES))
    if not rows:
        raise PgvError("The dataset holds no steps to compare the export on; name another.")
    given = {field: value.vectors([row[i] for row in rows]) for i, field in enumerate(FIELDS)}
    return Sample(given, logged_scenes(value, kept) if isinstance(kept, list) else ())


def _rows(episodes: Iterable[Episode], history: History) -> Iterator[tuple[str, ...]]:
    for episode in episodes:
        goals = cycle([SUCCESS, FAILURE, *sentences(episode.final_observation)])
        for t, step in enumerate(episode.steps):
            seen = observation_text(episode, t, history)
            yield episode.task, seen, thought_text(seen, step.thought, history), next(goals)
