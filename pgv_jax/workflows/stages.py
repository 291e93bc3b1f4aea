"""A run in stages: what each was done with, so that it is not done again, and how long it took."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgv_jax.files import write_json


class Clock:
    """Seconds by stage, added up over the calls that a run was interrupted into."""

    def __init__(self, path: Path):
        self._path = path
        self.seconds: dict[str, float] = {}
        if path.exists():
            self.seconds = json.loads(path.read_text("utf-8"))

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage, also one that ends in an interruption."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = self.seconds.get(stage, 0.0) + time.perf_counter() - begin
            self.seconds[stage] = round(spent, 1)
            write_json(self._path, self.seconds, None)


class Stages:
    """Which stage was done with what: ``path`` holds a key, and notes, by stage."""

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._known = json.loads(path.read_text("utf-8"))

    def done(self, stage: str, key: str) -> bool:
        """Whether the stage was done with this key."""
        return self._known.get(stage, {}).get("key") == key

    def begun(self, stage: str) -> bool:
        """Whether the stage was done with any key."""
        return stage in self._known

    def mark(self, stage: str, key: str, **notes: Any) -> None:
        """Say that the stage is done; ``notes`` are JSON values. On disk whole or not at all."""
        self._known[stage] = {"key": key, **notes}
        write_json(self._path, self._known)

    def notes(self, stage: str) -> dict[str, Any]:
        """What the stage was marked with; empty where it was not done."""
        return {name: value for name, value in self._known.get(stage, {}).items() if name != "key"}


def files_key(paths: Iterable[Path], *words: str) -> str:
    """A name for files as they are now (path, size and time of change) and for ``words``."""
    digest = hashlib.sha256(json.dumps(words).encode())
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                told = file.stat()
                digest.update(f"\n{file} {told.st_size} {told.st_mtime_ns}".encode())
    return digest.hexdigest()
