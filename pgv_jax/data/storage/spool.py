"""Where records wait until all tasks are known: committed parts, so that work can be resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from pgv_jax.errors import PgvError
from pgv_jax.files import aside, write_json
from pgv_jax.types import Episode

PART_BYTES = 16 << 20
"""Record bytes held in memory before a part is committed."""
OPTIONS = "group_size:1"


class Entry(NamedTuple):
    """Where a spooled record lies, and what the split of a dataset depends on."""

    task_id: str
    split: str | None
    steps: int
    bytes: int
    sha256: str
    part: int
    row: int
    task: str = ""
    """The task's text, at the first record of a task in its spool."""


class Spool:
    """A folder of numbered parts; a part counts once its index file has been renamed into place."""

    def __init__(self, folder: Path, key: str | None):
        self.folder = folder
        self._waiting: list[tuple[Entry, bytes]] = []
        self._size = 0
        self._reader: tuple[int, Any] | None = None
        self._tasks: set[str] = set()
        plan = folder / "plan.json"
        wanted = {"key": key, "version": 2}
        if key is None or not plan.exists() or _read(plan) != wanted:
            self.remove()
            folder.mkdir(parents=True)
            write_json(plan, wanted)
        self.parts = 0
        self.committed = 0
        while (index := self._index(self.parts)).exists():
            rows = _read(index)
            if rows is None:  # the machine died before the bytes reached the disk
                break
            self._tasks.update(row[0] for row in rows)
            self.committed += len(rows)
            self.parts += 1

    def _index(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.json"

    def _data(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.array_record"

    def add(self, episode: Episode, record: bytes) -> None:
        """Queue a record; a full part is committed."""
        entry = Entry(
            episode.task_id,
            episode.split,
            len(episode.steps),
            len(record),
            hashlib.sha256(record).hexdigest(),
            self.parts,
            len(self._waiting),
            "" if episode.task_id in self._tasks else episode.task,
        )
        self._tasks.add(episode.task_id)
        self._waiting.append((entry, record))
        self._size += len(record)
        if self._size >= PART_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write what waits as one part: the data first, then the index that makes it count."""
        if not self._waiting:
            return
        _write_records(self._data(self.parts), (record for _, record in self._waiting))
        write_json(self._index(self.parts), [list(entry) for entry, _ in self._waiting])
        self.committed += len(self._waiting)
        self.parts += 1
        self._waiting, self._size = [], 0

    def entries(self) -> Iterator[Entry]:
        """Yield the committed entries in the order they were added."""
        for part in range(self.parts):
            for row in _read(self._index(part)) or []:
                yield Entry(*row)

    def copy(self, entries: list[Entry], path: Path) -> None:
        """Write the records of ``entries`` to one ArrayRecord file, checked; keep it if there."""
        if not path.exists():
            _write_records(path, (self._record(entry) for entry in entries))

    def _record(self, entry: Entry) -> bytes:
        if self._reader is None or self._reader[0] != entry.part:
            if self._reader is not None:
                self._reader[1].close()
            self._reader = (entry.part, ArrayRecordReader(str(self._data(entry.part))))
        record: bytes = self._reader[1].read([entry.row])[0]
        if hashlib.sha256(record).hexdigest() != entry.sha256:
            raise PgvError(
                f"{self._data(entry.part)} is damaged (record {entry.row} does not match its "
                f"checksum); remove {self.folder} and run the same command again."
            )
        return record

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        if self._reader is not None:
            self._reader[1].close()
            self._reader = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _write_records(path: Path, records: Iterator[bytes]) -> None:
    with aside(path) as unfinished:
        writer = ArrayRecordWriter(str(unfinished), OPTIONS)
        try:
            for record in records:
                writer.write(record)
        finally:
            writer.close()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
