"""The files of a log: folders and archives opened, what is no log told from what may be one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pgv_jax.data.storage.compression import archive_of, bare_name, members_of
from pgv_jax.errors import PgvError
from pgv_jax.files import is_there

NO_LOGS: tuple[str, ...] = (".md", ".rst", ".py", ".sh", ".yaml", ".yml", ".toml", ".cfg", ".ini")
NO_LOGS += (".html", ".css", ".js", ".ts", ".lock", ".diff", ".patch", ".tex", ".bib", ".c", ".h")
NO_LOGS += (".rs",)
NO_LOG_NAMES = ("readme", "license", "licence", "makefile", "dockerfile", "source", "requirements")


class LogFile(NamedTuple):
    """A file, and whether the user named it or it was found in a folder or an archive."""

    path: Path
    named: bool


def walk(paths: Sequence[Path]) -> Iterator[LogFile]:
    """Yield the files of paths, sorted within folders; TFDS folders stay whole, hidden stay out."""
    for path in paths:
        if not is_there(path) and archive_of(path) is None:
            raise PgvError(f"{path} does not exist.")
        if not path.is_dir():
            yield from _opened(path, True)
            continue
        if (path / "features.json").exists():
            yield LogFile(path, True)
            continue
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.is_file() and not any(x.startswith(".") for x in p.relative_to(path).parts)
        )
        if not inside:
            raise PgvError(f"{path} holds no files.")
        for file in inside:
            yield from _opened(file, False)


def _opened(path: Path, named: bool) -> Iterator[LogFile]:
    if not _is_archive(path):
        yield LogFile(path, named)
        return
    members = members_of(path)
    if not members:
        raise PgvError(f"{path} holds no files.")
    for member in members:
        yield LogFile(member, named and len(members) == 1)


def _is_archive(path: Path) -> bool:
    """True for a zip file that is only a box; Inspect's logs are zips of their own kind."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return not any(name in ("header.json", "_journal/start.json") for name in names)


def is_other(path: Path, kind: str, records: Sequence[Any]) -> bool:
    """True for a file that plainly is no log: a text or a program, one object without a list."""
    name = bare_name(path).lower()
    if name.endswith(NO_LOGS) or name.startswith(NO_LOG_NAMES) or kind == "binary":
        return True
    if kind == "text":
        return "." not in name
    alone = kind in ("json", "jsonl") and len(records) == 1 and isinstance(records[0], Mapping)
    return (kind in ("json", "jsonl") and not records) or (alone and not _has_list(records[0], 2))


def _has_list(value: Any, depth: int) -> bool:
    """True where an object holds a list of objects, or a long text that may be a transcript."""
    for inner in value.values():
        if isinstance(inner, list) and any(isinstance(part, Mapping) for part in inner):
            return True
        if isinstance(inner, str) and len(inner) > 1000:
            return True
        if isinstance(inner, Mapping) and depth and _has_list(inner, depth - 1):
            return True
    return False


def shown(record: Any) -> str:
    """The keys of a record, for an error."""
    text = ", ".join(map(str, record)) if isinstance(record, Mapping) else json.dumps(record)[:80]
    return text[:200]
