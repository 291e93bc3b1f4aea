"""A table's arrays become files: looked up in pieces, and a full disk is an error."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pgv_jax.data.table import numpy_dtype
from pgv_jax.errors import PgvError

LOOKUP_TEXTS = 4096
"""Texts looked up at a time, so that a shard's vectors are never in memory as a whole."""

Lookup = Callable[[Sequence[str]], np.ndarray]


def looked_up(lookup: Lookup, texts: Sequence[str], dim: int | None) -> np.ndarray:
    """The vectors of texts [n, D], which must be of that width and finite, else a PgvError."""
    vectors = np.asarray(lookup(texts))
    expected = (len(texts), dim if dim is not None else vectors.shape[-1])
    if vectors.shape != expected:
        raise PgvError(
            f"The lookup of {len(texts)} texts returned an array of shape {vectors.shape}; "
            f"{expected} was expected."
        )
    if not np.isfinite(vectors).all():
        raise PgvError("The lookup returned a vector that is not finite; embed the texts again.")
    return vectors


def new_vectors(path: Path, dtype: str, shape: tuple[int, int]) -> np.ndarray:
    """A new file of embeddings, mapped. numpy's format has no name for bfloat16: its bits go in."""
    on_disk = np.dtype(np.uint16) if dtype == "bfloat16" else np.dtype(dtype)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=on_disk, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and no crash at a page later
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array.view(numpy_dtype(dtype))


def write_looked_up(path: Path, texts: Sequence[str], lookup: Lookup, dim: int, dtype: str) -> None:
    """Write the vectors of texts to a file, ``LOOKUP_TEXTS`` at a time."""
    vectors = new_vectors(path, dtype, (len(texts), dim))
    for start in range(0, len(texts), LOOKUP_TEXTS):
        piece = texts[start : start + LOOKUP_TEXTS]
        vectors[start : start + len(piece)] = looked_up(lookup, piece, dim)


def save_array(path: Path, array: np.ndarray) -> None:
    """As np.save, which does not say that a disk is full."""
    content = io.BytesIO()
    np.save(content, array)
    path.write_bytes(content.getbuffer())
