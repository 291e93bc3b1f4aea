"""Notes as the mean of their sentences: far fewer texts, and no limit on a note's length.

A progress note is a set of facts that mostly recur. Each distinct sentence is embedded once and
a text is the normalised mean of its sentences' vectors; one sentence is its own vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pgv_jax.embed.encoder import Encoder, fingerprint_of
from pgv_jax.sentences import sentences


class SentenceEncoder:
    """``sentences:BASE``: pools what ``BASE`` says of each sentence; keeps those in memory."""

    def __init__(self, base: Encoder):
        self.name = f"sentences:{base.name}"
        self.dim = base.dim
        self._base = base
        self._known: dict[str, np.ndarray] = {}
        self.fingerprint = fingerprint_of(self.describe())

    def describe(self) -> dict[str, Any]:
        """The base's facts and how its vectors are pooled."""
        return {
            "pooling_of_sentences": "mean",
            "normalize": True,
            "segmenter": "sentencex:en",
            "base": self._base.describe(),
        }

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embed ``texts`` in order: float32 [len(texts), dim], unit vectors."""
        parts = [sentences(text) or [text] for text in texts]
        new = [s for s in dict.fromkeys(s for part in parts for s in part) if s not in self._known]
        if new:
            self._known.update(zip(new, self._base.encode(new), strict=True))
        out = np.empty((len(texts), self.dim), np.float32)
        for row, part in zip(out, parts, strict=True):
            mean = np.mean([self._known[sentence] for sentence in part], axis=0)
            row[:] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        if progress is not None:
            progress(len(texts))
        return out

    def warm_up(self, n_texts: int | None = None) -> None:
        """Compile the base's small shapes beforehand, where it has any."""
        if hasattr(self._base, "warm_up"):
            self._base.warm_up(n_texts)

    @property
    def stats(self) -> Any:
        """The base's counts of texts, tokens and truncations (None where it keeps none)."""
        return getattr(self._base, "stats", None)
