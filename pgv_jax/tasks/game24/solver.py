"""Exact arithmetic of the Game of 24: what numbers can become, by fractions."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, combinations_with_replacement

TARGET = Fraction(24)
HIGHEST = 13
Numbers = tuple[Fraction, ...]
"""Numbers that are left, ascending."""


def apply(first: Fraction, sign: str, second: Fraction) -> Fraction | None:
    """``first sign second``; None for a division by zero."""
    if sign == "+":
        return first + second
    if sign == "-":
        return first - second
    if sign == "*":
        return first * second
    return None if second == 0 else first / second


def without(numbers: Numbers, *used: Fraction) -> Numbers | None:
    """The numbers less those that are used; None where one of them is not there."""
    left = list(numbers)
    for number in used:
        if number not in left:
            return None
        left.remove(number)
    return tuple(left)


def steps(numbers: Numbers) -> Iterator[tuple[Fraction, str, Fraction, Numbers]]:
    """Every distinct step (first, sign, second) and the numbers after it.

    Of ``a + b`` and ``b + a`` (and of products) only the one with the larger number first.
    """
    seen = set()
    for i, j in combinations(range(len(numbers)), 2):
        low, high = numbers[i], numbers[j]
        if (low, high) in seen:
            continue
        seen.add((low, high))
        rest = numbers[:i] + numbers[i + 1 : j] + numbers[j + 1 :]
        turned = () if low == high else ((low, "-", high), (low, "/", high))
        for first, sign, second in (*((high, sign, low) for sign in "+-*/"), *turned):
            value = apply(first, sign, second)
            if value is not None:
                yield first, sign, second, tuple(sorted((*rest, value)))


@lru_cache(1 << 16)
def reachable(numbers: Numbers) -> frozenset[Fraction]:
    """Every value that all the numbers together can make.

    The last step joins what two groups of them make, so groups are solved once and shared.
    """
    if len(numbers) == 1:
        return frozenset(numbers)
    found: set[Fraction] = set()
    for group, rest in _halves(numbers):
        for a in reachable(group):
            for b in reachable(rest):
                found |= {a + b, a - b, b - a, a * b}
                found |= {a / b} if b else set()
                found |= {b / a} if a else set()
    return frozenset(found)


@lru_cache(1 << 16)
def solvable(numbers: Numbers) -> bool:
    """Whether the numbers can make 24."""
    if len(numbers) < 3:
        return TARGET in reachable(numbers)
    for group, rest in _halves(numbers):
        values = reachable(rest)
        if any(not values.isdisjoint(_partners(value)) for value in reachable(group)):
            return True
    return False


def _halves(numbers: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Every way to part the numbers into two groups, the first being the smaller."""
    places = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(places, size):
            rest = tuple(numbers[i] for i in places if i not in chosen)
            yield tuple(numbers[i] for i in chosen), rest


def _partners(value: Fraction) -> set[Fraction]:
    """The numbers that make 24 with this one in a single step."""
    found = {TARGET - value, TARGET + value, value - TARGET}
    return found | ({TARGET / value, TARGET * value, value / TARGET} if value else set())


def solvable_puzzles() -> list[tuple[int, ...]]:
    """The four numbers of 1 to 13 that can make 24, ascending: 1,362 of 1,820."""
    everything = combinations_with_replacement(range(1, HIGHEST + 1), 4)
    return [puzzle for puzzle in everything if solvable(tuple(map(Fraction, puzzle)))]
