"""Rows of tables as records: CSV, Parquet, Arrow, SQLite. One batch is held at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pgv_jax.data.importers.files.values import plain
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.compression import UNREADABLE, open_bytes
from pgv_jax.data.storage.jsonl import FieldError, parse_json
from pgv_jax.errors import PgvError
from pgv_jax.parts import part

BATCH = 64
csv.field_size_limit(1 << 30)

Row = tuple[int, dict[str, Any]]
"""(line or row number from 1, the row by column)."""


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) of a CSV file with a header; broken files are PgvErrors.

    The delimiter (comma, tab, semicolon or bar) is the one that the header has most of.
    """
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            header = text.readline()
            marks = max(",\t;|", key=header.count)
            lines = _with_first(header, text)
            mark = marks if header.count(marks) else ","
            reader = csv.DictReader(lines, delimiter=mark, strict=True)
            _check_names(path, reader.fieldnames or ())
            for row in reader:
                over = row.pop(None, None)
                if over and any(over):
                    raise PgvError(
                        f"{path}:{reader.line_num}: csv: the row has more cells than the header "
                        "has names; is a quotation mark missing?"
                    )
                yield (
                    reader.line_num,
                    {key or "": value or "" for key, value in row.items() if isinstance(key, str)},
                )
        except csv.Error as error:
            raise PgvError(
                f"{path}: csv: behind line {reader.line_num}: {error}; a quotation mark is "
                "missing, or one within a cell is not doubled."
            ) from None
        except (UnicodeDecodeError, *UNREADABLE) as error:
            raise PgvError(f"{path}: csv: {_why(error)}.") from None


def _check_names(path: Path, names: Iterable[str]) -> None:
    """A name that stands over two columns would hide one of them."""
    twice = [name for name, n in Counter(names).items() if name and n > 1]
    if twice:
        raise PgvError(f"{path}: csv: two columns are named '{twice[0]}'; rename one of them.")


def _with_first(header: str, text: io.TextIOWrapper) -> Iterator[str]:
    yield header
    yield from text


def _why(error: Exception) -> str:
    return f"is not UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else str(error)


def cell(value: Any) -> Any:
    """A cell of text that holds a JSON list or object is that value; all else is as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return parse_json(value)
        except FieldError:
            return value
    return value


def arrow_rows(path: Path, kind: str, tally: Tally) -> Iterator[Row]:
    """Yield the rows of a Parquet file or of Arrow's file and stream formats."""
    with part("logs", f"Reading {path}"):
        import pyarrow
        import pyarrow.parquet

    number = 0
    with open_bytes(path) as file:
        source = file if file.seekable() and hasattr(file, "fileno") else io.BytesIO(file.read())
        try:
            for batch in _batches(pyarrow, source, kind):
                for row in batch.to_pylist():
                    number += 1
                    whole = plain(row, tally, nan=True)
                    yield number, {key: cell(_pruned(value)) for key, value in whole.items()}
        except pyarrow.ArrowException as error:
            raise OSError(str(error)) from None


def _batches(pyarrow: Any, source: Any, kind: str) -> Iterator[Any]:
    if kind == "parquet":
        batches: Any = pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=BATCH)
    else:
        try:
            opened = pyarrow.ipc.open_file(source)
            batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
        except pyarrow.ArrowInvalid:
            source.seek(0)
            batches = pyarrow.ipc.open_stream(source)
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            yield _without_nanoseconds(pyarrow, batch.slice(start, BATCH))


def _without_nanoseconds(pyarrow: Any, batch: Any) -> Any:
    """Python's dates end at microseconds."""
    kinds = [
        pyarrow.timestamp("us", field.type.tz)
        if pyarrow.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field.type
        for field in batch.schema
    ]
    if kinds == batch.schema.types:
        return batch
    fields = [field.with_type(k) for field, k in zip(batch.schema, kinds, strict=True)]
    return pyarrow.Table.from_batches([batch]).cast(pyarrow.schema(fields), safe=False)


def _pruned(value: Any) -> Any:
    """Without the nulls that Arrow fills in where an object lacks a key that another one has."""
    if isinstance(value, Mapping):
        return {key: _pruned(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_pruned(inner) for inner in value]
    return value


def sqlite_tables(path: Path) -> list[str]:
    """The names of a database's tables, the one with most rows first."""
    with _database(path) as database:
        names = [
            name
            for (name,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%' ORDER BY name"
            )
        ]
        sizes = {name: _size(database, name) for name in names}
    return sorted(names, key=lambda name: -sizes[name])


def _size(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT COUNT(*) FROM {_quoted(table)}").fetchone()[0])


def sqlite_rows(path: Path, tally: Tally, table: str | None = None) -> Iterator[Row]:
    """Yield the rows of a table, by default of the largest."""
    tables = sqlite_tables(path)
    if table is None:
        if not tables:
            raise PgvError(f"{path} is a database without tables.")
        table = tables[0]
        if len(tables) > 1:
            others = ", ".join(tables[1:6]) + (", ..." if len(tables) > 6 else "")
            tally.notes[
                f"of {path.name} the largest table, '{table}', is read, and not {others}; another "
                "one: --column table=NAME"
            ] += 1
    elif table not in tables:
        raise PgvError(f"{path} has no table '{table}'; it has {', '.join(tables)}.")
    with _database(path) as database:
        rows = database.execute(f"SELECT * FROM {_quoted(table)}")
        names = [str(column[0]) for column in rows.description]
        for number, row in enumerate(rows, 1):
            values = plain(dict(zip(names, row, strict=True)), tally, nan=True)
            yield number, {key: cell(value) for key, value in values.items()}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"SQLite"


@contextlib.contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        if path.is_file() and _is_plain(path):
            address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
            database = sqlite3.connect(address, uri=True)
        else:  # packed
            database = sqlite3.connect(":memory:")
            with open_bytes(path) as file:
                database.deserialize(file.read())
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        with contextlib.closing(database):
            yield database
    except sqlite3.Error as error:
        raise PgvError(f"{path} cannot be read as an SQLite database ({error}).") from None
