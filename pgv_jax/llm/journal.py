"""An append-only folder of JSON lines that survives kill -9 and many writers.

Each process that writes opens a file of its own and appends each record with one ``write``, so
that no lock is needed (network file systems of clusters honour few) and nobody appends behind a
torn line. A line that is cut short or is not JSON is dropped, and counted, when it is read.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError

_compact = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """Records (JSON objects) in ``folder``; ``dropped`` counts the damaged lines that were met."""

    def __init__(self, folder: str | os.PathLike[str], suffix: str = ".jsonl"):
        self.folder = Path(folder)
        self.dropped = 0
        self._suffix = suffix
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._end = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PgvError(f"Cannot make the folder {self.folder}: {error.strerror}.") from None

    def read(self) -> Iterator[tuple[Path, int, int, dict[str, Any]]]:
        """Every whole record with its file, offset and length in bytes, oldest file first."""
        paths = sorted(self.folder.glob(f"*{self._suffix}"), key=lambda p: (p.stat().st_mtime, p))
        for path in paths:
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    record = _parse(line)
                    if record is None:
                        self.dropped += 1
                    else:
                        yield path, offset, len(line), record
                    offset += len(line)

    def append(self, record: dict[str, Any]) -> tuple[Path, int, int]:
        """Write ``record``; once this returns, a kill of the process cannot lose it."""
        line = _compact(record).encode() + b"\n"
        try:
            descriptor, path = self._open()
            written = os.write(descriptor, line)
        except OSError as error:
            raise PgvError(
                f"Cannot write to {self.folder}: {error.strerror}; free space or choose "
                "another folder, then run the same command again."
            ) from None
        offset, self._end = self._end, self._end + written
        if written != len(line):
            self.close()  # the next record goes to a fresh file, not behind a torn line
            raise PgvError(
                f"Only {written} of {len(line)} bytes could be written to {path}; the disk is "
                "probably full: free space, then run the same command again."
            )
        return path, offset, len(line)

    def close(self) -> None:
        """Close the file that this process writes."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> tuple[int, Path]:
        if self._descriptor is None or self._path is None:
            self._path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}{self._suffix}"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(self._path, flags, 0o644)
            self._end = 0
        return self._descriptor, self._path


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
