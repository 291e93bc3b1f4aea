"""``--rewards``: outcomes (and task ids) from a second file, joined by a key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.call_logs import conversation_id
from pgv_jax.data.importers.files.kinds import kind_of_file
from pgv_jax.data.importers.files.records import Record, iter_records
from pgv_jax.data.importers.files.tables import csv_rows
from pgv_jax.data.importers.identity import identifier
from pgv_jax.data.importers.outcomes.outcome import (
    Outcome,
    check_number,
    share,
    tristate,
    was_cut,
    with_outcome,
)
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode


class Rewards:
    """Outcomes from a second file: rows by key, matched with a field of the episode.

    ``where`` keeps only the rows whose columns have these values (a role, a metric's name);
    ``task_id`` names a column that says which task it was.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        value: str,
        on: str = "episode_id",
        where: tuple[str, ...] = (),
        task_id: str = "",
    ):
        self.on = on
        self.used: set[str] = set()
        self.values: dict[str, Any] = {}
        self.tasks: dict[str, str] = {}
        self.unclear: Counter[str] = Counter()
        """Values that name no outcome, with the number of their rows."""
        wanted = dict(pair.split("=", 1) for pair in where if "=" in pair)
        for line, row in _rows(path):
            for column in (key, value, *wanted, *((task_id,) if task_id else ())):
                if column not in row:
                    raise PgvError(
                        f"{path}:{line}: there is no column '{column}'; it has "
                        f"{', '.join(map(str, row))}. Name them with --rewards-key, "
                        "--rewards-value and --rewards-where."
                    )
            if any(str(row[column]) != text for column, text in wanted.items()):
                continue
            name = _name(row[key])
            check_number(row[value], f"{path}:{line}: {value}")
            if row[value] not in (None, "") and _outcome(row[value]) is None:
                self.unclear[str(row[value])[:40]] += 1
            if name in self.values and self.values[name] != row[value]:
                raise PgvError(
                    f"{path}:{line}: '{key}' {name} has two values of '{value}': "
                    f"{self.values[name]} and {row[value]}; choose rows with --rewards-where."
                )
            self.values[name] = row[value]
            if task_id and row[task_id] not in (None, ""):
                self.tasks[name] = str(row[task_id])
        known = {_outcome(v) for v in self.values.values()} - {None}
        if self.unclear and len(known) < 2:
            raise PgvError(
                f"{path}: '{value}' says {', '.join(map(repr, list(self.unclear)[:6]))}, which is "
                "not understood. Write true or false, a number, or words such as pass and fail."
            )

    def apply(self, episode: Episode, file: str = "") -> Episode:
        """Join the outcome; an episode without a row is returned as it is.

        ``file`` is the name, without its ending, of the file that the episode is from. A call whose
        id has no row is matched by its conversation's.
        """
        found = file if self.on == "file" else lookup(episode, self.on)
        name = _name(found)
        if self.on == "episode_id" and name not in self.values:
            name = conversation_id(episode)
        if found is None or name not in self.values:
            return episode
        self.used.add(name)
        if name in self.tasks:
            episode = replace(episode, task_id=self.tasks[name])
        value = self.values[name]
        outcome = None if value is None or value == "" else _outcome(value)
        if outcome is None:
            return episode
        record = episode.metadata.get("record")
        cut = isinstance(record, Mapping) and was_cut(record)
        return with_outcome(episode, replace(outcome, cut=cut))


def _name(value: Any) -> str:
    """A key as text; a table's 7.0 is 7."""
    return identifier(value) or str(value)


def _outcome(value: Any) -> Outcome | None:
    """What a value says of the end, None where it is not understood."""
    reward = share(value)
    success = tristate(value) if reward is None else None
    return None if reward is None and success is None else Outcome(success, reward)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if kind_of_file(path) == "csv":
        yield from csv_rows(path)
        return
    for item in iter_records(path):
        if not isinstance(item, Record) or not isinstance(item.value, Mapping):
            raise PgvError(f"{path}:{item.line}: a table of rewards has one object a line.")
        yield item.line, item.value


def lookup(episode: Episode, name: str) -> Any:
    """Return ``episode_id``, ``task_id``, ``task`` or ``metadata.KEY`` of an episode."""
    if name.startswith("metadata."):
        value: Any = episode.metadata
        for key in name.split(".")[1:]:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value
    if name in ("episode_id", "task_id", "task"):
        return getattr(episode, name)
    raise PgvError(
        f"'{name}' is no field of an episode; use episode_id, task_id, file or metadata.KEY."
    )
