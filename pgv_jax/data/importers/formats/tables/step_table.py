"""Step tables: a row a step, in CSV, JSONL, JSON, Parquet, Arrow or SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.base import (
    NO,
    RAW_CHARACTERS,
    BadRecord,
    Detection,
    Importer,
    Options,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.files.kinds import RECORDS, kind_of_file
from pgv_jax.data.importers.files.records import Damage, Record, iter_records, sample_records
from pgv_jax.data.importers.files.tables import sqlite_rows
from pgv_jax.data.importers.formats.tables.column_names import ALIASES, columns_of, known_columns
from pgv_jax.data.importers.formats.tables.step_rows import Row, Table, names_in
from pgv_jax.data.storage.jsonl import FieldError, kind_of
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

REPEATED = "rewards are the same in all rows of an episode and are read as the episode's"
SEEN = (
    "'{}' is read as what the agent saw before its action; if it is the action's answer, say "
    "--column result={}"
)


class StepTable(Importer):
    """Rows of one episode may stand apart; a file's rows are held."""

    name = "steps"
    about = "step tables, a row a step (CSV, JSON, Parquet, Arrow, SQLite; --column action=...)"
    columns = (*ALIASES, "table")

    def detect(self, sample: Sample) -> Detection:
        """Fairly sure of columns for the action, what was seen or thought, and the episode."""
        if sample.kind not in RECORDS or len(sample.objects) != len(sample.records):
            return NO
        if not sample.objects:
            return NO
        found = known_columns(names_in(sample.objects))
        told = {"observation", "thought", "result"} & set(found)
        if "action" in found and told and {"episode", "step"} & set(found):
            rows = all(_is_row(record, found) for record in sample.objects)
            return Detection(0.8, f"a row a step with {_shown(found)}") if rows else NO
        missing = [ours for ours in ("episode", "action") if ours not in found]
        return Detection(0.0, f"no column is named like {' or '.join(missing)}" if missing else "")

    def reading(self, path: Path, options: Options) -> str:
        """Say which columns are read as what."""
        records, _ = sample_records(path)
        rows = [record for record in records if isinstance(record, Mapping)]
        if options.columns.get("table"):
            rows = [r.value for r in _records(path, options) if isinstance(r, Record)][:5]
        try:
            return f"read as {_shown(columns_of(names_in(rows), _chosen(options)))}" if rows else ""
        except FieldError as error:
            raise PgvError(f"{path}: {error}.") from None

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield an episode for each value of the episode's column, in the order of the file."""
        rows: list[Row] = []
        for item in _records(path, options):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw[:RAW_CHARACTERS])
            elif isinstance(item.value, Mapping):
                rows.append(Row(item.line, item.value))
            else:
                why = f"must be an object, not {kind_of(item.value)}"
                yield BadRecord(str(path), item.line, "row", why, item.raw())
        if not rows:
            return
        names = columns_of(names_in([row.cells for row in rows]), _chosen(options))
        table = Table(names, options)
        groups = table.grouped(rows)
        table.repeated = table.has_repeated_rewards(list(groups.values()))
        if table.repeated:
            options.tally.notes[REPEATED] += 1
        if "observation" in names and "result" not in names:
            name = names["observation"]
            options.tally.notes[SEEN.format(name, name)] += 1
        for index, (key, members) in enumerate(groups.items()):
            where = Where(path, members[0].line, index)
            record = Record([row.cells for row in members], members[0].line)
            yield from guarded(
                lambda k=key, m=members, w=where: [table.episode(k, m, w)], record, where, options
            )


def _chosen(options: Options) -> dict[str, str]:
    """The columns that the user names, also with the options for fields of records."""
    fields = {"episode_id": "episode", "task": "task", "task_id": "task_id"}
    named = {fields[key]: value for key, value in options.fields.items() if key in fields}
    return {**named, **options.columns}


def _records(path: Path, options: Options) -> Iterator[Record | Damage]:
    table = options.columns.get("table")
    if table and kind_of_file(path) == "sqlite":
        for number_, row in sqlite_rows(path, options.tally, table):
            yield Record(row, number_)
    elif table:
        raise PgvError(f"--column table={table}: {path} is no database with tables.")
    else:
        yield from iter_records(path, options.tally)


def _is_row(record: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    """False for a list of steps in a record, which is another format."""
    key = record.get(found.get("episode", ""), "")
    return isinstance(key, str | int | float) and all(
        not isinstance(record.get(found[ours]), list) for ours in ("action",) if ours in found
    )


def _shown(names: Mapping[str, str]) -> str:
    return ", ".join(f"{ours}={theirs}" for ours, theirs in names.items())
