"""The vectors of texts that a critic meets: from memory, else from a store, else by the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pgv_jax.embed.encoder import Encoder
from pgv_jax.embed.storage.store import EmbeddingStore

UNSAVED = 512
"""New vectors that may wait in memory before they are written to the store."""
KEPT = 1 << 16
"""Texts whose vectors stay in memory; one more, and memory starts anew: a server lives long."""


class Vectors:
    """A memory of embeddings; ``live`` encodes what belongs to a decision."""

    def __init__(
        self,
        encoder: Encoder,
        store: EmbeddingStore | None,
        live: Callable[[Sequence[str]], np.ndarray],
    ):
        self._encoder, self._store, self._live = encoder, store, live
        self._known: dict[str, np.ndarray] = {}
        self._unsaved: list[str] = []
        self.asked = self.found = 0

    def __getitem__(self, text: str) -> np.ndarray:
        """The vector of a text that was embedded: [D]."""
        return self._known[text]

    def embed(self, texts: Iterable[str], *, live: bool = False) -> None:
        """Make texts known.

        What the encoder had to do goes to the store too, ``UNSAVED`` texts at a time: a decision
        does not wait for the disk. ``flush`` writes the rest.
        """
        if len(self._known) > KEPT:
            self.flush()
            self._known = {}
        wanted = list(dict.fromkeys(texts))
        new = [text for text in wanted if text not in self._known]
        self.asked += len(wanted)
        self.found += len(wanted) - len(new)
        if not new:
            return
        if self._store is not None:
            missing = set(self._store.missing(new))
            stored = [text for text in new if text not in missing]
            self._known.update(zip(stored, self._store.lookup(stored), strict=True))
            new = [text for text in new if text in missing]
        if new:
            encode = self._live if live else self._encoder.encode
            self._known.update(zip(new, encode(new), strict=True))
            self._unsaved += new
        if len(self._unsaved) >= UNSAVED:
            self.flush()

    def flush(self) -> None:
        """Write the vectors that the store lacks."""
        if self._store is not None and self._unsaved:
            self._store.put(self._unsaved, np.stack([self._known[t] for t in self._unsaved]))
        self._unsaved = []
