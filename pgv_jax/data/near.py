"""Near duplicates among texts: reworded prompts, by the overlap of their shingles.

A shingle is two neighbouring words, once those without content ("please", "the") are left out: a
rewording changes them. The similarity of two texts is the Jaccard index of their sets of shingles:
0 where they have other numbers, and 1 where they have the same words in another order. MinHash
(Broder 1997) finds the pairs worth a comparison, so that no list of texts is compared with itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NEAR = 0.7
"""From this similarity on, two texts ask for the same."""
WORDS = 2
BANDS, ROWS = 21, 3
"""A pair at 0.7 shares a band with a probability of .9998, one at 0.6 with .994."""
LONGEST = 20_000
"""Characters of a text that are compared."""
COMMON, MANY = 0.2, 10
"""Among at least MANY texts, a shingle that more than this share have is a form's, not a task's."""
_EMPTY = (
    "a about all am an and any are as at be been but by can could did do does for from had has "
    "have hello help hey hi how i if in into is it its just kindly know let like lot may me "
    "might must my need now of on or our out over please shall should so some sorry such thank "
    "thanks that the their them then there these they this those to up us want wanted was we "
    "were what when which will wish with would you your "
)
EMPTY = frozenset(_EMPTY.split())
"""Words without content."""

_WORD = re.compile(r"[^\W_]+")
_SEEDS = np.random.default_rng(20_261_128).integers(1, 2**63, (2, BANDS * ROWS), dtype=np.uint64)


def content(text: str) -> list[str]:
    """The words of a text that have content (all of them where none has), in order."""
    words = _WORD.findall(text[:LONGEST].casefold())
    return [word for word in words if word not in EMPTY] or words


def shingles(told: Sequence[str]) -> frozenset[int]:
    """The hashes of the shingles of these words."""
    runs = [" ".join(told[i : i + WORDS]) for i in range(max(1, len(told) - WORDS + 1))]
    return frozenset(map(_hashed, runs))


def numbers(told: Sequence[str]) -> tuple[str, ...]:
    """The words that hold a digit, as often as they stand there: "4 4 8" is not "4 8 8"."""
    return tuple(sorted(word for word in told if not word.isalpha()))


def _hashed(words: str) -> int:
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).digest())


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Shared shingles over all shingles of two texts, 0 to 1."""
    return len(one & other) / max(1, len(one | other))


def similarity(one: str, other: str) -> float:
    """How much two texts say the same, 0 to 1."""
    told, again = content(one), content(other)
    if sorted(told) == sorted(again):
        return 1.0
    return jaccard(shingles(told), shingles(again)) if numbers(told) == numbers(again) else 0.0


def _without_form(told: Mapping[str, Sequence[str]]) -> dict[str, frozenset[int]]:
    """The shingles by name, without those that the texts have in common."""
    sets = {name: shingles(words) for name, words in told.items()}
    counts = Counter(shingle for found in set(sets.values()) for shingle in found)
    limit = COMMON * len(set(sets.values()))
    form = {s for s, n in counts.items() if n > limit} if len(told) >= MANY else set()
    return {name: (found - form) or found for name, found in sets.items()}


def near_duplicates(texts: Mapping[str, str], threshold: float = NEAR) -> dict[str, str]:
    """Map each name to the first name (in order) whose text is the same or nearly the same.

    Groups are closed: where a is near b and b near c, all three are one group.
    """
    told = {name: content(text) for name, text in texts.items()}
    order = {name: i for i, name in enumerate(told)}
    first = {name: name for name in told}

    def root(name: str) -> str:
        while first[name] != name:
            first[name] = first[first[name]]
            name = first[name]
        return name

    def join(one: str, other: str) -> None:
        early, late = sorted((root(one), root(other)), key=order.__getitem__)
        first[late] = early

    distinct: dict[tuple[frozenset[int], tuple[str, ...]], str] = {}
    unordered: dict[tuple[str, ...], str] = {}
    for name, found in _without_form(told).items():
        join(name, distinct.setdefault((found, numbers(told[name])), name))
        join(name, unordered.setdefault(tuple(sorted(told[name])), name))
    buckets: defaultdict[tuple[Any, ...], list[frozenset[int]]] = defaultdict(list)
    for (found, digits), name in distinct.items():
        values = np.fromiter(found, np.uint64, len(found))
        keys = ((values[:, None] ^ _SEEDS[0]) * (_SEEDS[1] | np.uint64(1))).min(0)
        tried: set[frozenset[int]] = set()
        for band in range(BANDS):
            bucket = buckets[band, keys[band * ROWS : (band + 1) * ROWS].tobytes(), digits]
            for other in bucket:
                if other in tried or root(name) == root(distinct[other, digits]):
                    continue
                tried.add(other)
                if jaccard(found, other) >= threshold:
                    join(name, distinct[other, digits])
            bucket.append(found)
    return {name: root(name) for name in first}
