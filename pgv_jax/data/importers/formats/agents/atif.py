"""ATIF, the Agent Trajectory Interchange Format (read: versions 1.0 to 1.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.conversation.content import read_content, result_of
from pgv_jax.data.importers.conversation.messages import usage_of
from pgv_jax.data.importers.conversation.pieces import Reasoning, call_of
from pgv_jax.data.importers.conversation.steps import episode_of
from pgv_jax.data.importers.conversation.turns import Turn, turns_of_pieces
from pgv_jax.data.importers.identity import leftover
from pgv_jax.data.importers.outcomes.outcome import number
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode

SOURCES = {"system": "system", "user": "user", "agent": "assistant"}


class ATIF(RecordImporter):
    """One trajectory a record: ``schema_version`` ATIF-v1.x and ``steps``."""

    name = "atif"
    about = "ATIF v1.x trajectories (JSON or JSONL)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of a schema_version that says ATIF."""
        for record in sample.objects:
            version = record.get("schema_version")
            if isinstance(version, str) and version.startswith("ATIF"):
                return Detection(1.0, f"schema_version is {version}")
            if isinstance(record.get("agent"), Mapping) and isinstance(record.get("steps"), list):
                return Detection(0.6, "there is an agent and a list of steps, but no version")
        return NO

    def _turns(self, record: Any, options: Options) -> list[Turn]:
        if not isinstance(record, Mapping):
            raise FieldError("trajectory", f"must be an object, not {kind_of(record)}")
        steps = record.get("steps")
        if not isinstance(steps, list):
            raise FieldError("steps", f"must be a list, not {kind_of(steps)}")
        out: list[Turn] = []
        for i, step in enumerate(steps):
            out.extend(step_turns(step, f"steps[{i}]", options.tally))
        return out

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the steps' texts as messages, for the common prefix."""
        return [
            {"role": turn.role, "content": turn.text}
            for turn in self._turns(record, options)
            if turn.raws
        ]

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a trajectory."""
        about = dict(record) if isinstance(record, Mapping) else {}
        if "trajectory_id" not in about and "session_id" in about:
            about["trajectory_id"] = about["session_id"]
        return [
            episode_of(
                self._turns(record, options),
                about,
                where,
                options,
                message_format="atif",
                kept=leftover(about, ("steps",)),
            )
        ]


def step_turns(step: Any, where: str, tally: Tally) -> list[Turn]:
    """A step as a turn, and its results as the turn that answers it."""
    if not isinstance(step, Mapping):
        raise FieldError(where, f"must be an object, not {kind_of(step)}")
    observation = step.get("observation")
    answers = _answers(observation, where, tally) if isinstance(observation, Mapping) else []
    if "source" not in step and answers:  # what an answer was kept as
        return answers
    role = SOURCES.get(str(step.get("source")))
    if role is None:
        raise FieldError(f"{where}.source", f"is {step.get('source')!r:.40}")
    pieces = read_content(step.get("message"), f"{where}.message", tally)
    said = step.get("reasoning_content")
    if isinstance(said, str) and said.strip():
        pieces = [p for p in pieces if not isinstance(p, Reasoning)]
        pieces.insert(0, Reasoning(text_field(said, f"{where}.reasoning_content")))
    for i, call in enumerate(step.get("tool_calls") or ()):
        spot = f"{where}.tool_calls[{i}]"
        found = call_of(call, spot) if isinstance(call, Mapping) else None
        if found is None:
            raise FieldError(spot, "has no function_name")
        pieces.append(found)
    extra = step.get("extra")
    first = Turn(
        role,
        raws=({key: value for key, value in step.items() if key != "observation"},),
        reward=number(extra.get("reward")) if isinstance(extra, Mapping) else None,
        usage=usage_of(step.get("metrics")),
    )
    return [*turns_of_pieces(role, pieces, first), *answers]


def _answers(observation: Mapping[str, Any], where: str, tally: Tally) -> list[Turn]:
    results = [
        result_of(result, f"{where}.observation.results[{i}]", tally)
        for i, result in enumerate(observation.get("results") or [])
        if isinstance(result, Mapping)
    ]
    return [Turn("tool", raws=({"observation": observation},), results=tuple(results))]
