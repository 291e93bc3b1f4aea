"""Which tasks train, which choose, which judge: splits by task, so no task stands in two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pgv_jax.errors import PgvError

SPLITS = ("train", "val", "test")
MIN_TASKS = 5
"""With fewer undecided tasks than this, all of them train."""


def assign_splits(tasks: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Map each task id to its split, from (task id, the episode's own split or None) pairs.

    A task's own split is kept; two different ones are an error. The others are ranked by
    sha256(task id): the first tenth is ``val``, the next ``test`` (at least one task each), the
    rest ``train``. Does not depend on the order of the pairs.
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
    undecided = sorted(
        (task_id for task_id, split in own.items() if split is None),
        key=lambda task_id: hashlib.sha256(task_id.encode()).digest(),
    )
    held_out = max(1, round(len(undecided) / 10)) if len(undecided) >= MIN_TASKS else 0
    assigned = {task_id: split for task_id, split in own.items() if split is not None}
    for rank, task_id in enumerate(undecided):
        assigned[task_id] = "val" if rank < held_out else "test" if rank < 2 * held_out else "train"
    return assigned
