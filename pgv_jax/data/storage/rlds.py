"""An Episode as an RLDS record and back: features, encoding, decoding. No TensorFlow.

An episode of T steps is T + 1 RLDS steps: the last one (``is_last``) carries the final
observation and, as RLDS has it, no valid action, reward or thought. ``reward`` stands at the step
whose action earned it, NaN where unknown; ``discount`` is 0 at the step that ended the task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from pgv_jax.data.storage.jsonl import candidate_to_json, candidates_from_json
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

EXACT = "pgv_jax.exact"
"""Reserved key of an episode's metadata: numbers that TFDS' float32 would round."""


def features() -> tfds.features.FeaturesDict:
    """Return the RLDS features of an episode."""
    f = tfds.features
    return f.FeaturesDict(
        {
            "steps": f.Dataset(
                {
                    "observation": f.Text(doc="What the agent saw, in words."),
                    "thought": f.Text(doc="The reasoning that the critic scores."),
                    "action": f.Text(doc="What went to the environment."),
                    "reward": f.Scalar(np.float32, doc="NaN where unknown."),
                    "discount": f.Scalar(np.float32),
                    "is_first": f.Scalar(np.bool_),
                    "is_last": f.Scalar(np.bool_),
                    "is_terminal": f.Scalar(np.bool_),
                    "candidates": f.Text(doc="JSON list of the thoughts that were proposed."),
                    "metadata": f.Text(doc="JSON object."),
                }
            ),
            "episode_metadata": {
                "episode_id": f.Text(),
                "task_id": f.Text(),
                "task": f.Text(),
                "success": f.Scalar(np.int8, doc="1, 0, or -1 for unknown."),
                "score": f.Scalar(np.float32, doc="In [0, 1], NaN where unknown."),
                "source": f.Text(),
                "metadata": f.Text(doc="JSON object."),
            },
        }
    )


def _single(number: float | None) -> float:
    return math.nan if number is None else number


def _survives(number: float | None) -> bool:
    with np.errstate(over="ignore"):
        return number is None or _shortest(np.float32(number)) == number


def _shortest(single: Any) -> float:
    """float32 -> the shortest decimal that rounds to it, so that 0.1 comes back as 0.1."""
    return float(str(np.float32(single)))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _row(
    observation: str, thought: str, action: str, reward: float | None, **extra: Any
) -> dict[str, Any]:
    row = {
        "observation": observation,
        "thought": thought,
        "action": action,
        "reward": _single(reward),
        "discount": 1.0,
        "is_first": False,
        "is_last": False,
        "is_terminal": False,
        "candidates": "[]",
        "metadata": "{}",
    }
    row.update(extra)
    return row


def to_record(episode: Episode, source: str) -> dict[str, Any]:
    """Return the nested example that ``features()`` encodes. The split is not part of it."""
    rows = [
        _row(
            step.observation,
            step.thought,
            step.action,
            step.reward,
            candidates=_dump([candidate_to_json(c) for c in step.candidates]),
            metadata=_dump(dict(step.metadata)),
        )
        for step in episode.steps
    ]
    rows[0]["is_first"] = True
    if episode.is_terminal:
        rows[-1]["discount"] = 0.0
    rows.append(
        _row(episode.final_observation, "", "", None, is_last=True, is_terminal=episode.is_terminal)
    )
    rows[-1]["discount"] = 0.0 if episode.is_terminal else 1.0
    metadata = dict(episode.metadata)
    exact: dict[str, Any] = {
        f"reward.{t}": step.reward
        for t, step in enumerate(episode.steps)
        if not _survives(step.reward)
    }
    if not _survives(episode.score):
        exact["score"] = episode.score
    if exact:
        metadata[EXACT] = exact
    return {
        "steps": rows,
        "episode_metadata": {
            "episode_id": episode.episode_id,
            "task_id": episode.task_id,
            "task": episode.task,
            "success": -1 if episode.success is None else int(episode.success),
            "score": _single(episode.score),
            "source": source,
            "metadata": _dump(metadata),
        },
    }


class RecordWriter:
    """Turns episodes into record bytes; equal episodes give equal bytes in every process."""

    def __init__(self) -> None:
        self.features = features()
        self._serializer = ExampleSerializer(self.features.get_serialized_info())

    def encode(self, episode: Episode, source: str) -> bytes:
        """Serialise one episode; text that UTF-8 cannot hold is a PgvError."""
        try:
            with np.errstate(over="ignore"):
                example = self._serializer.get_tf_example(
                    self.features.encode_example(to_record(episode, source))
                )
        except (TypeError, ValueError, RuntimeError) as error:  # TFDS wraps what it meets
            raise PgvError(
                f"Episode '{episode.episode_id}' cannot be stored: {str(error)[:200]}. Texts must "
                "be Unicode and metadata must be JSON values."
            ) from None
        # A protobuf map has no order of its own; without this flag bytes differ between runs.
        return bytes(example.SerializeToString(deterministic=True))


def _number(single: Any, exact: Mapping[str, Any], key: str) -> float | None:
    if key in exact:
        return float(exact[key])
    return None if np.isnan(single) else _shortest(single)


def from_record(record: Mapping[str, Any], split: str) -> Episode:
    """Rebuild an Episode from a record read with ``SkipDecoding`` on its steps."""
    steps, about = record["steps"], record["episode_metadata"]
    texts = {
        name: [value.decode() for value in steps[name]]
        for name in ("observation", "thought", "action", "candidates", "metadata")
    }
    count = len(texts["observation"]) - 1
    metadata = json.loads(about["metadata"])
    exact = metadata.pop(EXACT, {})
    success = int(about["success"])
    return Episode(
        episode_id=about["episode_id"].decode(),
        task_id=about["task_id"].decode(),
        task=about["task"].decode(),
        steps=tuple(
            Step(
                texts["observation"][t],
                texts["thought"][t],
                texts["action"][t],
                reward=_number(steps["reward"][t], exact, f"reward.{t}"),
                candidates=()
                if texts["candidates"][t] == "[]"
                else candidates_from_json(texts["candidates"][t]),
                metadata={} if texts["metadata"][t] == "{}" else json.loads(texts["metadata"][t]),
            )
            for t in range(count)
        ),
        final_observation=texts["observation"][count],
        success=None if success < 0 else bool(success),
        score=_number(about["score"], exact, "score"),
        is_terminal=bool(steps["is_terminal"][count]),
        split=split,
        metadata=metadata,
    )
