"""What kind of file this is, by its first bytes and its name."""

from __future__ import annotations

from pathlib import Path

from pgv_jax.data.storage.compression import UNREADABLE, bare_name, open_bytes
from pgv_jax.data.storage.jsonl import FieldError, parse_json
from pgv_jax.errors import PgvError

HEAD = 1 << 16
RECORDS = ("json", "jsonl", "csv", "parquet", "arrow", "sqlite")
"""Kinds that are streams of records."""
BINARY = {
    b"PAR1": "parquet",
    b"PK\x03\x04": "zip",
    b"SQLite format 3\0": "sqlite",
    b"ARROW1\0\0": "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
"""The last is Arrow's stream format: a marker before the length of the schema."""


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked."""
    with open_bytes(path) as file:
        try:
            return file.read(HEAD)
        except UNREADABLE as error:
            raise PgvError(f"Cannot read {path}: {error}.") from None


def kind_of_file(path: Path) -> str:
    """Tell json, jsonl, csv, parquet, arrow, sqlite, notebook, zip, text or tfds apart."""
    if path.is_dir():
        return "tfds"
    suffix = bare_name(path).rsplit(".", 1)[-1].lower()
    head = head_of(path)
    for magic, kind in BINARY.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        raise PgvError(f"{path} is a tar archive; unpack it first (tar -xf).")
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
        if not _parses(first) and suffix not in ("jsonl", "ndjson"):
            return "json"
        return "jsonl" if suffix == "jsonl" or (rest and rest[0].strip()) else "json"
    if start[:1] == b"[" and suffix in ("json", "jsonl", "ndjson", "traj"):
        return "json" if suffix != "jsonl" or not _parses(start.split(b"\n", 1)[0]) else "jsonl"
    return "jsonl" if suffix in ("jsonl", "ndjson") else "json" if suffix == "json" else "text"


def _parses(line: bytes) -> bool:
    try:
        parse_json(line)
    except FieldError:
        return False
    return True
