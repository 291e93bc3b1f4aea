"""The table: memory-mapped arrays, the treaty between the data and the learner.

``TABLE/manifest.json``, what all shards share (``SHARED``) in ``TABLE/*.npy``, and for each logical
shard ``TABLE/shard-00000/*.npy``; rows of an episode of T steps are its T steps and its final
observation. See ``ARRAYS`` for the fields; a table for an objective that reads ``examples`` holds
those as well. Opening a table needs numpy only, but for bfloat16.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.data.examples import Examples
from pgv_jax.errors import PgvError
from pgv_jax.files import sha256_of

FORMAT = "pgv_jax.table"
VERSION = 2
DTYPES = ("float32", "bfloat16", "float16")

SHARED = (
    "tasks",  # [N, D] the distinct tasks of the whole table
    "mean",  # float32 [F, D] of each field's embeddings, in the order of types.FIELDS
    "scale",  # float32 [F] root mean square of an entry of the centred embeddings
)
PARTS = (
    "parts",  # [K, D] the known sentences, the most frequent first
    "task_parts",  # int32 [N, M] each task's sentences as rows of ``parts``, padded with -1
    "part_mean",  # float32 [2, D] mean over the distinct sentences of notes, of tasks
    "part_scale",  # float32 [1] root mean square of an entry of the centred sentences of notes
)
"""What all shards share in a table that was built with ``parts``, for the next-note model."""
PART_ARRAYS = (
    "part_start",  # int32 [R + 1] bounds into part_ids
    "part_ids",  # int32 [P] the own observation's known sentences as rows of ``parts``, in order
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
    part_start: np.ndarray | None = None
    part_ids: np.ndarray | None = None


@dataclass(frozen=True)
class Parts:
    """The known sentences of a table; see ``PARTS``."""

    parts: np.ndarray
    task_parts: np.ndarray
    part_mean: np.ndarray
    part_scale: np.ndarray


@dataclass(frozen=True)
class Table:
    """An opened table: ``manifest``, ``shards`` (one ``Shard`` a logical shard) and ``SHARED``."""

    folder: Path
    manifest: dict[str, Any]
    shards: tuple[Shard, ...]
    tasks: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    parts: Parts | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], verify: bool = True) -> Table:
        """Open a table; ``verify`` compares every file's SHA-256 with the manifest."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        if verify:
            _verify(folder, manifest["checksums"])

        def mapped(folder: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
            return {name: map_array(folder / f"{name}.npy", manifest["dtype"]) for name in names}

        shards = tuple(
            _open_shard(mapped, folder / shard_name(s), manifest) for s in range(manifest["shards"])
        )
        parts = Parts(**mapped(folder, PARTS)) if "parts" in manifest else None
        return cls(folder, manifest, shards, **mapped(folder, SHARED), parts=parts)

    def verify(self, shards: Iterable[int]) -> None:
        """Compare the files of some shards, and the shared ones, with the manifest's SHA-256."""
        own = {shard_name(s) for s in shards}
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
        if sha256_of(path) != known:
            raise PgvError(
                f"{path} is damaged: its SHA-256 is not the one in manifest.json. Remove "
                f"{folder} and build the table again."
            )


def _open_shard(
    mapped: Callable[[Path, Iterable[str]], dict[str, np.ndarray]],
    part: Path,
    manifest: Mapping[str, Any],
) -> Shard:
    arrays: dict[str, Any] = mapped(part, ARRAYS)
    if "parts" in manifest:
        arrays |= mapped(part, PART_ARRAYS)
    if "examples" not in manifest:
        return Shard(**arrays)
    told = mapped(part, [f"example_{name}" for name in Examples._fields])
    return Shard(**arrays, examples=Examples(*told.values()))


def shard_name(number: int) -> str:
    """The folder of a logical shard, within the table's."""
    return f"shard-{number:05d}"


def map_array(path: Path, dtype: str) -> np.ndarray:
    """Map a file; embeddings (floating or, for bfloat16, uint16 on disk) are seen as ``dtype``."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array.view(numpy_dtype(dtype)) if array.dtype == np.uint16 else array
    except FileNotFoundError:
        raise PgvError(f"{path} is missing from the table; build the table again.") from None
    except (OSError, ValueError, EOFError) as error:
        raise PgvError(
            f"{path} is damaged ({error}); remove the table and build it again."
        ) from None


def numpy_dtype(dtype: str) -> np.dtype:
    """The numpy type of one of ``DTYPES``."""
    if dtype != "bfloat16":
        return np.dtype(dtype)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A table's manifest; PgvError where there is none that this release reads."""
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
