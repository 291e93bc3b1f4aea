"""Files as streams of JSON records: JSONL, a JSON list or object, rows of tables.

One record is held at a time, also of a JSON list of any size. What cannot be read is a
``Damage`` in the stream, with its line.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pgv_jax.data.importers.files.kinds import kind_of_file
from pgv_jax.data.importers.files.tables import arrow_rows, cell, csv_rows, sqlite_rows
from pgv_jax.data.importers.files.values import plain
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.compression import UNREADABLE, open_bytes
from pgv_jax.data.storage.jsonl import FieldError, parse_json

CHUNK = 1 << 16


class Record(NamedTuple):
    """A parsed record, the line that it starts on, and its text if that was a line."""

    value: Any
    line: int
    source: bytes | None = None

    def raw(self) -> str:
        """The record as text, for the file of rejected ones."""
        if self.source is not None:
            return self.source.decode("utf-8", "backslashreplace").strip()
        try:
            return json.dumps(self.value, default=repr)
        except (TypeError, ValueError, RecursionError):
            return repr(self.value)[:10_000]


class Damage(NamedTuple):
    """Text that is not a record."""

    line: int
    why: str
    raw: str = ""


def iter_records(path: Path, tally: Tally | None = None) -> Iterator[Record | Damage]:
    """Yield the records of a file in order; what was converted is counted in ``tally``."""
    kind, tally = kind_of_file(path), tally or Tally()
    if kind == "jsonl":
        yield from _lines(path, tally)
    elif kind == "json":
        yield from _document(path, tally)
    elif kind == "csv":
        for line, row in csv_rows(path):
            yield Record({key: cell(value) for key, value in row.items()}, line)
    elif kind in ("parquet", "arrow", "sqlite"):
        yield from _rows(path, kind, tally)
    else:
        yield Damage(1, f"is a {kind} file, not JSON records")


def _rows(path: Path, kind: str, tally: Tally) -> Iterator[Record | Damage]:
    number = 0
    rows = sqlite_rows(path, tally) if kind == "sqlite" else arrow_rows(path, kind, tally)
    try:
        for number, row in rows:
            yield Record(row, number)
    except (*UNREADABLE, ValueError) as error:
        yield Damage(number + 1, f"the file cannot be read on from here ({error})")


def _mended(value: Any, halves: bool, tally: Tally) -> Any:
    """The value with half surrogate pairs replaced, if the source can have any."""
    return plain(value, tally, nan=True) if halves else value


def _lines(path: Path, tally: Tally) -> Iterator[Record | Damage]:
    with open_bytes(path) as file:
        number = 0
        try:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                try:
                    halves = b"\\ud" in line or b"\\uD" in line
                    yield Record(_mended(parse_json(line), halves, tally), number, line)
                except FieldError as error:
                    yield Damage(
                        number, error.why, line.strip().decode("utf-8", "backslashreplace")
                    )
        except UNREADABLE as error:
            yield Damage(number + 1, f"the file cannot be read on from here ({error})")


def _document(path: Path, tally: Tally) -> Iterator[Record | Damage]:
    """A JSON list's elements one by one, or the values that stand one after another."""
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = _Reader(text, tally)
        try:
            first = reader.peek()
            while first not in ("[", ""):
                yield reader.value()
                first = reader.peek(end="")
            if first == "" or reader.values:
                reader.end()
                return
            reader.skip()
            while reader.peek() != "]":
                yield reader.value()
                if reader.peek() == ",":
                    reader.skip()
                    if reader.peek() == "]":
                        raise FieldError("json", "a comma stands before ']'")
                elif reader.peek() != "]":
                    raise FieldError("json", "expected ',' or ']' after a list's element")
            reader.skip()
            reader.end()
        except FieldError as error:
            yield Damage(
                reader.line, f"{error.why}; the rest of the file is not read", reader.rest()
            )
        except UnicodeDecodeError as error:
            yield Damage(reader.line, f"is not UTF-8 ({error.reason}); the rest is not read")
        except UNREADABLE as error:
            yield Damage(reader.line, f"the file cannot be read on from here ({error})")


class _Reader:
    """Decodes one JSON value at a time from a text stream; the buffer doubles when it must."""

    def __init__(self, text: io.TextIOWrapper, tally: Tally):
        self._text = text
        self._tally = tally
        self._buffer = ""
        self._at = 0
        self._decoder = json.JSONDecoder()
        self.line = 1
        self.values = 0

    def _more(self, size: int = CHUNK) -> bool:
        chunk = self._text.read(size)
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def peek(self, end: str | None = None) -> str:
        """Return the next character that is not white space, ``end`` where there is none."""
        while True:
            while self._at < len(self._buffer):
                character = self._buffer[self._at]
                if not character.isspace():
                    return character
                self.line += character == "\n"
                self._at += 1
            if not self._more():
                if end is not None:
                    return end
                raise FieldError("json", "the document ends too early")

    def skip(self) -> None:
        self._at += 1

    def end(self) -> None:
        """Raise unless only white space is left."""
        if self.peek(end=""):
            raise FieldError("json", "there is text after the end of the document")

    def rest(self) -> str:
        """What is buffered, as a sample of what was not read."""
        return self._buffer[self._at : self._at + 10_000]

    def value(self) -> Record:
        """Decode the value that starts at the next character."""
        self.peek()
        size = CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
                # A number may go on in the next chunk; anything else has ended.
                if end < len(self._buffer) or not self._more(size):
                    break
            except json.JSONDecodeError as error:
                if not self._more(size):
                    raise FieldError("json", error.msg) from None
            except RecursionError:
                raise FieldError("json", "is nested too deeply") from None
            except ValueError as error:
                raise FieldError("json", str(error)) from None
            size = max(CHUNK, len(self._buffer))
        self.values += 1
        halves = "\\ud" in self._buffer or "\\uD" in self._buffer
        record = Record(_mended(value, halves, self._tally), self.line)
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end
        return record


def sample_records(path: Path, count: int = 5) -> tuple[list[Any], list[str]]:
    """Return up to ``count`` good records from the beginning of a file, and what was damaged."""
    found: list[Any] = []
    damage: list[str] = []
    for tried, item in enumerate(iter_records(path)):
        if isinstance(item, Record):
            found.append(item.value)
        else:
            damage.append(f"line {item.line}: {item.why}")
        if len(found) == count or tried >= 4 * count:
            break
    return found, damage
