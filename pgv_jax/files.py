"""Files and folders that are there whole or not at all.

New content is written beside its place and renamed over it when it is complete: a reader, and a
run that was killed, finds the old content or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ASIDE = ".tmp-"
"""How the names of unfinished files begin; what a killed run left may be deleted."""
REPLACED = "replaced"


@contextlib.contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it takes ``path``'s place at the block's end.

    It is flushed to the disk first. After an error it is deleted, and ``path`` stays as it was.
    """
    unfinished = path.with_name(f"{ASIDE}{secrets.token_hex(4)}-{path.name}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file; text is UTF-8."""
    with aside(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write a value as JSON that ends with a newline."""
    write_whole(path, json.dumps(value, indent=indent) + "\n")


def replace_folder(built: Path, folder: Path, keep: str = "") -> None:
    """Put the folder ``built`` at ``folder``, and delete what stood there.

    That lies at ``built.parent / REPLACED`` between the two renames; ``restore_folder`` brings it
    back after a kill at that moment. Its part named ``keep`` moves into the new folder.
    """
    old = built.parent / REPLACED
    if folder.exists():
        os.rename(folder, old)
    os.rename(built, folder)
    if old.exists():
        if keep and (old / keep).exists():
            os.rename(old / keep, folder / keep)
        shutil.rmtree(old)


def restore_folder(work: Path, folder: Path) -> None:
    """Put back what a killed ``replace_folder`` left in ``work``, where it builds."""
    if (work / REPLACED).exists() and not folder.exists():
        os.rename(work / REPLACED, folder)


def sha256_of(path: Path) -> str:
    """Checksum of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
