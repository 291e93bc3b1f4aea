"""Many texts of a bidirectional model side by side in rows: little padding, few shapes to compile.

Texts of one row do not see each other (``models.bert``), so a text's vector is the same as alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pgv_jax.embed.batches import Buckets

SHORT = 64
"""Tokens of the shortest rows: attention over a longer row costs more than what is left free."""
TOKENS_A_TEXT = 4
"""A row has room for one text in so many of its tokens; few texts are shorter."""
FULL_BATCHES = 4
"""So many batches' tokens of padding outweigh the compilation of a program."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Texts (by index) of each row of an array of ``rows`` x ``length`` tokens, in their order."""

    texts: list[list[int]]
    rows: int
    length: int

    @property
    def slots(self) -> int:
        """Texts that a row has room for."""
        return slots(self.length)


def slots(length: int) -> int:
    """Texts that a row of ``length`` tokens has room for."""
    return max(1, length // TOKENS_A_TEXT)


def shapes(buckets: Buckets) -> list[tuple[int, int]]:
    """Every (rows, length) that ``packed`` can ask for."""
    return [(buckets.rows(length), length) for length in _lengths(buckets)]


def packed(buckets: Buckets, lengths: Sequence[int]) -> Iterator[Packed]:
    """Full batches of rows that hold every text of ``lengths`` tokens, the longest rows first.

    Longest text first, each goes to the row with the least room that it fits into (best fit
    decreasing; Johnson 1973). The last batch of each length may have empty rows.
    """
    used = _worth(buckets, lengths)
    rows: dict[int, list[list[int]]] = {length: [] for length in used}
    open_rows: list[list[tuple[int, list[int]]]] = [[] for _ in range(used[-1] + 1)]  # by room
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        room = next((n for n in range(length, len(open_rows)) if open_rows[n]), None)
        if room is None:
            room = size = used[int(np.searchsorted(used, length))]
            row: list[int] = []
            rows[size].append(row)
        else:
            size, row = open_rows[room].pop()
        row.append(index)
        if len(row) < slots(size):
            open_rows[room - length].append((size, row))
    for length in reversed(used):
        count = buckets.rows(length)
        for begin in range(0, len(rows[length]), count):
            yield Packed(rows[length][begin : begin + count], count, length)


def arrays(plan: Packed, ids: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and the numbers of their texts, 1, 2, ... in each row, 0 without: int32 arrays.

    ``ids`` are each row's texts. Shapes are [rows, length].
    """
    ids_BL, text_BL = (np.zeros((plan.rows, plan.length), np.int32) for _ in range(2))
    for row, texts in enumerate(ids):
        begin = 0
        for number, text in enumerate(texts, 1):
            end = begin + len(text)
            ids_BL[row, begin:end], text_BL[row, begin:end] = text, number
            begin = end
    return ids_BL, text_BL


def _lengths(buckets: Buckets) -> list[int]:
    """Lengths of rows, ascending: ``SHORT`` and the buckets above it."""
    longest = buckets.lengths[-1]
    return sorted({min(SHORT, longest), *(n for n in buckets.lengths if n > SHORT)})


def _worth(buckets: Buckets, lengths: Sequence[int]) -> list[int]:
    """The row lengths to use, ascending: those that spare more padding than a program costs."""
    known = _lengths(buckets)
    texts = np.bincount(np.searchsorted(known, lengths), minlength=len(known))
    used = [known[int(np.flatnonzero(texts)[-1])]]
    for length, count in zip(reversed(known), reversed(texts), strict=True):
        if count * (used[0] - length) > FULL_BATCHES * buckets.budget:
            used.insert(0, length)
    return used
