"""What an importer is: it recognises a log format and turns one file of it into Episodes.

A bad record is a value, not an exception: importers yield ``BadRecord`` and go on, and the
pipeline decides whether to stop. ``Importer`` is for whole files; ``RecordImporter`` for formats
with one JSON record an episode (JSONL, a JSON list, CSV or Parquet columns).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pgv_jax.data.importers.files.records import Damage, Record, iter_records
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.compression import stem_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

RAW_CHARACTERS = 10_000_000
"""A rejected record is kept up to this length."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be read: ``path:line: field: why``, with its raw text."""

    path: str
    line: int
    field: str
    why: str
    raw: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.field}: {self.why}"


class Detection(NamedTuple):
    """How sure an importer is of a file, 0 to 1, and the evidence in words."""

    confidence: float
    why: str


NO = Detection(0.0, "")


@dataclass(frozen=True)
class Sample:
    """The beginning of a file; ``kind`` is what ``files.kinds`` tells, ``damage`` no record."""

    path: Path
    kind: str
    records: tuple[Any, ...] = ()
    text: str = ""
    damage: tuple[str, ...] = ()

    @property
    def objects(self) -> list[Mapping[str, Any]]:
        """The sampled records that are JSON objects."""
        return [record for record in self.records if isinstance(record, Mapping)]


@dataclass(frozen=True)
class Prefix:
    """What every prompt begins with: whole messages, then characters of the next text."""

    messages: int = 0
    characters: int = 0
    text: str = ""


@dataclass(frozen=True)
class Options:
    """What a user may say about a log; each field's meaning is in docs/importing.md.

    ``agent`` names the role that is the agent; ``columns`` maps our names to the log's;
    ``fields`` names the record keys of ``task``, ``task_id`` and ``episode_id``; ``task_text``
    is the task of a log that names none. ``tally`` counts what was left out or changed.
    """

    agent: str | None = None
    task_text: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    prefix: Prefix | None = None
    tally: Tally = field(default_factory=Tally, compare=False, repr=False)


@dataclass(frozen=True)
class Where:
    """Where a record stands, for ids and errors. ``index`` counts records from 0."""

    path: Path
    line: int
    index: int

    @property
    def episode_id(self) -> str:
        """An id made of the file's name and the record's number."""
        return f"{stem_of(self.path)}:{self.index}"


class Importer(ABC):
    """Recognises a format and reads a file of it."""

    name: ClassVar[str]
    """What ``--format`` calls it."""
    about: ClassVar[str]
    """One line for help texts."""
    columns: ClassVar[tuple[str, ...]] = ()
    """The names that ``--column`` may give; not checked for importers of your own."""
    logs_calls: ClassVar[bool] = False
    """True where a log may hold a record a call, each with the conversation so far."""

    @abstractmethod
    def detect(self, sample: Sample) -> Detection:
        """Say how sure this importer is that ``sample`` is its format, and why."""

    @abstractmethod
    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield the file's episodes in order, and a BadRecord for what cannot be read."""

    def reading(self, path: Path, options: Options) -> str:
        """Say how this file's columns are read, where that is a choice; else ""."""
        return ""

    def beside(self, path: Path) -> Sequence[Path]:
        """The other files that are read with this one, so that an import knows their change."""
        return ()

    def prompts(self, path: Path, options: Options) -> Iterator[Any]:
        """Yield each record's prompt (text, or a list of messages) for ``--strip-prefix``."""
        return iter(())


class RecordImporter(Importer):
    """A format with one JSON record an episode; subclasses write ``detect`` and ``episodes``."""

    @abstractmethod
    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the episodes of a record; raise ``FieldError`` where it does not fit."""

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the record's prompt (text, or a list of messages), or None."""
        return None

    def records(self, path: Path, options: Options) -> Iterator[Record | Damage]:
        """Yield the records of the file, for formats in which one continues another."""
        return iter_records(path, options.tally)

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield the episodes of every record of the file."""
        for index, item in enumerate(self.records(path, options)):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw[:RAW_CHARACTERS])
            else:
                where = Where(path, item.line, index)
                yield from guarded(
                    lambda i=item, w=where: self.episodes(i.value, w, options), item, where, options
                )

    def prompts(self, path: Path, options: Options) -> Iterator[Any]:
        """Yield the prompt of every record that has one."""
        for item in iter_records(path):
            if isinstance(item, Record):
                try:
                    prompt = self.prompt(item.value, options)
                except UNFIT:
                    continue
                if prompt is not None:
                    yield prompt


class FileImporter(Importer):
    """A format in which a whole file of records is one run, or a few; subclasses write ``runs``."""

    @abstractmethod
    def runs(self, records: Sequence[Any], where: Where, options: Options) -> Iterable[Episode]:
        """Return the episodes of a file's records; raise ``FieldError`` where they do not fit."""

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield the episodes of the file; a damaged line is left out and said."""
        records: list[Any] = []
        for item in iter_records(path, options.tally):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw[:RAW_CHARACTERS])
            else:
                records.append(item.value)
        where = Where(path, 1, 0)
        if records:
            yield from guarded(
                lambda: self.runs(records, where, options), Record(records, 1), where, options
            )


UNFIT = (PgvError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)
"""What reading a record of the wrong shape can raise; each becomes a BadRecord."""


def guarded(
    make: Any, item: Record, where: Where, options: Options
) -> Iterator[Episode | BadRecord]:
    """Yield what ``make()`` returns; a record that does not fit becomes one BadRecord."""
    options.tally.path, options.tally.line = str(where.path), where.line
    try:
        made = list(make())
        for episode in made:
            if not episode.steps:
                raise FieldError("steps", "there is no turn of the agent in this record")
    except FieldError as error:
        yield BadRecord(str(where.path), where.line, error.field, error.why, item.raw())
    except UNFIT as error:
        why = f"does not fit this format ({type(error).__name__}: {str(error)[:100]})"
        yield BadRecord(str(where.path), where.line, "record", why, item.raw())
    else:
        yield from made
