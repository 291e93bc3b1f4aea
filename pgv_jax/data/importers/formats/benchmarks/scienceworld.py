"""ScienceWorld episodes as Retrospex keeps them: an object of episodes by number in each file.

An entry of ``history.history`` is an action and what it brought: the observation, the score so far
(-1 to 1; below 0 the task has failed) and whether the task is completed. The agent has no thoughts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.outcomes.outcome import Outcome, number, tristate, with_outcome
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode, Step


class ScienceWorld(RecordImporter):
    """Objects whose values have ``episodeIdx`` and a ``history`` of actions and scores."""

    name = "scienceworld"
    about = "ScienceWorld episodes (history.history of action, observation, score, isCompleted)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of objects of episodes with a task's description and a history of actions."""
        fitting = [record for record in sample.objects if _histories(record)]
        if not fitting or len(fitting) < len(sample.records):
            return NO
        return Detection(1.0, "the records hold episodes with history.history of actions")

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the episodes of a file's object, in its order."""
        if not isinstance(record, Mapping):
            raise FieldError("record", f"must be an object, not {kind_of(record)}")
        return [_episode(key, told, where) for key, told in record.items()]


def _histories(record: Mapping[str, Any]) -> bool:
    found = [value for value in record.values() if isinstance(value, Mapping)]
    return bool(found) and all(
        "episodeIdx" in value
        and isinstance(value.get("history"), Mapping)
        and "taskDescription" in value["history"]
        for value in found
    )


def _episode(key: str, told: Any, where: Where) -> Episode:
    history = told.get("history") if isinstance(told, Mapping) else None
    entries = history.get("history") if isinstance(history, Mapping) else None
    if not isinstance(history, Mapping) or not isinstance(entries, list) or not entries:
        raise FieldError(f"{key}.history.history", "must be a list of actions")
    # What the first action is chosen by is the room; of later ones, what the one before brought.
    seen = text_field(entries[0].get("freelook", ""), f"{key}.history.history[0].freelook")
    steps, before = [], 0.0
    for i, entry in enumerate(entries):
        name = f"{key}.history.history[{i}]"
        if not isinstance(entry, Mapping):
            raise FieldError(name, f"must be an object, not {kind_of(entry)}")
        score = number(entry.get("score"))
        if score is None:
            raise FieldError(f"{name}.score", f"is {entry.get('score')!r:.40}, not a number")
        action = text_field(entry.get("action"), f"{name}.action")
        facts = {"thought_from": "action", "inventory": entry.get("inventory", "")}
        steps.append(Step(seen, action, action, reward=score - before, metadata=facts))
        seen, before = text_field(entry.get("observation"), f"{name}.observation"), score
    done = tristate(entries[-1].get("isCompleted"))
    task, variation = history.get("taskName", history.get("taskIdx")), history.get("variationIdx")
    episode = Episode(
        episode_id=f"{where.path.stem}/{key}",
        task_id=f"{task}/{variation}",
        task=text_field(history.get("taskDescription"), f"{key}.history.taskDescription"),
        steps=tuple(steps),
        final_observation=seen,
        metadata={"format": "scienceworld", "simplifications": history.get("simplifications")},
    )
    # Neither completed nor failed (a score below 0): the log stopped before the task did.
    cut = not done and before >= 0
    return with_outcome(episode, Outcome(success=done, reward=before, cut=cut))
