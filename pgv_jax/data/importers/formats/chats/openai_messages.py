"""OpenAI chat ``messages``: read, and written back without losing a message, call or result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.conversation import turns
from pgv_jax.data.importers.outcomes.record import number
from pgv_jax.data.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode

COLUMNS = ("messages", "traj", "trajectory", "conversation", "chat")
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking")


def messages_of(record: Any) -> tuple[str, Any] | None:
    """Return (column, messages) of a record; a bare list of messages has the column ''."""
    if isinstance(record, list) and record:
        return "", record
    if isinstance(record, Mapping):
        for column in COLUMNS:
            value = record.get(column)
            if isinstance(value, list):
                return column, value
        choices = record.get("request")  # a proxy's log: {request: {messages}, response}
        if isinstance(choices, Mapping) and isinstance(choices.get("messages"), list):
            return "request", choices["messages"]
    return None


def looks_like_messages(record: Any) -> bool:
    """True if the record holds a list of objects with a known role and a content."""
    found = messages_of(record)
    return bool(
        found
        and found[1]
        and all(
            isinstance(m, Mapping)
            and m.get("role") in ROLES
            and ("content" in m or "tool_calls" in m or "function_call" in m)
            for m in found[1][:20]
        )
    )


def has_blocks(record: Any) -> bool:
    """True if a message's content is a list with Anthropic's tool or thinking blocks."""
    found = messages_of(record)
    return any(
        isinstance(part, Mapping) and part.get("type") in BLOCKS
        for message in (found[1] if found else ())
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


class OpenAIMessages(RecordImporter):
    """Records with OpenAI chat messages, or bare lists of them."""

    name = "openai"
    about = "OpenAI chat messages (JSONL, JSON list, a messages or traj column)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of lists of role/content messages; unsure where blocks are Anthropic's."""
        records = list(sample.records)
        if sample.kind == "json" and records and all(_is_message(r) for r in records):
            return Detection(0.9, "the file is one list of messages with role and content")
        fitting = [r for r in records if looks_like_messages(r)]
        if not fitting:
            return NO
        if any(has_blocks(r) for r in fitting):
            return Detection(0.2, "messages, but their content has Anthropic's blocks")
        spoken = [message for r in fitting for message in (messages_of(r) or ("", []))[1]]
        roles = sorted({str(m["role"]) for m in spoken if isinstance(m, Mapping) and "role" in m})
        share = len(fitting) / len(records)
        column = (messages_of(fitting[0]) or ("",))[0] or "a bare list"
        return Detection(0.95 * share, f"messages in '{column}' with the roles {', '.join(roles)}")

    def read(self, path: Any, options: Options) -> Any:
        """Yield an episode a record; a file that is one list of messages is one episode."""
        from pgv_jax.data.importers.files.records import kind_of_file, sample_records

        if kind_of_file(path) == "json":
            head = sample_records(path)
            if head and all(_is_message(r) for r in head):
                from pgv_jax.data.importers.files.message_list import read_whole_list

                return read_whole_list(self, path, options)
        return super().read(path, options)

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the messages, for the common prefix."""
        return [turn.raw for turn in self._turns(record)]

    def _turns(self, record: Any) -> list[turns.Turn]:
        found = messages_of(record)
        if found is None:
            have = ", ".join(map(str, record)) if isinstance(record, Mapping) else kind_of(record)
            raise FieldError("messages", f"is missing (the record has {have[:200]})")
        column, messages = found
        out = [turn_of(m, f"{column}[{i}]") for i, m in enumerate(messages)]
        if column == "request" and isinstance(record.get("response"), Mapping):
            for choice in (record["response"].get("choices") or [])[:1]:
                out.append(turn_of(choice["message"], "response.choices[0].message"))
        return out

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        found = self._turns(record)
        fields = record if isinstance(record, Mapping) else {}
        column = (messages_of(record) or ("",))[0]
        if column == "request":
            fields, column = _without_messages(record), ""
        return [
            turns.episode_of(found, fields, where, options, used=(column,), message_format="openai")
        ]


def _is_message(record: Any) -> bool:
    return isinstance(record, Mapping) and record.get("role") in ROLES and "content" in record


def _without_messages(record: Mapping[str, Any]) -> dict[str, Any]:
    """A proxy's log line without the parts that the messages repeat."""
    request, response = record["request"], record.get("response")
    out = {**record, "request": {k: v for k, v in request.items() if k != "messages"}}
    if isinstance(response, Mapping):
        out["response"] = {k: v for k, v in response.items() if k != "choices"}
    return out


def turn_of(message: Any, where: str) -> turns.Turn:
    """One OpenAI message as a Turn."""
    if not isinstance(message, Mapping):
        raise FieldError(where, f"must be an object, not {kind_of(message)}")
    role = message.get("role")
    if role not in ROLES:
        raise FieldError(f"{where}.role", f"is {role!r:.40}; known are {', '.join(ROLES)}")
    text, reasoning = turns.content_text(message.get("content"), f"{where}.content")
    for key in ("reasoning_content", "reasoning", "thinking"):
        said = message.get(key)
        if not reasoning and isinstance(said, str) and said.strip():
            reasoning = text_field(said, f"{where}.{key}")
    if not text and isinstance(message.get("refusal"), str):
        text = text_field(message["refusal"], f"{where}.refusal")
    return turns.Turn(
        role=ROLES[role],
        text=text,
        raw=message,
        reasoning=reasoning,
        calls=_calls(message, where) if role == "assistant" else (),
        reward=number(message.get("reward")),
        usage=turns.usage_of(message.get("usage")),
        context=message.get("loss") is False and role == "assistant",
    )


def _calls(message: Mapping[str, Any], where: str) -> tuple[turns.Call, ...]:
    calls = message.get("tool_calls") or []
    if message.get("function_call"):
        calls = [{"function": message["function_call"]}]
    if not isinstance(calls, list | tuple):
        raise FieldError(f"{where}.tool_calls", f"must be a list, not {kind_of(calls)}")
    out = []
    for i, call in enumerate(calls):
        function = (
            call.get("function", call.get("custom", call)) if isinstance(call, Mapping) else None
        )
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise FieldError(f"{where}.tool_calls[{i}]", "has no function with a name")
        arguments = function.get("arguments", function.get("input"))
        out.append(
            turns.Call(
                text_field(function["name"], f"{where}.tool_calls[{i}].name"),
                turns.parse_arguments(arguments),
            )
        )
    return tuple(out)
