"""An index from 32-byte keys to row numbers that is quick to fill and to ask."""

from __future__ import annotations

import numpy as np

_MERGE_AT = 1 << 16


class KeyIndex:
    """Sorted arrays for the bulk (40 bytes a key), a dict for what came lately."""

    def __init__(self) -> None:
        self._prefixes = np.empty(0, np.uint64)
        self._keys = np.empty((0, 32), np.uint8)
        self._rows = np.empty(0, np.int64)
        self._recent: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._rows) + len(self._recent)

    def extend(self, keys: np.ndarray, first_row: int) -> None:
        """Add keys uint8 [n, 32] as rows ``first_row + 0..n-1``; a known key keeps its row."""
        known = self.find([key.tobytes() for key in keys])
        for i in np.flatnonzero(known < 0):
            self._recent.setdefault(keys[i].tobytes(), first_row + int(i))
        if len(self._recent) > _MERGE_AT:
            self._merge()

    def find(self, keys: list[bytes]) -> np.ndarray:
        """Rows int64 [n] of the keys, -1 where unknown."""
        rows = np.fromiter((self._recent.get(key, -1) for key in keys), np.int64, len(keys))
        if not len(self._rows) or not keys:
            return rows
        asked = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
        prefixes = asked[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)
        at = np.searchsorted(self._prefixes, prefixes)
        # Equal 64-bit prefixes of two SHA-256 are not expected in practice; the loop covers them.
        while True:
            inside = np.minimum(at, len(self._prefixes) - 1)
            same_prefix = (at < len(self._prefixes)) & (self._prefixes[inside] == prefixes)
            same = same_prefix & (self._keys[inside] == asked).all(1)
            rows = np.where(same, self._rows[inside], rows)
            again = same_prefix & ~same
            if not again.any():
                return rows
            at = np.where(again, at + 1, len(self._prefixes))

    def _merge(self) -> None:
        recent = np.frombuffer(b"".join(self._recent), np.uint8).reshape(-1, 32)
        keys = np.concatenate([self._keys, recent])
        rows = np.concatenate([self._rows, np.fromiter(self._recent.values(), np.int64)])
        prefixes = keys[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)
        order = np.argsort(prefixes, kind="stable")
        self._prefixes, self._keys, self._rows = prefixes[order], keys[order], rows[order]
        self._recent = {}
