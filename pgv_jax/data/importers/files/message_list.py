"""A file that is one list of messages, so one episode rather than one a record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pgv_jax.data.importers.base import (
    RAW_CHARACTERS,
    BadRecord,
    Options,
    RecordImporter,
    Where,
    guarded,
)
from pgv_jax.data.importers.files.records import Damage, Record, iter_records
from pgv_jax.types import Episode


def read_whole_list(
    importer: RecordImporter, path: Path, options: Options
) -> Iterator[Episode | BadRecord]:
    """Yield the one episode of a file whose records are its messages."""
    messages = []
    for item in iter_records(path):
        if isinstance(item, Damage):
            yield BadRecord(str(path), item.line, "json", item.why, item.raw[:RAW_CHARACTERS])
            return
        messages.append(item.value)
    record, where = Record(messages, 1), Where(path, 1, 0)
    yield from guarded(lambda: importer.episodes(messages, where, options), record, where)
