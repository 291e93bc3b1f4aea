"""RLDS datasets of TFDS: our own, and others whose observations and actions are text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.importers import identity
from pgv_jax.data.importers.base import (
    NO,
    BadRecord,
    Detection,
    Importer,
    Options,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.files.records import Record
from pgv_jax.data.importers.outcomes.outcome import Outcome, number, outcome_of, with_outcome
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

TASK_FEATURES = ("task", "language_instruction", "instruction")
TEXT_FEATURES = ("text", "observation", "language", "state", "instruction")
THOUGHT_FEATURES = ("thought", "reasoning", "rationale")


class RLDS(Importer):
    """A folder that TFDS can open (array_record files); ours are read back exactly."""

    name = "rlds"
    about = "an RLDS/TFDS folder in ArrayRecord format with text observations and actions"

    def detect(self, sample: Sample) -> Detection:
        """Sure of a folder with dataset_info.json and features.json."""
        if sample.kind == "tfds" and (sample.path / "features.json").exists():
            return Detection(1.0, "the folder has dataset_info.json and features.json")
        return NO

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield the episodes of all splits."""
        from pgv_jax.data import episodes as store

        if store.is_dataset(path):
            yield from store.read_episodes(path)
            return
        for index, (split, record) in enumerate(_records(path)):
            where = Where(path, index + 1, index)
            made = lambda r=record, w=where, s=split: [_episode(r, w, s, options)]  # noqa: E731
            yield from guarded(made, Record(repr(record)[:10_000], index + 1), where, options)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(path)
        sources = {split: builder.as_data_source(split) for split in builder.info.splits}
    except Exception as error:  # TFDS raises many kinds
        raise PgvError(
            f"{path} cannot be opened by TFDS without TensorFlow ({str(error)[:160]}). Convert it "
            "to the array_record format first."
        ) from error
    for split, source in sources.items():
        for i in range(len(source)):
            yield split, source[i]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _text(value: Any, names: tuple[str, ...], where: str) -> str:
    """The text of a feature, or of the named one among a dictionary's."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        for name in (*names, *value):
            if isinstance(value.get(name), str):
                return str(value[name])
    raise FieldError(where, "is not text; pgv_jax learns from words only")


def _episode(record: Any, where: Where, split: str, options: Options) -> Episode:
    rows = [_plain(step) for step in record["steps"]]
    if not rows:
        raise FieldError("steps", "is empty")
    about = _plain(record.get("episode_metadata", {}))
    steps: list[Step] = []
    for t, row in enumerate(rows):
        spot = f"steps[{t}]"
        if t == len(rows) - 1 and row.get("is_last"):
            break
        action = row.get("action")
        said = _text(action, TEXT_FEATURES, spot + ".action")
        thought = next((row[k] for k in THOUGHT_FEATURES if isinstance(row.get(k), str)), "")
        steps.append(
            Step(
                _text(row.get("observation"), TEXT_FEATURES, spot + ".observation"),
                thought or said,
                said,
                reward=number(row.get("reward")),
                metadata={"thought_from": "reasoning" if thought else "action"},
            )
        )
    last = rows[-1]
    ended = bool(last.get("is_terminal"))
    final = _text(last.get("observation"), TEXT_FEATURES, "steps[-1].observation")
    task = next(
        (t for s in (about, *rows) for k in TASK_FEATURES if isinstance(t := s.get(k), str)), ""
    )
    task_id, task = identity.name_task(about, task, options)
    outcome = outcome_of(about)
    earned = [step.reward for step in steps if step.reward is not None]
    if outcome == Outcome() and earned:
        outcome = Outcome(reward=sum(earned))
    episode = Episode(
        identity.name_episode(about, where, options),
        task_id,
        task,
        tuple(steps),
        final if last.get("is_last") else "",
        split=split if split in ("train", "val", "test") else None,
        metadata={"format": "rlds", "record": about, "split": split},
    )
    from dataclasses import replace

    return replace(with_outcome(episode, outcome), is_terminal=ended)
