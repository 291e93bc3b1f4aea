"""Files as streams of JSON records: JSONL, a JSON list or object, CSV rows, Parquet rows.

One record is held at a time, also of a JSON list of any size. What cannot be read is a
``Damage`` in the stream, with its line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pgv_jax.data.jsonl import FieldError, open_bytes, parse_json
from pgv_jax.errors import PgvError

CHUNK = 1 << 16
HEAD = 1 << 16
csv.field_size_limit(1 << 30)


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


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, unzipped if it is ``.gz``."""
    with open_bytes(path) as file:
        try:
            return file.read(HEAD)
        except (OSError, EOFError) as error:
            raise PgvError(f"Cannot read {path}: {error}.") from None


def kind_of_file(path: Path) -> str:
    """Tell json, jsonl, csv, parquet, notebook, zip, text or tfds by name and content."""
    if path.is_dir():
        return "tfds"
    suffix = path.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    head = head_of(path)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise PgvError(f"{path} is UTF-16; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8).")
    if b"\0" in head[:1024]:
        raise PgvError(f"{path} is a binary file of a kind that no importer reads.")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix == "ipynb":
        return "notebook"
    if suffix in ("csv", "tsv"):
        return "csv"
    if start[:1] == b"{":
        first, *rest = start.split(b"\n", 1)
        if not _parses(first) and suffix != "jsonl":
            return "json"
        return "jsonl" if suffix == "jsonl" or (rest and rest[0].strip()) else "json"
    if start[:1] == b"[" and suffix in ("json", "jsonl", "gz"):
        return "json" if suffix != "jsonl" or not _parses(start.split(b"\n", 1)[0]) else "jsonl"
    return "jsonl" if suffix == "jsonl" else "json" if suffix == "json" else "text"


def _parses(line: bytes) -> bool:
    try:
        parse_json(line)
    except FieldError:
        return False
    return True


def iter_records(path: Path) -> Iterator[Record | Damage]:
    """Yield the records of a file in order."""
    kind = kind_of_file(path)
    if kind == "jsonl":
        yield from _lines(path)
    elif kind == "json":
        yield from _document(path)
    elif kind == "csv":
        for line, row in csv_rows(path):
            yield Record({key: _cell(value) for key, value in row.items()}, line)
    elif kind == "parquet":
        yield from _parquet(path)
    else:
        yield Damage(1, f"is a {kind} file, not JSON records")


def _lines(path: Path) -> Iterator[Record | Damage]:
    with open_bytes(path) as file:
        number = 0
        try:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                try:
                    yield Record(parse_json(line), number, line)
                except FieldError as error:
                    yield Damage(
                        number, error.why, line.strip().decode("utf-8", "backslashreplace")
                    )
        except (OSError, EOFError) as error:
            yield Damage(number + 1, f"the file cannot be read on from here ({error})")


def _document(path: Path) -> Iterator[Record | Damage]:
    """A JSON list's elements one by one, or the values that stand one after another."""
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = _Reader(text)
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
        except (OSError, EOFError) as error:
            yield Damage(reader.line, f"the file cannot be read on from here ({error})")


class _Reader:
    """Decodes one JSON value at a time from a text stream; the buffer doubles when it must."""

    def __init__(self, text: io.TextIOWrapper):
        self._text = text
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
        record = Record(value, self.line)
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end
        return record


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) of a CSV or TSV file with a header; broken files are PgvErrors."""
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    with open_bytes(path) as file:
        reader = csv.DictReader(
            io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), delimiter=delimiter
        )
        try:
            for row in reader:
                yield (
                    reader.line_num,
                    {key or "": value or "" for key, value in row.items() if isinstance(key, str)},
                )
        except (csv.Error, UnicodeDecodeError, OSError, EOFError) as error:
            raise PgvError(f"{path}:{reader.line_num + 1}: csv: {error}") from None


def _cell(text: str) -> Any:
    """A CSV cell that holds a JSON list or object is that value; all else is text."""
    if text[:1] in ("[", "{"):
        try:
            return parse_json(text)
        except FieldError:
            return text
    return text


def _parquet(path: Path) -> Iterator[Record | Damage]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise PgvError(
            f"{path} is a Parquet file; reading it needs pyarrow: pip install pyarrow."
        ) from None
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=64):
            for row in batch.to_pylist():
                number += 1
                yield Record(
                    {k: _cell(v) if isinstance(v, str) else v for k, v in row.items()}, number
                )
    except OSError as error:
        yield Damage(number + 1, f"the file cannot be read on from here ({error})")


def sample_records(path: Path, count: int = 5) -> list[Any]:
    """Return up to ``count`` good records from the beginning of a file."""
    found = []
    for tried, item in enumerate(iter_records(path)):
        if isinstance(item, Record):
            found.append(item.value)
        if len(found) == count or tried >= 4 * count:
            break
    return found
