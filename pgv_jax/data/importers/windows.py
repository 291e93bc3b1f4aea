"""Calls of a short memory: requests that leave out the beginning of their conversation.

An agent that sends the last few turns alone, or the task and those, logs no record that holds the
conversation whole. Such a record is *joined* to the one that it goes on from: the steps that it
begins with are those that the other one ends with, seen and done alike. The first of them may have
been seen otherwise, where the request has the task or a summary in place of what it left out.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from pgv_jax.types import Episode

LEAST = 2
"""Steps that two records without a conversation's id must share; with one, a step is enough."""
NEAREST = 4
"""Records on either side that are tried, where many end with the same step."""


class Link(NamedTuple):
    """A record goes on from record ``into``, ``shared`` steps of which it repeats."""

    into: int
    shared: int


class _Record(NamedTuple):
    seen: array[int]
    done: array[int]
    conversation: str
    outcome: tuple[bool | None, float | None]
    follows: int
    """What was seen after the last step; 0 where the record does not say."""


@dataclass
class Windows:
    """Remembers what was seen and done in each record, as hashes."""

    _records: list[_Record] = field(default_factory=list)

    def add(
        self, episode: Episode, conversation: str, outcome: tuple[bool | None, float | None]
    ) -> None:
        """Take note of the next record."""
        seen = array("q", (hash(step.observation) for step in episode.steps))
        done = array("q", (hash(step.action) for step in episode.steps))
        follows = hash(episode.final_observation) if episode.final_observation else 0
        self._records.append(_Record(seen, done, conversation, outcome, follows))

    def links(self, among: Sequence[int]) -> tuple[dict[int, Link], int]:
        """Which of these records (ascending) go on from which; no record from or to two.

        Also how many others begin with the step that another one ends with, too little to join.
        """
        ends: dict[tuple[str, int, int], list[int]] = {}
        for number in among:
            record = self._records[number]
            if not (record.seen[-1] and record.done[-1]):  # a hash of "" is 0
                continue
            for seen in {record.seen[-1], record.seen[0]}:  # or what the request kept
                key = (record.conversation, seen, record.done[-1])
                ends.setdefault(key, []).append(number)
        found, doubtful = [], set()
        for number in among:
            for link, enough in islice(self._candidates(number, ends), 2 * NEAREST):
                if enough:
                    later = link.into > number  # logs of the newest first are rarer
                    found.append((-link.shared, later, abs(number - link.into), number, link))
                else:
                    doubtful.add(number)
        taken: dict[int, Link] = {}
        followed: set[int] = set()
        head: dict[int, int] = {}  # of a chain by its last record
        tail: dict[int, int] = {}  # and the other way round
        for *_, number, link in sorted(found):
            first, last = head.get(link.into, link.into), tail.get(number, number)
            if number in taken or link.into in followed or first == number:
                continue
            taken[number] = link
            followed.add(link.into)
            head[last], tail[first] = first, last
        return taken, len(doubtful - set(taken) - followed)

    def _candidates(
        self, number: int, ends: Mapping[tuple[str, int, int], list[int]]
    ) -> Iterator[tuple[Link, bool]]:
        record = self._records[number]
        for shared in range(len(record.seen) - 1, 0, -1):
            key = (record.conversation, record.seen[shared - 1], record.done[shared - 1])
            for other in _nearest(ends.get(key, ()), number):
                alike = self._alike(self._records[other], record, shared)
                if alike:
                    yield Link(other, shared), alike >= (1 if record.conversation else LEAST)

    def _alike(self, former: _Record, later: _Record, shared: int) -> int:
        """How many steps the end of one and the beginning of the other share; 0: they differ."""
        first = len(former.seen) - shared
        differ = None not in (former.outcome[0], later.outcome[0]) and (
            former.outcome != later.outcome
        )
        several = len(later.seen) - shared > 1  # no call: an attempt with an end of its own
        if first < 0 or (differ and several and not later.conversation):
            return 0
        if former.done[first:] != later.done[:shared]:
            return 0
        if former.seen[first + 1 :] != later.seen[1:shared]:
            return 0
        if former.follows not in (0, later.seen[shared]):
            return 0
        same = later.seen[0] in (former.seen[first], former.seen[0])
        return shared if same else shared - 1


def chains(links: Mapping[int, Link]) -> dict[int, list[int]]:
    """The first record of each chain -> those that go on from it, in order."""
    following = {link.into: number for number, link in links.items()}
    found: dict[int, list[int]] = {}
    for first in following:
        if first not in links:
            found[first] = [following[first]]
            while found[first][-1] in following:
                found[first].append(following[found[first][-1]])
    return found


def _nearest(numbers: Sequence[int], number: int) -> list[int]:
    at = bisect_left(numbers, number)
    near = numbers[max(at - NEAREST, 0) : at + NEAREST + 1]
    return [other for other in near if other != number]
