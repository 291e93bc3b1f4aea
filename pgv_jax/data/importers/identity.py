"""Which episode and which task a record is: its own ids, else its file's name and its text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pgv_jax.data.importers.base import Options, Where
from pgv_jax.data.storage.jsonl import FieldError, text_field

TASK_KEYS = ("task", "instruction", "question", "goal", "problem")
TASK_ID_KEYS = ("task_id", "instance_id", "question_id", "problem_id", "item_id", "example_id")
EPISODE_ID_KEYS: tuple[str, ...] = ("episode_id", "trajectory_id", "rollout_id", "run_id", "uid")
EPISODE_ID_KEYS += ("id", "session_id", "sessionId", "conversation_id", "thread_id")
HASHED = "task-"
"""What begins the id of a task that is known by its text alone."""


def first_of(record: Mapping[str, Any], keys: Sequence[str], chosen: str | None) -> Any:
    """The record's value under the user's key (dotted), else under the first known key it has."""
    if chosen is not None:
        value: Any = record
        for key in chosen.split("."):
            if not isinstance(value, Mapping) or key not in value:
                raise FieldError(chosen, "is missing from this record")
            value = value[key]
        return value
    return next((record[key] for key in keys if record.get(key) not in (None, "")), None)


def identifier(value: Any) -> str | None:
    """An id as text, or None if the value is not text or a whole number."""
    if isinstance(value, float) and value.is_integer():  # a table's column with gaps
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return text_field(str(value).strip(), "id") or None


def hashed_task(task: str) -> str:
    """The id of a task that has none: equal texts are the same task."""
    return HASHED + hashlib.sha256(task.encode("utf-8", "replace")).hexdigest()[:12]


def name_task(record: Mapping[str, Any], task: str, options: Options) -> tuple[str, str]:
    """Return (task id, task text); without an id, equal task texts are the same task."""
    chosen = first_of(record, TASK_KEYS, options.fields.get("task"))
    if isinstance(chosen, str) and chosen.strip():
        task = text_field(chosen, "task")
    task_id = identifier(first_of(record, TASK_ID_KEYS, options.fields.get("task_id")))
    return task_id or hashed_task(task), task


def name_episode(record: Mapping[str, Any], where: Where, options: Options) -> str:
    """The record's own id, else the file's name and the record's number."""
    chosen = identifier(first_of(record, EPISODE_ID_KEYS, options.fields.get("episode_id")))
    return chosen or where.episode_id


def leftover(record: Mapping[str, Any], used: Sequence[str]) -> dict[str, Any]:
    """The record's other facts, kept in the episode's metadata."""
    return {str(key): value for key, value in record.items() if key not in used}
