"""Rows of memory-mapped files, read without keeping the files in this process's memory."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

KEPT_BYTES = 256 << 20
"""Pages of the files that may stay mapped, about; the system's own cache of them stays."""
FAULT_BYTES = 64 << 10
"""What Linux maps around a page that is touched."""


class Rows:
    """Reads rows of mapped arrays and lets their pages go again, now and then."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}
        self._touched = 0

    def read(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """``array[rows]``, a copy."""
        out = array[rows]
        mapped = _map_of(array)
        if mapped is not None:
            self._seen[id(mapped)] = mapped
            self._touched += rows.size * (array.strides[0] + FAULT_BYTES)
            if self._touched > KEPT_BYTES:
                for one in self._seen.values():
                    one.madvise(mmap.MADV_DONTNEED)
                self._touched = 0
        return np.asarray(out)


def _map_of(array: Any) -> mmap.mmap | None:
    """The mapping under a numpy array, if there is one that can be advised."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array if array is not None and hasattr(array, "madvise") else None
