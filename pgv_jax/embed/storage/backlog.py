"""What an interrupted run had set out to embed, so that its resumption makes the same batches.

A vector's last bits depend on the batch that it was made in. ``FOLDER/unfinished.keys`` holds the
keys (32 bytes each) that a run found missing when it began: the next run plans its chunks from the
same texts, and leaves out the chunks that were committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pgv_jax.embed.storage.shards import KEY_BYTES
from pgv_jax.files import write_whole


def _path(folder: Path) -> Path:
    return folder / "unfinished.keys"


def read(folder: Path) -> set[bytes]:
    """The keys that interrupted runs had set out to embed; empty where none was interrupted."""
    try:
        content = _path(folder).read_bytes()
    except FileNotFoundError:
        return set()
    # Written atomically; one that something else has cut short costs last bits and no text.
    whole = len(content) - len(content) % KEY_BYTES
    return {content[at : at + KEY_BYTES] for at in range(0, whole, KEY_BYTES)}


def write(folder: Path, keys: Iterable[bytes]) -> None:
    """Set out to embed ``keys``, those of earlier interrupted runs included."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(_path(folder), b"".join(sorted(keys)))


def clear(folder: Path) -> None:
    """Nothing is unfinished any more."""
    _path(folder).unlink(missing_ok=True)
