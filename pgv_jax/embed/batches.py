"""Which texts go together: length buckets and token budgets, so that few shapes are compiled."""

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
