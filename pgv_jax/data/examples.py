"""Examples: what an objective reads that the rows of a table do not say by themselves.

An example names a step, a thought there, a goal, and numbers that were computed from the logs once
(``targets``). A table with examples is drawn by example instead of by row; its shards hold the
arrays of ``Examples`` beside the others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True)
class Example:
    """A thought at step ``step`` of its episode, asked for ``goal``; one row of ``Examples``.

    ``target`` is Q's target (for InversePRM the label), ``value`` is V's (NaN: none), ``other`` is
    a second thought where an objective compares two (None: none). Batches are drawn from the
    ``group``s 0 and 1 in equal parts where a table has both.
    """

    step: int
    thought: str
    goal: str
    target: float
    value: float = math.nan
    other: str | None = None
    group: int = 0


class Examples(NamedTuple):
    """A shard's examples, those of group 0 first: int32 row and text numbers, float32 numbers."""

    row: np.ndarray
    thought: np.ndarray
    goal: np.ndarray
    other: np.ndarray
    """-1: none."""
    target: np.ndarray
    value: np.ndarray
    group: np.ndarray


def texts_of_examples(examples: Sequence[Sequence[Example]]) -> list[str]:
    """The distinct texts that examples name, in first-seen order."""
    seen: dict[str, None] = {}
    for part in examples:
        for e in part:
            seen |= dict.fromkeys([e.thought, e.goal] + ([] if e.other is None else [e.other]))
    return list(seen)


def numbered(examples: Sequence[Example], number: Callable[[str], int]) -> Examples:
    """An episode's examples with the numbers of their texts; ``row`` counts from its first step."""
    return Examples(
        row=np.asarray([e.step for e in examples], np.int32),
        thought=np.asarray([number(e.thought) for e in examples], np.int32),
        goal=np.asarray([number(e.goal) for e in examples], np.int32),
        other=np.asarray([-1 if e.other is None else number(e.other) for e in examples], np.int32),
        target=np.asarray([e.target for e in examples], np.float32),
        value=np.asarray([e.value for e in examples], np.float32),
        group=np.asarray([e.group for e in examples], np.int8),
    )


def joined(parts: Sequence[Examples], first_row: Sequence[int], new_id: np.ndarray) -> Examples:
    """A shard's examples from its episodes': rows moved by ``first_row``, texts renamed."""
    both = Examples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    moved = np.repeat(np.asarray(first_row, np.int32), [len(part.row) for part in parts])
    order = np.argsort(both.group, kind="stable")
    both = both._replace(
        row=both.row + moved,
        thought=new_id[both.thought],
        goal=new_id[both.goal],
        other=np.where(both.other < 0, -1, new_id[np.maximum(both.other, 0)]).astype(np.int32),
    )
    return Examples(*(array[order] for array in both))


def describe_examples(examples: Sequence[Sequence[Example]]) -> dict[str, Any]:
    """For a table's manifest: how many there are, and a fingerprint of what they say."""
    digest = hashlib.sha256()
    for part in examples:
        digest.update(repr(part).encode())
    return {"count": sum(map(len, examples)), "fingerprint": digest.hexdigest()}


def write_examples(part: Path, examples: Examples) -> None:
    """Write ``example_NAME.npy`` for each array."""
    for name, array in examples._asdict().items():
        np.save(part / f"example_{name}.npy", array)
