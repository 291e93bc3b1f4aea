"""The embedding store: every distinct text is embedded once, and kept under its content's key.

``FOLDER/manifest.json`` names the encoder and the shards with their checksums. Work is committed
in chunks, so an interrupted run loses at most one; small shards are joined later. Writers take a
lock for the commit only, so two processes may fill one store.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.embed.encoder import Encoder
from pgv_jax.embed.storage import backlog as pending
from pgv_jax.embed.storage.index import KeyIndex
from pgv_jax.embed.storage.shards import KEY_BYTES, Shard, ShardEntry, write_shard
from pgv_jax.errors import PgvError
from pgv_jax.files import ASIDE, write_json

FORMAT = "pgv_jax.embeddings"
VERSION = 1
CHUNK_TEXTS = 256
_MAX_CHUNK_TEXTS = 8192
_CHUNK_CHARACTERS = 1 << 18
_JOIN_AT = 64
_TRIES = 20
_JOINED_TEXTS = 16384


@dataclass(frozen=True, slots=True)
class AddReport:
    """What one ``add`` did. What counts tokens is 0 where the encoder has none."""

    texts: int
    distinct: int
    embedded: int
    truncated: int
    tokens: int
    empty: int
    lossy: int
    unknown: int
    """Tokens that the encoder's vocabulary lacks."""
    seconds: float


class EmbeddingStore:
    """Vectors of texts under ``folder``, all by one encoder."""

    def __init__(self, folder: str | Path, encoder: Encoder):
        self.folder = Path(folder)
        self.encoder = encoder
        self._prefix = hashlib.sha256(encoder.fingerprint.encode() + b"\0")
        self._entries: list[ShardEntry] = []
        self._shards: list[Shard] = []
        self._starts = np.zeros(1, np.int64)
        self._index = KeyIndex()
        self._stamp: tuple[int, ...] | None = None
        self._refresh()

    def __len__(self) -> int:
        return len(self._index)

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that have no vector yet, in order of first appearance."""
        distinct = list(dict.fromkeys(texts))
        rows = self._index.find([self.key(text) for text in distinct])
        return [distinct[i] for i in np.flatnonzero(rows < 0)]

    def lookup(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [len(texts), D], in order; a text without a vector is a PgvError."""
        keys = [self.key(text) for text in texts]
        rows = self._index.find(keys)
        for _ in range(_TRIES):
            if (rows < 0).any():
                self._refresh()
                rows = self._index.find(keys)
            absent = np.flatnonzero(rows < 0)
            if len(absent):
                raise PgvError(
                    f"{len(absent)} of {len(texts)} texts have no vector of encoder "
                    f"'{self.encoder.name}' in {self.folder}, the first is "
                    f"{_shorten(texts[int(absent[0])])}; run `pgv embed` on their dataset (or "
                    "EmbeddingStore.add) first."
                )
            try:
                return self._vectors(rows)
            except FileNotFoundError:
                # Another process has joined the shard with others, or somebody deleted its file.
                self._stamp = None
                rows = np.full(len(keys), -1, np.int64)
        raise PgvError(f"{self.folder} keeps changing while it is read; run the command again.")

    def _vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 [len(rows), D]; raises FileNotFoundError where a shard's file is gone."""
        vectors = np.empty((len(rows), self.encoder.dim), np.float32)
        shard_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shard_of_row):
            at = np.flatnonzero(shard_of_row == shard)
            vectors[at] = self._shards[shard].vectors[rows[at] - self._starts[shard]]
        return vectors

    def add(
        self, texts: Iterable[str], progress: Callable[[int, int], None] | None = None
    ) -> AddReport:
        """Embed each distinct missing text once. ``progress(done, of)`` counts embedded texts.

        Interrupted, it loses at most the chunk at work: run it again.
        """
        began = time.perf_counter()
        texts = list(texts)
        self._refresh()
        distinct = list(dict.fromkeys(texts))
        todo = self.missing(distinct)
        before = _counters(self.encoder)
        done, count = 0, len(todo)
        tell = progress or (lambda done, of: None)
        tell(0, count)
        for chunk in _chunks(self.encoder, self._planned(distinct, todo)):
            part = self.missing(chunk)
            if not part:
                continue
            vectors = self.encoder.encode(part, _counter(tell, done, count))
            self._commit(part, np.ascontiguousarray(vectors, np.float32))
            done += len(part)
            tell(done, count)
        if len(distinct) > CHUNK_TEXTS:
            self._finish()
        after = _counters(self.encoder)
        return AddReport(
            texts=len(texts),
            distinct=len(distinct),
            embedded=done,
            **{name: count - before[name] for name, count in after.items()},
            seconds=time.perf_counter() - began,
        )

    def _planned(self, distinct: list[str], todo: list[str]) -> list[str]:
        """What is missing, with what an interrupted run had set out for among ``distinct``."""
        if not todo or len(distinct) <= CHUNK_TEXTS:  # one chunk, whatever was interrupted
            return todo
        unfinished = pending.read(self.folder)
        missing = set(todo)
        keys = {text: self.key(text) for text in distinct} if unfinished else {}
        planned = [text for text in distinct if text in missing or keys.get(text) in unfinished]
        if len(planned) > CHUNK_TEXTS:
            pending.write(self.folder, unfinished.union(map(self.key, todo)))
        return planned

    def _finish(self) -> None:
        """Forget what was unfinished once all of it is here."""
        unfinished = list(pending.read(self.folder))
        if unfinished and (self._index.find(unfinished) >= 0).all():
            pending.clear(self.folder)

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep float32 [len(texts), D] vectors that this store's encoder has already made."""
        self._commit(list(texts), np.ascontiguousarray(vectors, np.float32))

    def verify(self) -> int:
        """Check every shard against its checksum; returns the number of vectors."""
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                for shard in self._shards:
                    _ = shard.vectors
                return len(self)
            self._stamp = None
            self._refresh()
        raise PgvError(f"{self.folder} keeps changing while it is read; run the command again.")

    def key(self, text: str) -> bytes:
        """sha256(encoder fingerprint, text): 32 bytes."""
        key = self._prefix.copy()
        key.update(text.encode("utf-8", "surrogatepass"))
        return key.digest()

    # -- the manifest ----------------------------------------------------------------------

    @property
    def manifest_path(self) -> Path:
        """The one file that says what the store holds."""
        return self.folder / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands."""
        return self._manifest(self._entries)

    def _manifest(self, entries: list[ShardEntry]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "encoder": {
                "name": self.encoder.name,
                "fingerprint": self.encoder.fingerprint,
                "describe": self.encoder.describe(),
            },
            "dim": self.encoder.dim,
            "dtype": "float32",
            "key": "sha256(encoder fingerprint, NUL, utf-8 text)",
            "count": sum(entry.count for entry in entries),
            "shards": [entry.to_json() for entry in entries],
        }

    def _read_entries(self) -> list[ShardEntry]:
        try:
            content = json.loads(self.manifest_path.read_bytes())
        except FileNotFoundError:
            return []
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise PgvError(
                f"{self.manifest_path} is not JSON ({error}); delete {self.folder} and run "
                "`pgv embed` again."
            ) from error
        if content.get("format") != FORMAT or content.get("version") != VERSION:
            raise PgvError(
                f"{self.manifest_path} has format {content.get('format')!r} version "
                f"{content.get('version')!r}, this program reads {FORMAT!r} version {VERSION}; "
                "name another --store."
            )
        theirs = content["encoder"]
        if theirs["fingerprint"] != self.encoder.fingerprint:
            raise PgvError(
                f"{self.folder} holds vectors of encoder '{theirs['name']}' (fingerprint "
                f"{theirs['fingerprint'][:12]}), not of '{self.encoder.name}' "
                f"({self.encoder.fingerprint[:12]}); use that encoder, or another store (--store, "
                "data.store=)."
            )
        return [ShardEntry(**entry) for entry in content["shards"]]

    def _refresh(self) -> None:
        """Read what other processes committed; shards whose files were deleted count as absent."""
        for _ in range(_TRIES):
            stamp = self._stat()
            if stamp == self._stamp:
                return
            # A joining writer may delete a shard between our two reads: then read anew.
            entries = [e for e in self._read_entries() if all(p.exists() for p in self._paths(e))]
            with contextlib.suppress(FileNotFoundError):
                self._open(entries)
                self._stamp = stamp
                return
        raise PgvError(f"{self.folder} keeps changing while it is read; run the command again.")

    def _open(self, entries: list[ShardEntry]) -> None:
        if self._entries != entries[: len(self._entries)]:
            self._entries, self._shards, self._index = [], [], KeyIndex()
            self._starts = np.zeros(1, np.int64)
        for entry in entries[len(self._entries) :]:
            shard = Shard(self.folder, entry, self.encoder.dim)
            self._index.extend(shard.keys, int(self._starts[-1]))
            self._entries.append(entry)
            self._shards.append(shard)
            self._starts = np.append(self._starts, self._starts[-1] + entry.count)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = self.manifest_path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _paths(self, entry: ShardEntry) -> tuple[Path, Path]:
        return entry.paths(self.folder)

    # -- writing ---------------------------------------------------------------------------

    def _commit(self, texts: list[str], vectors: np.ndarray) -> None:
        if vectors.shape != (len(texts), self.encoder.dim):
            raise PgvError(
                f"Encoder '{self.encoder.name}' returned an array {vectors.shape} for "
                f"{len(texts)} texts; it says its width is {self.encoder.dim}."
            )
        bad = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(bad):
            raise PgvError(
                f"Encoder '{self.encoder.name}' gave a vector that is not finite for "
                f"{_shorten(texts[int(bad[0])])}; nothing of this chunk was stored."
            )
        keys = np.frombuffer(b"".join(map(self.key, texts)), np.uint8).reshape(-1, KEY_BYTES)
        with self._lock():
            self._refresh()
            known = self._index.find([key.tobytes() for key in keys]) >= 0
            if known.all():
                return
            entry = write_shard(self.folder, self._next_name(), keys[~known], vectors[~known])
            self._publish([*self._entries, entry])
            self._join_small()

    def _publish(self, entries: list[ShardEntry]) -> None:
        write_json(self.manifest_path, self._manifest(entries))
        self._open(entries)
        self._stamp = self._stat()

    def _join_small(self) -> None:
        """Join the trailing small shards into one once there are many of them."""
        small = 0
        while small < len(self._entries) and self._entries[-1 - small].count < _JOINED_TEXTS:
            small += 1
        joined = sum(entry.count for entry in self._entries[-small:]) if small else 0
        if small < 2 or (small < _JOIN_AT and joined < _JOINED_TEXTS):
            return
        old, shards = self._entries[-small:], self._shards[-small:]
        keys = np.concatenate([shard.keys for shard in shards])
        vectors = np.concatenate([shard.vectors for shard in shards])
        entry = write_shard(self.folder, self._next_name(), keys, vectors)
        self._publish([*self._entries[:-small], entry])
        for path in (path for gone in old for path in self._paths(gone)):
            path.unlink(missing_ok=True)

    def _next_name(self) -> str:
        """A name that no file here has: a crashed writer may have left a shard unnamed."""
        taken = {path.name.split(".")[0] for path in self.folder.glob("shard-*")}
        return f"shard-{max((int(name[6:]) for name in taken), default=-1) + 1:06d}"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._sweep()
            yield
        finally:
            os.close(handle)

    def _sweep(self) -> None:
        """Remove what a crashed writer left: temporary files and shards no manifest names."""
        named = {path.name for e in self._read_entries() for path in self._paths(e)}
        for path in [*self.folder.glob(f"{ASIDE}*"), *self.folder.glob("shard-*.npy")]:
            if path.name not in named:
                path.unlink(missing_ok=True)


def _chunks(encoder: Encoder, texts: list[str]) -> Iterator[list[str]]:
    """Texts that are encoded and committed together: ever the same for the same texts.

    An encoder may say what belongs together (``groups``). Otherwise similar lengths share a chunk,
    so that batches hold little padding; the longest first, so that what does not fit fails early.
    A chunk holds at least ``CHUNK_TEXTS`` texts, and more while they are short: an encoder says by
    ``chunk_characters`` how much makes full batches.
    """
    groups = getattr(encoder, "groups", None)
    if groups is None:
        grouped = [[text] for text in sorted(sorted(texts), key=len, reverse=True)]
    else:
        grouped = groups(texts)
    enough = getattr(encoder, "chunk_characters", _CHUNK_CHARACTERS)
    chunk: list[str] = []
    characters = 0
    for group in grouped:
        full = len(chunk) >= CHUNK_TEXTS and characters >= enough
        if chunk and (full or len(chunk) + len(group) > _MAX_CHUNK_TEXTS):
            yield chunk
            chunk, characters = [], 0
        chunk += group
        characters += max(map(len, group))  # a chain's last prefix holds the others
    if chunk:
        yield chunk


def _counter(tell: Callable[[int, int], None], done: int, count: int) -> Callable[[int], None]:
    """What an encoder calls with the number of texts that it has done since its last call."""

    def add(texts: int) -> None:
        nonlocal done
        done += texts
        tell(done, count)

    return add


COUNTED = ("truncated", "tokens", "empty", "lossy", "unknown")


def _counters(encoder: Encoder) -> dict[str, int]:
    stats = getattr(encoder, "stats", None)
    return {name: getattr(stats, name, 0) for name in COUNTED}


def _shorten(text: str, width: int = 60) -> str:
    return repr(text if len(text) <= width else text[: width - 3] + "...")
