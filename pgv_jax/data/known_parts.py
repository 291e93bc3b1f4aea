"""The known sentences of a table: what the next-note model reads and predicts.

Notes of one log are made of sentences that mostly recur. The most frequent ones are known; a note
is the list of its known sentences. What is left out is counted in the table's manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgv_jax.data.moments import LEAST_SHARE

MOST_KNOWN = 4096
"""Known sentences of a table, the most frequent ones."""
MOST_READ = 64
"""Sentences of a note or a task that the model reads, the first ones."""


@dataclass(frozen=True)
class KnownParts:
    """``texts`` are the known sentences by their text numbers; the rest says what was counted."""

    texts: list[int]
    in_notes: int
    longest: int
    task_longest: int
    unknown: int
    unread: int
    in_tasks: frozenset[int]

    def describe(self) -> dict[str, Any]:
        """The manifest's form. ``unknown`` and ``unread`` count sentences of notes that the model
        does not see: rare ones, and those past the ``MOST_READ``-th of their note."""
        return {
            "in_notes": self.in_notes,
            "in_tasks_alone": len(self.texts) - self.in_notes,
            "longest": self.longest,
            "task_longest": self.task_longest,
            "unknown": self.unknown,
            "unread": self.unread,
        }

    def _number(self) -> dict[int, int]:
        return {text: i for i, text in enumerate(self.texts)}

    def numbered(self, episodes: Iterable[Sequence[Sequence[int]]]) -> tuple[Any, Any]:
        """Notes of episodes -> ``part_start`` [R + 1] and ``part_ids``, int32."""
        number = self._number()
        notes = [[number[t] for t in note if t in number] for notes in episodes for note in notes]
        start = np.cumsum([0, *(len(note) for note in notes)], dtype=np.int32)
        return start, np.asarray([i for note in notes for i in note], np.int32)

    def padded(self, tasks: Sequence[Sequence[int]]) -> np.ndarray:
        """Tasks -> their known sentences, int32 [N, M] padded with -1."""
        number = self._number()
        out = np.full((len(tasks), max(1, self.task_longest)), -1, np.int32)
        for row, task in zip(out, tasks, strict=True):
            held = [number[t] for t in dict.fromkeys(task) if t in number][: len(row)]
            row[: len(held)] = held
        return out

    def moments(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``part_mean`` [2, D] and ``part_scale`` [1] of the known sentences' vectors."""
        x = np.asarray(vectors, np.float64)
        of_notes = x[: self.in_notes] if self.in_notes else x
        tasks = [i for i, text in enumerate(self.texts) if text in self.in_tasks]
        mean = of_notes.mean(0)
        of_tasks = x[tasks].mean(0) if tasks else mean
        mean_square = float(np.square(of_notes).sum(1).mean())
        variance = max(mean_square - float(mean @ mean), LEAST_SHARE * mean_square) / x.shape[1]
        scale = np.asarray([np.sqrt(variance)], np.float32)
        return np.stack([mean, of_tasks]).astype(np.float32), scale


def known_parts(
    episodes: Sequence[tuple[Sequence[Sequence[int]], Sequence[int]]],
    most_known: int = MOST_KNOWN,
    most_read: int = MOST_READ,
) -> KnownParts:
    """Choose the known sentences of episodes, each (its notes, its task) as text numbers.

    Sentences of notes stand first, so that the model predicts their appearance alone.
    """
    in_notes = Counter(t for notes, _ in episodes for note in notes for t in note)
    in_tasks = Counter(t for _, task in episodes for t in task)
    kept = [text for text, _ in in_notes.most_common(most_known)]
    others = [text for text, _ in in_tasks.most_common(most_known) if text not in set(kept)]
    known = set(kept)
    lengths = [sum(t in known for t in note) for notes, _ in episodes for note in notes]
    return KnownParts(
        texts=[*kept, *others],
        in_notes=len(kept),
        longest=min(most_read, max(lengths, default=1)),
        task_longest=min(most_read, max((len(set(task)) for _, task in episodes), default=1)),
        unknown=sum(count for text, count in in_notes.items() if text not in known),
        unread=sum(max(0, length - most_read) for length in lengths),
        in_tasks=frozenset(in_tasks),
    )
