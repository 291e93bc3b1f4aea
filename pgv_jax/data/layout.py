"""Laying out a table: episodes become rows, rows go to logical shards, shards become files.

What the files hold is told by ``table.ARRAYS``. A folder appears whole or not at all.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.data.examples import (
    Example,
    Examples,
    describe_examples,
    joined,
    numbered,
    write_examples,
)
from pgv_jax.data.known_parts import MOST_READ, KnownParts, known_parts
from pgv_jax.data.moments import field_moments
from pgv_jax.data.storage.array_files import Lookup, looked_up, save_array, write_looked_up
from pgv_jax.data.table import (
    ARRAYS,
    DTYPES,
    FORMAT,
    VERSION,
    Shard,
    Table,
    map_array,
    read_manifest,
    shard_name,
)
from pgv_jax.errors import PgvError
from pgv_jax.files import replace_folder, sha256_of
from pgv_jax.texts import templates as words
from pgv_jax.types import Episode

log = logging.getLogger(__name__)


def texts_of(
    episodes: Iterable[Episode],
    history: words.History,
    *,
    candidates: bool = False,
    parts: bool = False,
) -> list[str]:
    """Return the distinct texts that a table of ``episodes`` needs, in first-seen order.

    SUCCESS, FAILURE, tasks, observation fields, own observations, their sentences and thoughts;
    with ``candidates`` also the thoughts that were proposed, with ``parts`` the tasks' sentences.
    """
    seen: dict[str, None] = {words.SUCCESS: None, words.FAILURE: None}
    for episode in episodes:
        seen[episode.task] = None
        if parts:
            seen.update(dict.fromkeys(words.sentences(episode.task)))
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
    note_parts: list[list[int]] | None = None
    task_parts: list[int] | None = None


def _rows(
    episode: Episode,
    history: words.History,
    ids: dict[str, int],
    examples: Sequence[Example] | None,
    parts: bool = False,
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
    said = [[number(sentence) for sentence in words.sentences(text)] for text in notes]
    held = [sorted(set(row)) for row in said]
    task_parts = [number(sentence) for sentence in words.sentences(episode.task)] if parts else None
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
        [list(dict.fromkeys(row)) for row in said] if parts else None,
        task_parts,
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
    step: words.StepForm = "thought",
    encoder: Mapping[str, Any],
    data_fingerprint: str,
    dtype: str = "float32",
    examples: Sequence[Sequence[Example]] | None = None,
    parts: bool = False,
) -> Table:
    """Write the table of one split's episodes, atomically; reuse the folder if it is this table.

    ``lookup(texts) -> float32 [n, D]``; ``encoder`` is {name, fingerprint}. A folder with another
    table is replaced. Vectors go to disk ``LOOKUP_TEXTS`` at a time. ``examples`` are one list an
    episode, none of them empty. ``step`` says how the episodes are worded (``texts.worded``).
    ``parts``: what the next-note model reads as well (``PARTS``).
    """
    if dtype not in DTYPES:
        raise PgvError(f"Table dtype '{dtype}' is not supported; use one of {', '.join(DTYPES)}.")
    if shards < 1:
        raise PgvError(f"A table needs at least 1 shard, not {shards}.")
    folder = Path(folder)
    ids: dict[str, int] = {words.SUCCESS: 0, words.FAILURE: 1}
    rows = [
        _rows(episode, history, ids, None if examples is None else examples[k], parts)
        for k, episode in enumerate(episodes)
    ]
    if not rows:
        raise PgvError(f"The split '{split}' has no episodes, so there is no table to build.")
    lengths = [len(row.obs) - 1 for row in rows]
    dealt = _dealt(rows, lengths, shards)
    manifest = {
        **_texts_of(encoder, history, step),
        "format": FORMAT,
        "version": VERSION,
        "split": split,
        "shards": len(dealt),
        "dim": int(looked_up(lookup, [words.SUCCESS], None).shape[1]),
        "dtype": dtype,
        "episodes": len(rows),
        "steps": sum(lengths),
        "data_fingerprint": data_fingerprint,
    }
    if examples is not None:
        manifest["examples"] = describe_examples(examples)
    known = _known_parts(rows, split) if parts else None
    if known is not None:
        manifest["parts"] = known.describe()
    present = _present(folder, manifest)
    if present is not None:
        return present
    members_of = [[rows[k] for k in members] for members in dealt]
    _write_table(folder, manifest, members_of, ids, lookup, known)
    return Table.open(folder, verify=False)


def _dealt(rows: Sequence[_Rows], lengths: Sequence[int], shards: int) -> list[list[int]]:
    """Row numbers by shard; of each group of examples a shard has at least one episode."""
    groups = [0 if row.examples is None else int(row.examples.group[0]) for row in rows]
    least = min(groups.count(group) for group in set(groups))
    return shard_of_episodes(lengths, min(shards, least), groups)


def _texts_of(
    encoder: Mapping[str, Any], history: words.History, step: words.StepForm
) -> dict[str, Any]:
    """What a manifest says of the texts behind a table's vectors, and of who embedded them."""
    texts = {"history": history, "fingerprint": words.template_fingerprint(history, step)}
    return {
        "encoder": {key: encoder[key] for key in ("name", "fingerprint")},
        "texts": texts if step == "thought" else {**texts, "step": step},
    }


def _known_parts(rows: Sequence[_Rows], split: str) -> KnownParts:
    """The sentences that the next-note model knows; a warning counts those it does not read."""
    known = known_parts([(row.note_parts or [], row.task_parts or []) for row in rows])
    if known.unknown or known.unread:
        log.warning(
            "%s: of the notes' sentences %d are too rare to be known and %d stand past the "
            "%d-th of their note; the next-note model does not read them",
            *(split, known.unknown, known.unread, MOST_READ),
        )
    return known


def _write_table(
    folder: Path,
    manifest: dict[str, Any],
    dealt: list[list[_Rows]],
    ids: dict[str, int],
    lookup: Lookup,
    known: KnownParts | None,
) -> None:
    """Write all shards beside the folder, then put them in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    built = work / "table"
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        owner = path.name.split(".")[-2]
        if path == work or (owner.isdecimal() and not _runs(int(owner))):  # it was killed
            shutil.rmtree(path, ignore_errors=True)
    try:
        all_texts = list(ids)
        task_number: dict[int, int] = {}
        for rows in dealt:
            for row in rows:
                task_number.setdefault(row.task, len(task_number))

        def write_vectors(path: Path, texts: Sequence[int]) -> None:
            said = [all_texts[text] for text in texts]
            write_looked_up(path, said, lookup, manifest["dim"], manifest["dtype"])

        for s, rows in enumerate(dealt):
            part = built / shard_name(s)
            part.mkdir(parents=True)
            _write_shard(part, rows, task_number, write_vectors)
            if known is not None:
                start, numbers = known.numbered([row.note_parts or [] for row in rows])
                save_array(part / "part_start.npy", start)
                save_array(part / "part_ids.npy", numbers)
        write_vectors(built / "tasks.npy", list(task_number))
        _write_standards(built, manifest)
        if known is not None:
            write_vectors(built / "parts.npy", known.texts)
            vectors = map_array(built / "parts.npy", manifest["dtype"])
            mean, scale = known.moments(vectors)
            by_task = {row.task: row.task_parts or [] for rows in dealt for row in rows}
            save_array(built / "task_parts.npy", known.padded([by_task[t] for t in task_number]))
            save_array(built / "part_mean.npy", mean)
            save_array(built / "part_scale.npy", scale)
        checksums = {
            str(path.relative_to(built)): sha256_of(path) for path in sorted(built.rglob("*.npy"))
        }
        (built / "manifest.json").write_text(
            json.dumps({**manifest, "checksums": checksums}, indent=2, sort_keys=True) + "\n",
            "utf-8",
        )
        replace_folder(built, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _runs(process: int) -> bool:
    """Is there such a process on this machine?"""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True  # somebody else's
    except OSError:
        return False
    return True


def _present(folder: Path, manifest: dict[str, Any]) -> Table | None:
    """Return the folder's table if it is undamaged and has this manifest."""
    if not folder.exists():
        return None
    try:
        known = read_manifest(folder)
        known.pop("checksums", None)
        return Table.open(folder) if known == manifest else None
    except PgvError as error:
        if not (folder / "manifest.json").exists() and any(folder.iterdir()):
            raise PgvError(
                f"{folder} exists and is not a table; choose another folder or remove it."
            ) from None
        reason = str(error).partition(";")[0].partition(". ")[0]
        log.warning("%s is laid out again: %s", folder, reason.rstrip("."))
        return None


def _write_standards(folder: Path, manifest: dict[str, Any]) -> None:
    """``mean.npy`` and ``scale.npy``, from the arrays that lie in ``folder`` already."""
    dtype = manifest["dtype"]
    shards: list[dict[str, Any]] = [
        {name: map_array(folder / shard_name(s) / f"{name}.npy", dtype) for name in ARRAYS}
        for s in range(manifest["shards"])
    ]
    mean, scale = field_moments(
        [Shard(**shard) for shard in shards], map_array(folder / "tasks.npy", dtype)
    )
    save_array(folder / "mean.npy", mean)
    save_array(folder / "scale.npy", scale)


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
        save_array(part / f"{name}.npy", array.astype(np.int32))
    told = [row.examples for row in rows if row.examples is not None]
    if told:
        write_examples(part, joined(told, arrays["episode_start"][:-1], new_id))
    save_array(part / "episode_success.npy", np.asarray([row.success for row in rows], np.int8))
    save_array(part / "episode_terminal.npy", np.asarray([row.terminal for row in rows], np.int8))
