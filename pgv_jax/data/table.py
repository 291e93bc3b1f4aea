"""The table: memory-mapped arrays, the treaty between the data and the learner.

``TABLE/manifest.json``, what all shards share (``SHARED``) in ``TABLE/*.npy``, and for each logical
shard ``TABLE/shard-00000/*.npy``; rows of an episode of T steps are its T steps and its final
observation. See ``ARRAYS`` for the fields; a table for an objective that reads ``examples`` holds
those as well. Opening a table needs numpy only, but for bfloat16.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.data import texts as words
from pgv_jax.data.examples import (
    Example,
    Examples,
    describe_examples,
    joined,
    numbered,
    write_examples,
)
from pgv_jax.data.standards import field_standards
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

log = logging.getLogger(__name__)

FORMAT = "pgv_jax.table"
VERSION = 2
DTYPES = ("float32", "bfloat16", "float16")
LOOKUP_TEXTS = 4096
"""Texts looked up at a time, so that a shard's vectors are never in memory as a whole."""

SHARED = (
    "tasks",  # [N, D] the distinct tasks of the whole table
    "mean",  # float32 [F, D] of each field's embeddings, in the order of types.FIELDS
    "scale",  # float32 [F] root mean square of an entry of the centred embeddings
)
ARRAYS = (
    "vectors",  # [U, D] distinct texts of the shard; row 0 is SUCCESS, row 1 is FAILURE
    "row_obs",  # int32 [R] text of the observation field (with history)
    "row_note",  # int32 [R] text of the step's own observation, whole
    "row_thought",  # int32 [R] text of the thought, -1 at final rows
    "row_episode",  # int32 [R] the row's episode within the shard
    "sentence_start",  # int32 [R + 1] bounds into sentence_ids
    "sentence_ids",  # int32 [M] texts of the own observation's sentences, ascending, distinct
    "episode_start",  # int32 [K + 1] row bounds
    "episode_task",  # int32 [K] the task's number in ``tasks``
    "episode_success",  # int8 [K] 1, 0, -1 unknown
    "episode_terminal",  # int8 [K]
)

Lookup = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Shard:
    """One logical shard's arrays, memory-mapped and read-only; see ``ARRAYS``."""

    vectors: np.ndarray
    row_obs: np.ndarray
    row_note: np.ndarray
    row_thought: np.ndarray
    row_episode: np.ndarray
    sentence_start: np.ndarray
    sentence_ids: np.ndarray
    episode_start: np.ndarray
    episode_task: np.ndarray
    episode_success: np.ndarray
    episode_terminal: np.ndarray
    examples: Examples | None = None


@dataclass(frozen=True)
class Table:
    """An opened table: ``manifest``, ``shards`` (one ``Shard`` a logical shard) and ``SHARED``."""

    folder: Path
    manifest: dict[str, Any]
    shards: tuple[Shard, ...]
    tasks: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def open(cls, folder: str | os.PathLike[str], verify: bool = True) -> Table:
        """Open a table; ``verify`` compares every file's SHA-256 with the manifest."""
        folder = Path(folder)
        manifest = _read_manifest(folder)
        if verify:
            _verify(folder, manifest["checksums"])

        def mapped(folder: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
            return {name: _map(folder / f"{name}.npy", manifest["dtype"]) for name in names}

        shards = tuple(
            _open_shard(mapped, folder / _shard_name(s), "examples" in manifest)
            for s in range(manifest["shards"])
        )
        return cls(folder, manifest, shards, **mapped(folder, SHARED))

    def verify(self, shards: Iterable[int]) -> None:
        """Compare the files of some shards, and the shared ones, with the manifest's SHA-256."""
        own = {_shard_name(s) for s in shards}
        checksums = self.manifest["checksums"]
        # ``.npy`` files stand at the top or in a shard's folder.
        wanted = {
            path: known
            for path, known in checksums.items()
            if "/" not in path or path.partition("/")[0] in own
        }
        _verify(self.folder, wanted)


def _verify(folder: Path, checksums: Mapping[str, str]) -> None:
    for relative, known in checksums.items():
        path = folder / relative
        if not path.exists():
            raise PgvError(f"{path} is missing from the table; build the table again.")
        if _sha256(path) != known:
            raise PgvError(
                f"{path} is damaged: its SHA-256 is not the one in manifest.json. Remove "
                f"{folder} and build the table again."
            )


def _open_shard(
    mapped: Callable[[Path, Iterable[str]], dict[str, np.ndarray]], part: Path, with_examples: bool
) -> Shard:
    arrays: dict[str, Any] = mapped(part, ARRAYS)
    if not with_examples:
        return Shard(**arrays)
    told = mapped(part, [f"example_{name}" for name in Examples._fields])
    return Shard(**arrays, examples=Examples(*told.values()))


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _map(path: Path, dtype: str) -> np.ndarray:
    """Map a file; embeddings (floating or, for bfloat16, uint16 on disk) are seen as ``dtype``."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array.view(_numpy_dtype(dtype)) if array.dtype == np.uint16 else array
    except FileNotFoundError:
        raise PgvError(f"{path} is missing from the table; build the table again.") from None
    except (OSError, ValueError, EOFError) as error:
        raise PgvError(
            f"{path} is damaged ({error}); remove the table and build it again."
        ) from None


def _numpy_dtype(dtype: str) -> np.dtype:
    if dtype != "bfloat16":
        return np.dtype(dtype)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def _new_vectors(path: Path, dtype: str, shape: tuple[int, int]) -> np.ndarray:
    """A new file of embeddings, mapped. numpy's format has no name for bfloat16: its bits go in."""
    on_disk = np.dtype(np.uint16) if dtype == "bfloat16" else np.dtype(dtype)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=on_disk, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and no crash at a page later
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array.view(_numpy_dtype(dtype))


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PgvError(f"{folder} is not a table: it has no manifest.json.") from None
    except (OSError, ValueError) as error:
        raise PgvError(f"{path} is damaged ({error}); build the table again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise PgvError(f"{path} is not the manifest of a table; build the table again.")
    if manifest.get("version") != VERSION:
        raise PgvError(
            f"{folder} is a table of version {manifest.get('version')}; this release reads "
            f"version {VERSION}. Build the table again."
        )
    return manifest


def texts_of(
    episodes: Iterable[Episode], history: words.History, *, candidates: bool = False
) -> list[str]:
    """Return the distinct texts that a table of ``episodes`` needs, in first-seen order.

    SUCCESS, FAILURE, tasks, observation fields, own observations, their sentences and thoughts;
    with ``candidates`` also the thoughts that were proposed.
    """
    seen: dict[str, None] = {words.SUCCESS: None, words.FAILURE: None}
    for episode in episodes:
        seen[episode.task] = None
        for t in range(len(episode.steps) + 1):
            note = words.own_observation(episode, t)
            observed = words.observation_text(episode, t, history)
            seen[observed] = None
            seen[note] = None
            for sentence in words.sentences(note):
                seen[sentence] = None
            if t < len(episode.steps):
                step = episode.steps[t]
                offered = [c.thought for c in step.candidates] if candidates else []
                for thought in (step.thought, *offered):
                    seen[words.thought_text(observed, thought, history)] = None
    return list(seen)


@dataclass(frozen=True)
class _Rows:
    """An episode as text ids over the whole table: one int32 array a field."""

    task: int
    obs: np.ndarray
    note: np.ndarray
    thought: np.ndarray
    sentence_start: np.ndarray
    sentence_ids: np.ndarray
    success: int
    terminal: int
    examples: Examples | None


def _rows(
    episode: Episode,
    history: words.History,
    ids: dict[str, int],
    examples: Sequence[Example] | None,
) -> _Rows:
    def number(text: str) -> int:
        return ids.setdefault(text, len(ids))

    count = len(episode.steps)
    notes = [words.own_observation(episode, t) for t in range(count + 1)]
    task = number(episode.task)
    observed = [words.observation_text(episode, t, history) for t in range(count + 1)]
    obs = [number(text) for text in observed]
    note = [number(text) for text in notes]
    thought = [
        number(words.thought_text(text, step.thought, history))
        for text, step in zip(observed, episode.steps, strict=False)
    ] + [-1]
    held = [sorted({number(sentence) for sentence in words.sentences(text)}) for text in notes]
    return _Rows(
        task,
        np.asarray(obs, np.int32),
        np.asarray(note, np.int32),
        np.asarray(thought, np.int32),
        np.cumsum([0, *(len(row) for row in held)], dtype=np.int32),
        np.asarray([text for row in held for text in row], np.int32),
        -1 if episode.success is None else int(episode.success),
        int(episode.is_terminal),
        None if examples is None else numbered(examples, number),
    )


def shard_of_episodes(
    lengths: Sequence[int], shards: int, groups: Sequence[int] | None = None
) -> list[list[int]]:
    """Deal episodes to shards, longest first to the lightest; each shard lists them ascending.

    Each of the ``groups`` is dealt by itself, so that a shard gets its part of all of them.
    """
    dealt: list[list[int]] = [[] for _ in range(shards)]
    groups = groups or [0] * len(lengths)
    for group in sorted(set(groups)):
        loads = [(0, s) for s in range(shards)]
        members = [k for k in range(len(lengths)) if groups[k] == group]
        for episode in sorted(members, key=lambda k: (-lengths[k], k)):
            load, s = heapq.heappop(loads)
            dealt[s].append(episode)
            heapq.heappush(loads, (load + lengths[episode], s))
    return [sorted(members) for members in dealt]


def shards_for(asked: int, episodes: int) -> int:
    """The most shards, of the divisors of ``asked``, that each get an episode."""
    shards = max(n for n in range(1, asked + 1) if asked % n == 0 and n <= max(episodes, 1))
    if shards < asked:
        log.info("%d episodes go to %d logical shards instead of %d", episodes, shards, asked)
    return shards


def build_table(
    folder: str | os.PathLike[str],
    episodes: Iterable[Episode],
    lookup: Lookup,
    *,
    split: str,
    shards: int,
    history: words.History,
    encoder: Mapping[str, Any],
    data_fingerprint: str,
    dtype: str = "float32",
    examples: Sequence[Sequence[Example]] | None = None,
) -> Table:
    """Write the table of one split's episodes, atomically; reuse the folder if it is this table.

    ``lookup(texts) -> float32 [n, D]``; ``encoder`` is {name, fingerprint}. A folder with another
    table is replaced. Vectors go to disk ``LOOKUP_TEXTS`` at a time. ``examples`` are one list an
    episode, none of them empty.
    """
    if dtype not in DTYPES:
        raise PgvError(f"Table dtype '{dtype}' is not supported; use one of {', '.join(DTYPES)}.")
    if shards < 1:
        raise PgvError(f"A table needs at least 1 shard, not {shards}.")
    folder = Path(folder)
    ids: dict[str, int] = {words.SUCCESS: 0, words.FAILURE: 1}
    rows = [
        _rows(episode, history, ids, None if examples is None else examples[k])
        for k, episode in enumerate(episodes)
    ]
    if not rows:
        raise PgvError(f"The split '{split}' has no episodes, so there is no table to build.")
    groups = [0 if row.examples is None else int(row.examples.group[0]) for row in rows]
    least = min(groups.count(group) for group in set(groups))
    lengths = [len(row.obs) - 1 for row in rows]
    dealt = shard_of_episodes(lengths, min(shards, least), groups)
    dim = int(_vectors(lookup, [words.SUCCESS], None).shape[1])
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "split": split,
        "shards": len(dealt),
        "dim": dim,
        "dtype": dtype,
        "episodes": len(rows),
        "steps": sum(len(row.obs) - 1 for row in rows),
        "encoder": {key: encoder[key] for key in ("name", "fingerprint")},
        "texts": {"history": history, "fingerprint": words.template_fingerprint(history)},
        "data_fingerprint": data_fingerprint,
    }
    if examples is not None:
        manifest["examples"] = describe_examples(examples)
    present = _present(folder, manifest)
    if present is not None:
        return present
    _write_table(folder, manifest, [[rows[k] for k in members] for members in dealt], ids, lookup)
    return Table.open(folder, verify=False)


def _write_table(
    folder: Path,
    manifest: dict[str, Any],
    dealt: list[list[_Rows]],
    ids: dict[str, int],
    lookup: Lookup,
) -> None:
    """Write all shards beside the folder, then put them in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        all_texts = list(ids)
        task_number: dict[int, int] = {}
        for rows in dealt:
            for row in rows:
                task_number.setdefault(row.task, len(task_number))

        def write_vectors(path: Path, texts: Sequence[int]) -> None:
            said = [all_texts[text] for text in texts]
            _write_vectors(path, said, lookup, manifest["dim"], manifest["dtype"])

        for s, rows in enumerate(dealt):
            part = temporary / _shard_name(s)
            part.mkdir(parents=True)
            _write_shard(part, rows, task_number, write_vectors)
        write_vectors(temporary / "tasks.npy", list(task_number))
        _write_standards(temporary, manifest)
        checksums = {
            str(path.relative_to(temporary)): _sha256(path)
            for path in sorted(temporary.rglob("*.npy"))
        }
        (temporary / "manifest.json").write_text(
            json.dumps({**manifest, "checksums": checksums}, indent=2, sort_keys=True) + "\n",
            "utf-8",
        )
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _present(folder: Path, manifest: dict[str, Any]) -> Table | None:
    """Return the folder's table if it is undamaged and has this manifest."""
    if not folder.exists():
        return None
    try:
        known = _read_manifest(folder)
        known.pop("checksums", None)
        return Table.open(folder) if known == manifest else None
    except PgvError:
        if not (folder / "manifest.json").exists() and any(folder.iterdir()):
            raise PgvError(
                f"{folder} exists and is not a table; choose another folder or remove it."
            ) from None
        return None


def _vectors(lookup: Lookup, texts: Sequence[str], dim: int | None) -> np.ndarray:
    vectors = np.asarray(lookup(texts))
    expected = (len(texts), dim if dim is not None else vectors.shape[-1])
    if vectors.shape != expected:
        raise PgvError(
            f"The lookup of {len(texts)} texts returned an array of shape {vectors.shape}; "
            f"{expected} was expected."
        )
    if not np.isfinite(vectors).all():
        raise PgvError("The lookup returned a vector that is not finite; embed the texts again.")
    return vectors


def _write_vectors(path: Path, texts: Sequence[str], lookup: Lookup, dim: int, dtype: str) -> None:
    vectors = _new_vectors(path, dtype, (len(texts), dim))
    for start in range(0, len(texts), LOOKUP_TEXTS):
        piece = texts[start : start + LOOKUP_TEXTS]
        vectors[start : start + len(piece)] = _vectors(lookup, piece, dim)


def _write_standards(folder: Path, manifest: dict[str, Any]) -> None:
    """``mean.npy`` and ``scale.npy``, from the arrays that lie in ``folder`` already."""
    dtype = manifest["dtype"]
    shards: list[dict[str, Any]] = [
        {name: _map(folder / _shard_name(s) / f"{name}.npy", dtype) for name in ARRAYS}
        for s in range(manifest["shards"])
    ]
    mean, scale = field_standards(
        [Shard(**shard) for shard in shards], _map(folder / "tasks.npy", dtype)
    )
    _save(folder / "mean.npy", mean)
    _save(folder / "scale.npy", scale)


def _save(path: Path, array: np.ndarray) -> None:
    """As np.save, which does not say that a disk is full."""
    content = io.BytesIO()
    np.save(content, array)
    path.write_bytes(content.getbuffer())


def _write_shard(
    part: Path,
    rows: list[_Rows],
    task_number: Mapping[int, int],
    write_vectors: Callable[[Path, Sequence[int]], None],
) -> None:
    local: dict[int, int] = {0: 0, 1: 1}
    for row in rows:
        for text in (*row.obs, *row.note, *row.thought[:-1], *row.sentence_ids):
            local.setdefault(int(text), len(local))
        if row.examples is not None:
            named = (row.examples.thought, row.examples.goal, row.examples.other)
            for text in np.unique(np.concatenate(named)):
                if text >= 0:
                    local.setdefault(int(text), len(local))
    table_ids = np.fromiter(local, np.int32, len(local))
    new_id = np.full(max(local) + 1, -1, np.int32)
    new_id[table_ids] = np.arange(len(local), dtype=np.int32)

    write_vectors(part / "vectors.npy", list(local))
    lengths = np.asarray([len(row.obs) for row in rows])
    sentence_rows, starts, offset = [], [np.zeros(1, np.int32)], 0
    for row in rows:
        renamed = new_id[row.sentence_ids]
        for a, b in zip(row.sentence_start[:-1], row.sentence_start[1:], strict=True):
            sentence_rows.append(np.sort(renamed[a:b]))
        starts.append(row.sentence_start[1:] + offset)
        offset += len(row.sentence_ids)
    thought = np.concatenate([row.thought for row in rows])
    arrays = {
        "row_obs": new_id[np.concatenate([row.obs for row in rows])],
        "row_note": new_id[np.concatenate([row.note for row in rows])],
        "row_thought": np.where(thought < 0, -1, new_id[np.maximum(thought, 0)]),
        "row_episode": np.repeat(np.arange(len(rows)), lengths),
        "sentence_start": np.concatenate(starts),
        "sentence_ids": np.concatenate(sentence_rows),
        "episode_start": np.concatenate([[0], np.cumsum(lengths)]),
        "episode_task": np.asarray([task_number[row.task] for row in rows]),
    }
    for name, array in arrays.items():
        _save(part / f"{name}.npy", array.astype(np.int32))
    told = [row.examples for row in rows if row.examples is not None]
    if told:
        write_examples(part, joined(told, arrays["episode_start"][:-1], new_id))
    _save(part / "episode_success.npy", np.asarray([row.success for row in rows], np.int8))
    _save(part / "episode_terminal.npy", np.asarray([row.terminal for row in rows], np.int8))
