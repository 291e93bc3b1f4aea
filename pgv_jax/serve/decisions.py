"""Every decision in a log that ``pgv import`` reads (format ``served``), with the outcomes.

``decisions-TIME-PID.jsonl`` is a file of at most some megabytes; ``.outcomes.jsonl`` holds what
``POST /v1/outcomes`` said. Both are the user's alone (0600 in a folder of 0700). A decision is one
write, before its answer goes out: whoever has an answer finds its decision, also after ``kill -9``.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.formats.chats.served import OUTCOMES, PATTERN
from pgv_jax.data.importers.redact import Redactor
from pgv_jax.errors import PgvError

ROLL_BYTES = 64 * 2**20
"""A file that is larger is followed by a new one."""


class DecisionLog:
    """The open log of one server."""

    def __init__(self, folder: Path, redact: tuple[str, ...] = (), roll_bytes: int = ROLL_BYTES):
        self.folder, self._roll_bytes = folder, roll_bytes
        self._redactor = Redactor(redact)
        self._file, self._written, self._number = -1, 0, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            self.mended = mend(folder)
            self._roll()
        except OSError as error:
            raise PgvError(f"No log can be kept in {folder}: {error.strerror}.") from None

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one decision; OSError where the disk is full or gone."""
        if self._written > self._roll_bytes:
            self._roll()
        line = self._line(record)
        _append(self._file, line)
        self._written += len(line)

    def outcome(self, record: Mapping[str, Any]) -> None:
        """Append what came of a decision or of a session."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        file = os.open(self.folder / OUTCOMES, flags, 0o600)
        try:
            _append(file, self._line(record))
        finally:
            os.close(file)

    def close(self) -> None:
        """Close the file; an empty one goes."""
        path = self.folder / self._name
        os.close(self._file)
        if path.stat().st_size == 0:
            path.unlink()

    def _line(self, record: Mapping[str, Any]) -> bytes:
        said = self._redactor.value(record) if self._redactor.rules else record
        # Half a surrogate pair, which JSON can say and UTF-8 cannot, stays an escape.
        return (json.dumps(said) + "\n").encode("ascii")

    def _roll(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        while True:
            self._number += 1
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            self._name = f"decisions-{stamp}-{os.getpid()}-{self._number:04d}.jsonl"
            with suppress(FileExistsError):
                self._file = os.open(self.folder / self._name, flags, 0o600)
                break
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._written = 0


def mend(folder: Path) -> int:
    """Cut off lines that a killed server left half written; how many there were."""
    mended = 0
    for path in sorted([*folder.glob(PATTERN), *folder.glob(OUTCOMES)]):
        with path.open("rb+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another server's, which is still writing it
            whole = _whole(file.seek(0, os.SEEK_END), file)
            if whole is not None:
                file.truncate(whole)
                mended += 1
    return mended


def _whole(size: int, file: Any) -> int | None:
    """Where the last whole line ends, None where that is the end of the file."""
    at = size
    while at > 0:
        start = max(0, at - 65_536)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            return None if end == size else end
        at = start
    return None if size == 0 else 0


def _append(file: int, line: bytes) -> None:
    left = memoryview(line)
    while left:
        left = left[os.write(file, left) :]
