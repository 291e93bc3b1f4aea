"""Anthropic messages: content blocks with thinking, tool_use and tool_result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.conversation import turns
from pgv_jax.data.importers.formats.chats.openai_messages import (
    has_blocks,
    looks_like_messages,
    messages_of,
)
from pgv_jax.data.importers.outcomes.record import number
from pgv_jax.data.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode


class AnthropicMessages(RecordImporter):
    """Records with messages whose content is a list of blocks; ``system`` may stand beside."""

    name = "anthropic"
    about = "Anthropic messages (content blocks: thinking, tool_use, tool_result)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of tool_use, tool_result and thinking blocks."""
        fitting = [r for r in sample.records if looks_like_messages(r) and has_blocks(r)]
        if not fitting:
            return NO
        return Detection(
            0.95, "the messages' content has blocks of type tool_use, tool_result or thinking"
        )

    def _turns(self, record: Any) -> list[turns.Turn]:
        found = messages_of(record)
        if found is None:
            raise FieldError("messages", "is missing")
        column, messages = found
        out: list[turns.Turn] = []
        if isinstance(record, Mapping) and record.get("system"):
            raw = {"role": "system", "content": record["system"]}
            out.append(turns.Turn("system", turns.content_text(raw["content"], "system")[0], raw))
        for i, message in enumerate(messages):
            out.append(_turn(message, f"{column}[{i}]"))
        return out

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the messages, for the common prefix."""
        return [turn.raw for turn in self._turns(record)]

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        column = (messages_of(record) or ("",))[0]
        return [
            turns.episode_of(
                self._turns(record),
                record if isinstance(record, Mapping) else {},
                where,
                options,
                used=(column, "system"),
                message_format="anthropic",
            )
        ]


def _turn(message: Any, where: str) -> turns.Turn:
    if not isinstance(message, Mapping):
        raise FieldError(where, f"must be an object, not {kind_of(message)}")
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise FieldError(f"{where}.role", f"is {role!r:.40}; known are user, assistant, system")
    content = message.get("content")
    text, reasoning = turns.content_text(content, f"{where}.content")
    texts = [text] if text else []
    calls = []
    for i, part in enumerate(content if isinstance(content, list) else ()):
        spot = f"{where}.content[{i}]"
        if not isinstance(part, Mapping):
            continue
        if part.get("type") == "tool_result":
            texts.append(turns.content_text(part.get("content"), spot + ".content")[0])
        elif part.get("type") == "tool_use":
            calls.append(
                turns.Call(text_field(part.get("name"), spot + ".name"), part.get("input") or {})
            )
    return turns.Turn(
        role=str(role),
        text="\n\n".join(t for t in texts if t),
        raw=message,
        reasoning=reasoning,
        calls=tuple(calls),
        reward=number(message.get("reward")),
        usage=turns.usage_of(message.get("usage")),
    )
