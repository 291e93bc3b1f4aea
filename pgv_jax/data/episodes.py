"""The store: episodes as an RLDS dataset over TFDS, in ArrayRecord files, without TensorFlow.

``tfds.builder_from_directory(DATASET)`` opens the folder as it is. Writing goes in two passes,
because the split of a task depends on all tasks: records are spooled in committed parts, then
copied into the files of their splits, and the finished folder is renamed into place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from pgv_jax.data.splits import HELD_OUT, SPLITS, alike, assign_splits, equal_texts
from pgv_jax.data.storage.rlds import RecordWriter, features, from_record
from pgv_jax.data.storage.spool import Entry, Spool
from pgv_jax.errors import PgvError
from pgv_jax.files import replace_folder, restore_folder, sha256_of
from pgv_jax.types import Episode

FORMAT = "pgv_jax.episodes"
VERSION = 1
NAME = "episodes"
SHARD_BYTES = 64 << 20
"""A split's files hold about this many record bytes each."""
KEEP = "embeddings"
"""The one subfolder of a dataset that survives when the dataset is replaced."""


@dataclass(frozen=True)
class DatasetSummary:
    """What ``write_dataset`` wrote; ``splits`` maps a name to its episodes, steps and tasks."""

    folder: Path
    splits: dict[str, dict[str, int]]
    episodes: int
    steps: int
    tasks: int
    fingerprint: str
    source: str
    licence: str
    reused: bool = False
    near: int = 0
    """Tasks whose texts are nearly another's and that share its split."""
    crossing: int = 0
    """Tasks whose texts are nearly another's and that the log put into another split."""
    equal: int = 0
    """Tasks whose text stands under another id, too; where there are any, none are grouped."""


def write_dataset(
    folder: str | os.PathLike[str],
    episodes: Iterable[Episode],
    *,
    source: str = "",
    licence: str = "",
    overwrite: bool = False,
    resume_key: str | None = None,
    progress: Callable[[int], None] | None = None,
    held_out: float = HELD_OUT,
    dealt: Mapping[str, str] | None = None,
) -> DatasetSummary:
    """Write episodes as an RLDS dataset: deterministic bytes, atomic, flat in memory.

    A folder that already holds the same data is left as it is (``reused``); one that holds other
    data is an error unless ``overwrite`` (its embeddings are kept: they are keyed by content).
    ``resume_key`` names the work (inputs and options): an interrupted call with the same key
    continues behind its last committed part, so the iterable must be the same again.
    ``progress(n)`` is told the number of steps of each episode as it is stored. ``held_out`` is
    the share of tasks without a split that choose, and as many judge; ``dealt`` are the splits
    that tasks keep (``assign_splits``).
    """
    folder = Path(folder)
    if folder.exists() and not is_dataset(folder) and any(folder.iterdir()):
        raise PgvError(
            f"{folder} exists and is not a dataset of pgv_jax; choose another --out or remove it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.partial"
    restore_folder(partial, folder)
    spool = Spool(partial, resume_key)
    try:
        _fill(spool, episodes, source, progress)
        tasks = splits_of(spool.entries(), held_out, dealt)
        summary = _finish(spool, folder, source, licence, overwrite, tasks)
    except BaseException as error:
        # An interruption may be resumed; wrong input must change first, and with it the key.
        if resume_key is None or isinstance(error, PgvError):
            spool.remove()
        raise
    spool.remove()
    return summary


def _fill(
    spool: Spool, episodes: Iterable[Episode], source: str, progress: Callable[[int], None] | None
) -> None:
    writer = RecordWriter()
    seen: set[bytes] = set()
    for index, episode in enumerate(episodes):
        if not episode.steps:
            raise PgvError(
                f"Episode '{episode.episode_id}' has no steps; an episode needs at least one. "
                "Leave it out."
            )
        key = hashlib.sha256(episode.episode_id.encode("utf-8", "surrogatepass")).digest()[:16]
        if key in seen:
            raise PgvError(
                f"Episode id '{episode.episode_id}' occurs twice; ids must differ within a "
                "dataset. Rename one, or leave the duplicate out."
            )
        seen.add(key)
        if episode.split is not None and episode.split not in SPLITS:
            raise PgvError(
                f"Episode '{episode.episode_id}' has split '{episode.split}'; use train, val or "
                "test, or none to have it chosen by task."
            )
        if index >= spool.committed:
            spool.add(episode, writer.encode(episode, source))
        if progress is not None:
            progress(len(episode.steps))
    spool.commit()
    if not seen:
        raise PgvError("There are no episodes to write; the input was empty or all was skipped.")
    if len(seen) != spool.committed:
        raise PgvError(
            f"The interrupted work in {spool.folder} holds {spool.committed} episodes, but the "
            f"input now gives {len(seen)}; remove that folder and start again."
        )


def _finish(
    spool: Spool,
    folder: Path,
    source: str,
    licence: str,
    overwrite: bool,
    tasks: TaskSplits,
) -> DatasetSummary:
    entries = list(spool.entries())
    assigned, near, crossing, equal = tasks
    by_split = {
        split: [entry for entry in entries if assigned[entry.task_id] == split] for split in SPLITS
    }
    digest = hashlib.sha256(f"{FORMAT} {VERSION}".encode())
    for split, members in by_split.items():
        for entry in members:
            digest.update(f"\n{split} {entry.sha256}".encode())
    total = _counts(entries)
    summary = DatasetSummary(
        folder=folder,
        splits={split: _counts(members) for split, members in by_split.items() if members},
        episodes=total["episodes"],
        steps=total["steps"],
        tasks=total["tasks"],
        fingerprint=digest.hexdigest(),
        source=source,
        licence=licence,
        near=near,
        crossing=crossing,
        equal=equal,
    )
    if is_dataset(folder):
        present = dataset_info(folder)
        same = {key: present[key] for key in ("fingerprint", "source", "licence")}
        if same == {"fingerprint": summary.fingerprint, "source": source, "licence": licence}:
            return DatasetSummary(**{**vars(summary), "reused": True})
        if not overwrite:
            raise PgvError(
                f"{folder} already holds another dataset (fingerprint "
                f"{present['fingerprint'][:12]}, this one is {summary.fingerprint[:12]}); choose "
                "another --out, or overwrite it."
            )
    built = _write_files(spool, by_split, summary)
    replace_folder(built, folder, keep=KEEP)
    return summary


class TaskSplits(NamedTuple):
    """Each task's split, and the counts of ``DatasetSummary``."""

    assigned: dict[str, str]
    near: int
    crossing: int
    equal: int


def splits_of(
    entries: Iterable[Entry], held_out: float = HELD_OUT, dealt: Mapping[str, str] | None = None
) -> TaskSplits:
    """Deal the tasks to splits, those that are nearly the same together, and count these."""
    entries = list(entries)
    texts: dict[str, str] = {}
    for entry in entries:
        texts[entry.task_id] = texts.get(entry.task_id) or entry.task
    groups = alike(texts)
    pairs = ((entry.task_id, entry.split) for entry in entries)
    assigned = assign_splits(pairs, groups, held_out, dealt)
    sizes = Counter(groups.values())
    splits: dict[str, set[str]] = defaultdict(set)
    for task_id, group in groups.items():
        splits[group].add(assigned[task_id])
    near, crossing = (
        sum(size for group, size in sizes.items() if size > 1 and (len(splits[group]) > 1) == apart)
        for apart in (False, True)
    )
    return TaskSplits(assigned, near, crossing, equal_texts(texts))


def _counts(entries: list[Entry]) -> dict[str, int]:
    return {
        "episodes": len(entries),
        "steps": sum(entry.steps for entry in entries),
        "tasks": len({entry.task_id for entry in entries}),
    }


def _write_files(spool: Spool, by_split: dict[str, list[Entry]], summary: DatasetSummary) -> Path:
    built = spool.folder / "dataset"
    built.mkdir(exist_ok=True)
    infos, files = [], {}
    for split, members in by_split.items():
        if not members:
            continue
        groups = _groups(members)
        template = tfds.core.ShardedFileTemplate(
            data_dir=built, dataset_name=NAME, split=split, filetype_suffix="array_record"
        )
        for number, group in enumerate(groups):
            path = Path(template.sharded_filepath(shard_index=number, num_shards=len(groups)))
            spool.copy(group, path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(group) for group in groups],
                num_bytes=sum(entry.bytes for entry in members),
                filename_template=template,
            )
        )
    about = {
        "format": FORMAT,
        "format_version": VERSION,
        "fingerprint": summary.fingerprint,
        "source": summary.source,
        "licence": summary.licence,
        "splits": summary.splits,
        "tasks": summary.tasks,
        "files": files,
    }
    info = tfds.core.DatasetInfo(
        builder=DatasetIdentity(
            name=NAME, version=tfds.core.Version("1.0.0"), data_dir=str(built), module_name=""
        ),
        description="Agent logs as episodes of steps (RLDS), written by pgv_jax.",
        features=features(),
        license=summary.licence or None,
        metadata=tfds.core.MetadataDict(about),
    )
    info.set_file_format("array_record")
    info.set_splits(tfds.core.SplitDict(infos))
    info.write_to_directory(built)
    return built


def _groups(members: list[Entry]) -> list[list[Entry]]:
    groups: list[list[Entry]] = [[]]
    size = 0
    for entry in members:
        if groups[-1] and size + entry.bytes > SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += entry.bytes
    return groups


def is_dataset(folder: Path) -> bool:
    """True if ``write_dataset`` made this folder."""
    try:
        about = json.loads((folder / "metadata.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("format") == FORMAT


def dataset_info(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return fingerprint, source, licence, tasks, files and ``splits`` (episodes, steps, tasks)."""
    folder = Path(folder)
    if not is_dataset(folder):
        raise PgvError(
            f"{folder} is not a dataset of pgv_jax"
            + ("; " if folder.exists() else " (it does not exist); ")
            + "make one from logs with: pgv import FILE --out DATASET."
        )
    about: dict[str, Any] = json.loads((folder / "metadata.json").read_text("utf-8"))
    if about["format_version"] != VERSION:
        raise PgvError(
            f"{folder} is a dataset of format version {about['format_version']}; this release "
            f"reads version {VERSION}. Import the logs again."
        )
    about["episodes"] = sum(split["episodes"] for split in about["splits"].values())
    about["steps"] = sum(split["steps"] for split in about["splits"].values())
    return about


def check_files(folder: str | os.PathLike[str], *, hashes: bool = False) -> None:
    """Compare the sizes (and with ``hashes`` the SHA-256) of a dataset's files with its record."""
    folder = Path(folder)
    for name, known in dataset_info(folder)["files"].items():
        path = folder / name
        if not path.exists():
            raise PgvError(f"{path} is missing from the dataset; import the logs again.")
        size = path.stat().st_size
        if size != known["bytes"]:
            raise PgvError(
                f"{path} has {size} bytes, but {known['bytes']} were written: it is damaged. "
                "Copy it again or import the logs again."
            )
        if hashes and sha256_of(path) != known["sha256"]:
            raise PgvError(
                f"{path} differs from what was written (its SHA-256 does not match); copy it "
                "again or import the logs again."
            )


def read_episodes(folder: str | os.PathLike[str], split: str | None = None) -> Iterator[Episode]:
    """Yield the episodes of a split, or of all splits (train, val, test), in stored order."""
    folder = Path(folder)
    present = [name for name in SPLITS if name in dataset_info(folder)["splits"]]
    if split is not None and split not in present:
        raise PgvError(
            f"Dataset {folder} has no split '{split}'; it has {', '.join(present)}. Splits are "
            f"made by task, and fewer than 5 tasks all train."
        )
    check_files(folder)
    return _records(folder, present if split is None else [split])


def task_splits(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The split of each task of a dataset."""
    found: dict[str, str] = {}
    for split in dataset_info(folder)["splits"]:
        found |= dict.fromkeys((episode.task_id for episode in read_episodes(folder, split)), split)
    return found


def _records(folder: Path, names: list[str]) -> Iterator[Episode]:
    builder = tfds.builder_from_directory(folder)
    for name in names:
        source = builder.as_data_source(name, decoders={"steps": tfds.decode.SkipDecoding()})
        for index in range(len(source)):
            try:
                record = source[index]
            except Exception as error:  # the C++ reader raises what it likes
                raise PgvError(
                    f"Episode {index} of split '{name}' in {folder} cannot be read "
                    f"({str(error)[:120]}); the dataset is damaged. Import the logs again."
                ) from error
            yield from_record(record, name)
