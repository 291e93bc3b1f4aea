"""Rows of memory-mapped files, read without mapping them into this process's memory.

A mapping would count: Linux maps up to 2 MB around a row that is touched (6.18 does, where the page
cache holds large folios), so that some hundred rows make a file resident.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pgv_jax.errors import PgvError

SMALL = 4096
"""Up to this length ``padded_length`` is a power of two."""


class _Place(NamedTuple):
    """Where in an open file an array begins."""

    file: int
    offset: int
    path: str


class Rows:
    """Reads rows by their place in the file; holds the files open for as long as it lives."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}

    def read(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """``array[rows]``, a copy; -1 is the last one, as for numpy.

        Raises PgvError for a file that ends before a row.
        """
        place = self._place(array)
        if place is None:
            return np.asarray(array[rows])
        count, size = len(array), array.strides[0]
        flat = np.where(rows < 0, rows + count, rows).ravel()
        if flat.size and not 0 <= flat.min() <= flat.max() < count:
            raise IndexError(f"rows of {place.path} are 0 to {count - 1}")
        out = np.empty((flat.size, *array.shape[1:]), array.dtype)
        into = out.view(np.uint8).reshape(-1).data
        for i, row in enumerate(flat.tolist()):
            piece = into[i * size : (i + 1) * size]
            if os.preadv(place.file, [piece], place.offset + row * size) != size:
                raise PgvError(f"{place.path} ends before its row {row}; build the table again.")
        return out.reshape(*rows.shape, *array.shape[1:])

    def _place(self, array: np.ndarray) -> _Place | None:
        """Where the array lies, if that is a mapped file with its rows one after another."""
        root: Any = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not (isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap)):
            return None
        if root.filename is None or not array.flags.c_contiguous or not hasattr(os, "preadv"):
            return None
        path = str(root.filename)
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._files[path])
        return _Place(self._files[path], root.offset + array.ctypes.data - root.ctypes.data, path)


def padded_length(count: int) -> int:
    """The next of 1, 2, 4, ..., 4,096, 5,120, 6,144, 7,168, 8,192, 10,240, ...

    Compiling for a small table costs more than its memory, so one that grows by a tenth should
    mostly keep its program. From 4,096 on it is a quarter longer at most.
    """
    power = (count - 1).bit_length() if count else 0
    unit = 1 << (power if count <= SMALL else power - 3)
    return -(-count // unit) * unit


def index_length(count: int) -> int:
    """``padded_length`` of an array of numbers, and 512 at least: 2 kB."""
    return padded_length(max(count, 512))


def stack(arrays: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """Arrays [n, D] -> [len(arrays), longest, D], zeros behind the end of each."""
    out = np.zeros((len(arrays), longest, arrays[0].shape[1]), arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
