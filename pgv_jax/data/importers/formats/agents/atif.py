"""ATIF, the Agent Trajectory Interchange Format (read: versions 1.0 to 1.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.conversation import turns
from pgv_jax.data.importers.outcomes.record import number
from pgv_jax.data.jsonl import FieldError, kind_of, text_field
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

    def _turns(self, record: Any) -> list[turns.Turn]:
        if not isinstance(record, Mapping):
            raise FieldError("trajectory", f"must be an object, not {kind_of(record)}")
        steps = record.get("steps")
        if not isinstance(steps, list):
            raise FieldError("steps", f"must be a list, not {kind_of(steps)}")
        out: list[turns.Turn] = []
        for i, step in enumerate(steps):
            out.extend(_step_turns(step, f"steps[{i}]"))
        return out

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the steps' texts as messages, for the common prefix."""
        return [{"role": turn.role, "content": turn.text} for turn in self._turns(record)]

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a trajectory."""
        found = self._turns(record)
        about = dict(record)
        if "trajectory_id" not in about and "session_id" in about:
            about["trajectory_id"] = about["session_id"]
        episode = turns.episode_of(
            found, about, where, options, used=("steps",), message_format="atif"
        )
        return [episode]


def _step_turns(step: Any, where: str) -> list[turns.Turn]:
    """A step as a turn, and its results as the turns that answer it."""
    if not isinstance(step, Mapping):
        raise FieldError(where, f"must be an object, not {kind_of(step)}")
    role = SOURCES.get(str(step.get("source")))
    if role is None:
        raise FieldError(f"{where}.source", f"is {step.get('source')!r:.40}")
    text, reasoning = turns.content_text(step.get("message"), f"{where}.message")
    said = step.get("reasoning_content")
    if isinstance(said, str) and said.strip():
        reasoning = text_field(said, f"{where}.reasoning_content")
    calls = []
    for i, call in enumerate(step.get("tool_calls") or ()):
        if not isinstance(call, Mapping):
            raise FieldError(f"{where}.tool_calls[{i}]", "must be an object")
        name = text_field(call.get("function_name"), f"{where}.tool_calls[{i}].function_name")
        calls.append(turns.Call(name, turns.parse_arguments(call.get("arguments"))))
    extra = step.get("extra")
    turn = turns.Turn(
        role=role,
        text=text,
        raw={key: value for key, value in step.items() if key != "observation"},
        reasoning=reasoning,
        calls=tuple(calls),
        reward=number(extra.get("reward")) if isinstance(extra, Mapping) else None,
        usage=turns.usage_of(step.get("metrics")),
    )
    observation = step.get("observation")
    if not isinstance(observation, Mapping):
        return [turn]
    results = observation.get("results") or []
    texts = [
        turns.content_text(result.get("content"), f"{where}.observation.results[{i}].content")[0]
        for i, result in enumerate(results)
        if isinstance(result, Mapping)
    ]
    raw = {"observation": observation}
    return [turn, turns.Turn("tool", "\n\n".join(t for t in texts if t), raw)]


def message_to_openai(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One raw piece of an ATIF trajectory as OpenAI messages."""
    import json

    if "observation" in message:
        return [
            {
                "role": "tool",
                "tool_call_id": result.get("source_call_id"),
                "content": turns.content_text(result.get("content"), "content")[0],
            }
            for result in message["observation"].get("results") or ()
        ]
    out: dict[str, Any] = {
        "role": SOURCES[message["source"]],
        "content": turns.content_text(message.get("message"), "message")[0] or None,
    }
    if message.get("reasoning_content"):
        out["reasoning_content"] = message["reasoning_content"]
    if message.get("tool_calls"):
        out["tool_calls"] = [
            {
                "id": call.get("tool_call_id"),
                "type": "function",
                "function": {
                    "name": call["function_name"],
                    "arguments": json.dumps(call.get("arguments")),
                },
            }
            for call in message["tool_calls"]
        ]
    return [out]
