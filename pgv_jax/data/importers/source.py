"""A file of a log, the importer that reads it, and the name that tells it from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pgv_jax.data.importers.base import Importer, Prefix
from pgv_jax.data.storage.compression import stem_of
from pgv_jax.types import Episode


@dataclass
class Source:
    """One file, the importer that reads it, and why that one."""

    path: Path
    importer: Importer
    why: str
    prefix: Prefix | None = None
    hint: Prefix | None = None
    label: str = ""

    def named(self, episode: Episode) -> Episode:
        """The episode with an id that tells it from those of a file of the same name."""
        stem = stem_of(self.path)
        name = episode.episode_id
        if self.label in ("", stem) or not (name == stem or name.startswith(f"{stem}:")):
            return episode
        return replace(episode, episode_id=self.label + name[len(stem) :])


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Names that tell files apart: their stems, with as many folders as that takes."""
    depth = [1] * len(paths)
    while True:
        labels = [
            "/".join([*path.parts[-n:-1], stem_of(path)])
            for path, n in zip(paths, depth, strict=True)
        ]
        twice = {label for label, count in Counter(labels).items() if count > 1}
        deeper = [
            min(n + 1, len(path.parts)) if label in twice else n
            for path, n, label in zip(paths, depth, labels, strict=True)
        ]
        if deeper == depth:
            return labels
        depth = deeper
