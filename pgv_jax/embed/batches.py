"""Which texts go together, so that few shapes are compiled and little padding is computed.

One text a row, in length buckets (``Buckets``); or, where a model keeps them apart, many side by
side in rows (``packed``). A batch holds a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_SMALL_SIZES = (1, 4, 32, 256)
"""Rows of batches for left-overs and for the few texts of a decision."""
FULL_BATCHES = 64
"""About so many make a chunk of a store: enough that left-overs are few, not much to lose."""
CHARACTERS_A_TOKEN = 4
"""Roughly, in English."""
SHORT = 64
"""Tokens of the shortest rows: attention over a longer row costs more than what is left free."""
TOKENS_A_TEXT = 4
"""A row has room for one text in so many of its tokens; few texts are shorter."""
PROGRAM_BATCHES = 4
"""So many batches' tokens of padding outweigh the compilation of a program."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Texts (by index) that run as one array of ``rows`` x ``length`` tokens."""

    indices: list[int]
    rows: int
    length: int


@dataclass(frozen=True)
class Buckets:
    """Array shapes for texts up to ``max_tokens``.

    A full batch holds about ``budget`` tokens at one of the fine ``lengths``; what is left over
    runs in smaller batches at one of the coarse lengths, so that a handful of texts (a decision
    at run time) meets few shapes. Rows are a multiple of ``multiple``, the number of devices that
    share a batch.
    """

    lengths: tuple[int, ...]
    coarse: tuple[int, ...]
    budget: int
    multiple: int = 1

    @classmethod
    def up_to(cls, max_tokens: int, budget: int, multiple: int = 1) -> Buckets:
        """Steps of 8 to 32, then a quarter of a power of two; coarse lengths are powers of two."""
        fine, coarse, step = [], [], 16
        while step < max_tokens:
            coarse.append(step)
            fine += [step + step * k // 4 for k in range(4) if (step * k // 4) % 8 == 0]
            step *= 2
        fine = [n for n in fine if n < max_tokens]
        return cls((*fine, max_tokens), (*coarse, max_tokens), budget, multiple)

    def rows(self, length: int) -> int:
        """Texts in a full batch of this length."""
        return self._divisible(max(1, self.budget // length))

    def small(self, length: int) -> tuple[int, ...]:
        """Rows of the smaller batches of this length, ascending; at least one."""
        sizes = [self._divisible(n) for n in _SMALL_SIZES if n == 1 or n < self.rows(length)]
        return tuple(dict.fromkeys(sizes))

    def shapes(self) -> list[tuple[int, int]]:
        """Every (rows, length) that a plan can ask for."""
        full = [(self.rows(n), n) for n in self.lengths]
        small = [(rows, n) for n in self.coarse for rows in self.small(n)]
        return list(dict.fromkeys([*full, *small]))

    def _divisible(self, rows: int) -> int:
        return -(-rows // self.multiple) * self.multiple

    def planner(self) -> Planner:
        """A planner for one stream of texts."""
        return Planner(self)

    def plan(self, lengths: Sequence[int]) -> Iterator[Plan]:
        """Every batch of a closed list of texts."""
        planner = self.planner()
        yield from planner.push(range(len(lengths)), lengths)
        yield from planner.flush()


class Planner:
    """Collects texts as they are tokenized and hands out batches as they fill."""

    def __init__(self, buckets: Buckets):
        self._buckets = buckets
        self._waiting: dict[int, list[tuple[int, int]]] = {n: [] for n in buckets.lengths}

    def push(self, indices: Iterable[int], lengths: Iterable[int]) -> Iterator[Plan]:
        """Add texts by index and length in tokens; yields the batches that are full now."""
        fine = self._buckets.lengths
        for index, length in zip(indices, lengths, strict=True):
            bucket = fine[int(np.searchsorted(fine, length))]
            waiting = self._waiting[bucket]
            waiting.append((length, index))
            if len(waiting) == self._buckets.rows(bucket):
                yield Plan([i for _, i in waiting], len(waiting), bucket)
                waiting.clear()

    def flush(self) -> Iterator[Plan]:
        """The left-overs, longest first, in smaller batches of similar lengths."""
        coarse = self._buckets.coarse
        left: dict[int, list[tuple[int, int]]] = {n: [] for n in coarse}
        for waiting in self._waiting.values():
            for entry in waiting:
                left[coarse[int(np.searchsorted(coarse, entry[0]))]].append(entry)
            waiting.clear()
        for length in reversed(coarse):
            group = [index for _, index in sorted(left[length], reverse=True)]
            while group:
                rows = _fitting(self._buckets.small(length), len(group))
                yield Plan(group[:rows], rows, length)
                group = group[rows:]


def _fitting(sizes: Sequence[int], count: int) -> int:
    """The size that wastes less: the next larger if at least 2/3 full, else the largest below."""
    larger = [size for size in sizes if size >= count and 3 * count >= 2 * size]
    smaller = [size for size in sizes if size <= count]
    return larger[0] if larger else (smaller or sizes)[-1 if smaller else 0]


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


def packed_shapes(buckets: Buckets) -> list[tuple[int, int]]:
    """Every (rows, length) that ``packed`` can ask for."""
    return [(buckets.rows(length), length) for length in _row_lengths(buckets)]


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


def packed_arrays(
    plan: Packed, ids: Sequence[Sequence[np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
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


def _row_lengths(buckets: Buckets) -> list[int]:
    """Lengths of rows, ascending: ``SHORT`` and the buckets above it."""
    longest = buckets.lengths[-1]
    return sorted({min(SHORT, longest), *(n for n in buckets.lengths if n > SHORT)})


def _worth(buckets: Buckets, lengths: Sequence[int]) -> list[int]:
    """The row lengths to use, ascending: those that spare more padding than a program costs."""
    known = _row_lengths(buckets)
    texts = np.bincount(np.searchsorted(known, lengths), minlength=len(known))
    used = [known[int(np.flatnonzero(texts)[-1])]]
    for length, count in zip(reversed(known), reversed(texts), strict=True):
        if count * (used[0] - length) > PROGRAM_BATCHES * buckets.budget:
            used.insert(0, length)
    return used
