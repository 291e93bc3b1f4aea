"""Shard files of an embedding store: keys and vectors side by side, checked and atomic.

A shard is ``NAME.keys.npy`` (uint8 [n, 32]) and ``NAME.vectors.npy`` (float32 [n, D]). It counts
only once the store's manifest names it with both checksums.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.errors import DamagedFileError, PgvError
from pgv_jax.files import sha256_of, write_whole

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """What the manifest says of one shard."""

    name: str
    count: int
    keys_sha256: str
    vectors_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The manifest's form."""
        return asdict(self)

    def paths(self, folder: Path) -> tuple[Path, Path]:
        """The files of the keys and of the vectors."""
        return folder / f"{self.name}.keys.npy", folder / f"{self.name}.vectors.npy"


def write_shard(folder: Path, name: str, keys: np.ndarray, vectors: np.ndarray) -> ShardEntry:
    """Write one shard; it stays invisible until the manifest names the returned entry."""
    entry = ShardEntry(name, len(keys), "", "")
    sums = []
    for path, array in zip(entry.paths(folder), (keys, vectors), strict=True):
        content = io.BytesIO()  # numpy's own writing to a file does not say that a disk is full
        np.save(content, array)
        write_whole(path, content.getvalue())
        sums.append(sha256_of(path))
    return ShardEntry(name, len(keys), *sums)


class Shard:
    """An open shard: keys in memory, vectors memory-mapped and checked on first use."""

    def __init__(self, folder: Path, entry: ShardEntry, dim: int):
        self.entry = entry
        self.dim = dim
        self._keys_path, self._vectors_path = entry.paths(folder)
        self._vectors: np.ndarray | None = None
        self._verify(self._keys_path, entry.keys_sha256)
        self.keys: np.ndarray = np.load(self._keys_path)

    @property
    def vectors(self) -> np.ndarray:
        """float32 [n, D]; raises PgvError where the file does not match its checksum."""
        if self._vectors is None:
            self._verify(self._vectors_path, self.entry.vectors_sha256)
            vectors = np.load(self._vectors_path, mmap_mode="r")
            if vectors.shape != (self.entry.count, self.dim):
                raise PgvError(
                    f"{self._vectors_path} holds an array {vectors.shape}, its manifest says "
                    f"{(self.entry.count, self.dim)}; delete the store's folder and embed again."
                )
            self._vectors = vectors
        return self._vectors

    def _verify(self, path: Path, expected: str) -> None:
        found = sha256_of(path)
        if found != expected:
            raise DamagedFileError(
                f"{path} is damaged: its checksum is {found[:12]}..., the manifest says "
                f"{expected[:12]}...; delete that file and run `pgv embed` again, which embeds "
                f"its {self.entry.count} texts anew."
            )
