"""Which tasks train, which choose, which judge: splits by task, so no task stands in two."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

from pgv_jax.data.near import near_duplicates
from pgv_jax.errors import PgvError

SPLITS = ("train", "val", "test")
HELD_OUT = 0.1
"""Of the undecided tasks, the share that chooses, and the share that judges."""
MIN_TASKS = 5
"""With fewer undecided tasks than this, all of them train."""


def equal_texts(tasks: Mapping[str, str]) -> int:
    """How many tasks have a text that stands under another id, too; ``tasks`` maps ids to texts."""
    return sum(count for count in Counter(tasks.values()).values() if count > 1)


def alike(tasks: Mapping[str, str]) -> dict[str, str]:
    """Map each task id to the id that stands for its group of nearly equal texts (``data.near``).

    ``tasks`` maps ids to texts. Where a text has several ids, the log says that texts do not tell
    its tasks apart, and none are grouped.
    """
    if equal_texts(tasks):
        return {task_id: task_id for task_id in tasks}
    return near_duplicates(tasks)


def seen_before(judged: Mapping[str, str], known: Mapping[str, str]) -> set[str]:
    """The judged task ids whose texts are nearly that of a known task (see ``alike``)."""
    groups = alike({**judged, **known})
    met = {groups[task_id] for task_id in known}
    return {task_id for task_id in judged if task_id not in known and groups[task_id] in met}


def assign_splits(
    tasks: Iterable[tuple[str, str | None]],
    groups: Mapping[str, str] | None = None,
    held_out: float = HELD_OUT,
    dealt: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Map each task id to its split, from (task id, the episode's own split or None) pairs.

    A task's own split is kept; two different ones are an error. The others are ranked by
    sha256(task id): a share ``held_out`` is ``val``, the next ``test`` (at least one task each),
    the rest ``train``. ``groups`` (see ``alike``) names tasks that go into one split. ``dealt``
    has the splits that tasks got before: these keep them, count for the shares, and only the new
    ones are dealt. Does not depend on the order of the pairs.
    """
    own: dict[str, str | None] = {}
    for task_id, split in tasks:
        known = own.setdefault(task_id, split)
        if known is None:
            own[task_id] = split
        elif split is not None and split != known:
            raise PgvError(
                f"Task '{task_id}' has episodes in the splits '{known}' and '{split}'; a task "
                "belongs to one split, or what is held out would leak. Give them one split."
            )
    members: dict[str, list[str]] = {}
    for task_id in own:
        members.setdefault((groups or {}).get(task_id, task_id), []).append(task_id)
    assigned = {task_id: split for task_id, split in own.items() if split is not None}
    before = {task_id: split for task_id, split in (dealt or {}).items() if task_id in own}
    before = {task_id: split for task_id, split in before.items() if task_id not in assigned}
    assigned |= before
    undecided: list[list[str]] = []
    for group in members.values():
        decided = sorted(assigned[task_id] for task_id in group if task_id in assigned)
        if decided:
            assigned.update({task_id: assigned.get(task_id, decided[0]) for task_id in group})
        else:
            undecided.append(sorted(group, key=_rank))
    undecided.sort(key=lambda group: _rank(group[0]))
    count = len(before) + sum(map(len, undecided))
    enough = count >= MIN_TASKS and len(before) + len(undecided) > 2
    most = max(1, round(count * held_out)) if enough else 0
    sizes = {name: list(before.values()).count(name) for name in ("val", "test")}
    for group in undecided:
        split = next((name for name in sizes if sizes[name] < most), "train")
        if split != "train":
            sizes[split] += len(group)
        assigned.update(dict.fromkeys(group, split))
    return assigned


def _rank(task_id: str) -> bytes:
    return hashlib.sha256(task_id.encode()).digest()
