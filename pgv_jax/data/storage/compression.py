"""Files as bytes, unpacked on the way: gzip, bzip2, xz, Zstandard, and members of a zip.

What a file is packed with is told by its first bytes. A member of an archive is named as if the
archive were a folder: ``logs.zip/june/run.jsonl``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

from pgv_jax.errors import PgvError
from pgv_jax.parts import MissingPart, part

SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
"""What reading a damaged, cut or encrypted file can raise."""
MAGIC = 6


def bare_name(path: Path) -> str:
    """A file's name without the ending that says how it is packed."""
    name = path.name
    while name.lower().endswith(SUFFIXES):
        name = name[: name.rfind(".")]
    return name


def stem_of(path: Path) -> str:
    """A file's name without its endings: ``run.4.jsonl.gz`` is ``run.4``."""
    return Path(bare_name(path)).stem or path.name


def archive_of(path: Path) -> tuple[Path, str] | None:
    """Return (archive, member) of a path into a zip file, or None."""
    for parent in path.parents:
        if parent.is_file():
            return parent, path.relative_to(parent).as_posix()
        if parent.is_dir():
            return None
    return None


def members_of(path: Path) -> list[Path]:
    """The files in a zip archive as paths, sorted; hidden ones stay out."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except UNREADABLE as error:
        raise PgvError(f"Cannot read {path}: {error}.") from None
    return [
        path / name
        for name in sorted(names)
        if not any(part.startswith((".", "__MACOSX")) for part in Path(name).parts)
    ]


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacked; a missing one is a sentence."""
    inside = archive_of(path)
    try:
        file: IO[bytes] = path.open("rb") if inside is None else _open_member(*inside)
    except KeyError:
        raise PgvError(f"Cannot read {path}: the archive has no such member.") from None
    except UNREADABLE as error:
        why = getattr(error, "strerror", None) or error
        raise PgvError(f"Cannot read {path}: {why}.") from None
    try:
        return _unpacked(io.BufferedReader(cast(Any, file)) if inside else file)
    except MissingPart:
        file.close()
        raise


def _open_member(archive: Path, member: str) -> IO[bytes]:
    with zipfile.ZipFile(archive) as opened:  # the member keeps the file open
        return opened.open(member)


def _unpacked(file: Any) -> IO[bytes]:
    try:
        magic = file.peek(MAGIC)[:MAGIC]
    except UNREADABLE:
        return cast(IO[bytes], file)  # reading it will say why
    if magic[:2] == b"\x1f\x8b":
        return _owning(gzip.GzipFile(fileobj=file), file)
    if magic[:3] == b"BZh":
        return _owning(bz2.BZ2File(file), file)
    if magic == b"\xfd7zXZ\0":
        return _owning(lzma.LZMAFile(file), file)
    if magic[:4] == b"\x28\xb5\x2f\xfd":
        with part("logs", "Unpacking a file of Zstandard"):
            import pyarrow

        return cast(IO[bytes], io.BufferedReader(_Zstandard(pyarrow, file)))
    return cast(IO[bytes], file)


def _owning(reader: Any, file: Any) -> IO[bytes]:
    """The reader, which closes the packed file with itself."""
    return cast(IO[bytes], io.BufferedReader(_Owner(reader, file)))


class _Owner(io.RawIOBase):
    def __init__(self, reader: Any, *under: Any):
        self._reader, self._under = reader, under

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
            for file in self._under:
                file.close()
        super().close()


class _Zstandard(_Owner):
    """pyarrow's decompressor; frames may follow one another."""

    def __init__(self, pyarrow: Any, file: Any):
        super().__init__(pyarrow.CompressedInputStream(file, "zstd"), file)
