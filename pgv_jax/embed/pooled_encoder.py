"""A text as the mean of its parts: far fewer texts, and no limit on a text's length.

``sentences:BASE``: a progress note is a set of facts that mostly recur. ``turns:BASE``: windows of
one log repeat each observation and action as often as they are wide. Each distinct part is
embedded once, and a text is the normalised mean of its parts' vectors; one part is its own vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.embed.encoder import Encoder, fingerprint_of
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.texts.segments import turns
from pgv_jax.texts.sentences import sentences

PARTS: dict[str, tuple[Callable[[str], list[str]], dict[str, Any]]] = {
    "sentences": (sentences, {"pooling_of_sentences": "mean", "segmenter": "sentencex:en"}),
    "turns": (turns, {"pooling_of_turns": "mean", "quoted_marks": "a space before"}),
}
"""What a text is cut into, and what manifests say of it."""
KEPT = 1 << 18
"""Parts whose vectors stay in memory; one more, and memory starts anew."""
RECUR = 4
"""Times the characters of its new parts that a chunk of texts has: most parts were met before."""


class PooledEncoder:
    """``KIND:BASE``: pools what ``BASE`` says of each part of a text; keeps those in memory."""

    def __init__(self, kind: str, base: Encoder):
        self.name = f"{kind}:{base.name}"
        self.dim = base.dim
        self._parts, self._facts = PARTS[kind]
        self._base = base
        if hasattr(base, "chunk_characters"):
            self.chunk_characters = RECUR * base.chunk_characters
        self._known: dict[str, np.ndarray] = {}
        self._store: EmbeddingStore | None = None
        self.fingerprint = fingerprint_of(self.describe())

    def describe(self) -> dict[str, Any]:
        """The base's facts and how its vectors are pooled."""
        return {**self._facts, "normalize": True, "base": self._base.describe()}

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embed ``texts`` in order: float32 [len(texts), dim], unit vectors."""
        if len(self._known) > KEPT:
            self._known = {}
        cut = [self._parts(text) or [text] for text in texts]
        new = [part for part in dict.fromkeys(p for c in cut for p in c) if part not in self._known]
        if new:
            self._known.update(zip(new, self._embedded(new), strict=True))
        out = np.empty((len(texts), self.dim), np.float32)
        for row, parts in zip(out, cut, strict=True):
            mean = np.mean([self._known[part] for part in parts], axis=0)
            row[:] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        if progress is not None:
            progress(len(texts))
        return out

    def keep_parts(self, folder: Path) -> None:
        """Take parts from a store in ``folder``, and add those that it lacks, from now on.

        What an earlier process embedded is then not embedded again where new texts repeat a part
        of it. Raises PgvError where the store holds vectors of another base.
        """
        self._store = EmbeddingStore(folder, self._base)

    def _embedded(self, parts: Sequence[str]) -> np.ndarray:
        """The base's vectors of distinct parts: float32 [len(parts), dim]."""
        if self._store is None:
            return self._base.encode(parts)
        missing = self._store.missing(parts)
        if missing:
            self._store.put(missing, self._base.encode(missing))
        return self._store.lookup(parts)

    def warm_up(self, n_texts: int | None = None) -> None:
        """Compile the base's small shapes beforehand, where it has any."""
        if hasattr(self._base, "warm_up"):
            self._base.warm_up(n_texts)

    @property
    def stats(self) -> Any:
        """The base's counts of texts, tokens and truncations (None where it keeps none)."""
        return getattr(self._base, "stats", None)
