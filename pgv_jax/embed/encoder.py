"""What an encoder is, and the hash encoder; ``encoder_specs`` makes one of ``minilm`` and its like.

Frozen text -> vector. An encoder's ``fingerprint`` changes whenever its vectors may change
(weights, pooling, prefix, truncation, normalisation); the store and the artifact carry it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pgv_jax.errors import PgvError


@dataclass
class EncodeStats:
    """What an encoder has read since it was opened; encoders without tokens have none.

    ``empty`` counts texts that have no token of their own, ``lossy`` texts with bytes that have no
    token and are left out.
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0
    empty: int = 0
    lossy: int = 0
    unknown: int = 0
    """Tokens that the vocabulary lacks: all of them have one and the same id."""

    def add(
        self,
        texts: int,
        tokens: int,
        truncated: int,
        empty: int = 0,
        lossy: int = 0,
        unknown: int = 0,
    ) -> None:
        """Count one call."""
        self.texts += texts
        self.tokens += tokens
        self.truncated += truncated
        self.empty += empty
        self.lossy += lossy
        self.unknown += unknown


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into unit vectors, always the same way."""

    @property
    def name(self) -> str:
        """The spec that opens it again: ``minilm``, ``hash:256``, ``hf:DIR?dim=64``, ``api:M``."""
        ...

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 hex over everything that changes the vectors."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-able facts for manifests: model id, weights hash, pooling, prefix, dtype, ..."""
        ...

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embed ``texts`` in order: float32 [len(texts), dim]. ``progress(n)``: n more are done."""
        ...


def fingerprint_of(description: dict[str, Any]) -> str:
    """sha256 hex of a JSON-able description, independent of key order."""
    import json

    canonical = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class HashEncoder:
    """A fixed random unit vector of the text's SHA-256: deterministic, for tests and laws.

    No two texts resemble each other, so a critic on it can only memorise.
    """

    def __init__(self, dim: int):
        if dim < 1:
            raise PgvError(f"Encoder 'hash:{dim}' needs a positive width, such as hash:256.")
        self.name = f"hash:{dim}"
        self.dim = dim
        self.fingerprint = fingerprint_of(self.describe())

    def describe(self) -> dict[str, Any]:
        return {"family": "hash", "version": 1, "dim": self.dim, "normalize": True}

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), np.float32)
        for i, text in enumerate(texts):
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            vector = np.random.Generator(
                np.random.PCG64(int.from_bytes(digest, "big"))
            ).standard_normal(self.dim)
            vectors[i] = vector / np.linalg.norm(vector)
        if progress is not None:
            progress(len(texts))
        return vectors
