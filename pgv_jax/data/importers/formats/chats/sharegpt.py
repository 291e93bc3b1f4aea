"""ShareGPT and AgentTraj: ``conversations: [{from, value}]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.importers.conversation import turns
from pgv_jax.data.importers.outcomes.record import number
from pgv_jax.data.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode

COLUMNS = ("conversations", "conversation", "dialog", "dialogue")
FROM = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}


def _column(record: Any) -> str | None:
    if not isinstance(record, Mapping):
        return None
    for column in COLUMNS:
        value = record.get(column)
        if (
            isinstance(value, list)
            and value
            and all(isinstance(m, Mapping) and "from" in m and "value" in m for m in value[:20])
        ):
            return column
    return None


class ShareGPT(RecordImporter):
    """Records with a list of from/value messages."""

    name = "sharegpt"
    about = "ShareGPT or AgentTraj conversations (from, value)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of conversations with from and value."""
        found = [column for record in sample.records if (column := _column(record))]
        if not found:
            return NO
        share = len(found) / len(sample.records)
        return Detection(0.95 * share, f"'{found[0]}' holds messages with from and value")

    def _turns(self, record: Any) -> list[turns.Turn]:
        column = _column(record)
        if column is None:
            raise FieldError("conversations", "is missing, or its messages lack from and value")
        out = []
        for i, message in enumerate(record[column]):
            where = f"{column}[{i}]"
            if not isinstance(message, Mapping):
                raise FieldError(where, f"must be an object, not {kind_of(message)}")
            role = FROM.get(str(message.get("from")))
            if role is None:
                raise FieldError(f"{where}.from", f"is {message.get('from')!r:.40}")
            out.append(
                turns.Turn(
                    role=role,
                    text=text_field(message.get("value"), f"{where}.value"),
                    raw=message,
                    reward=number(message.get("reward")),
                    context=message.get("loss") is False and role == "assistant",
                )
            )
        return _after_instructions(out)

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the messages, for the common prefix."""
        return [turn.raw for turn in self._turns(record)]

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        return [
            turns.episode_of(
                self._turns(record),
                record,
                where,
                options,
                used=(_column(record) or "",),
                message_format="sharegpt",
            )
        ]


def _after_instructions(found: list[turns.Turn]) -> list[turns.Turn]:
    """AgentTraj opens with instructions and an untrained "OK." (loss false): both are context."""
    last = max((i for i, turn in enumerate(found) if turn.context), default=-1)
    if last < 0 or not any(t.role == "assistant" and not t.context for t in found[last + 1 :]):
        return found
    return [
        turns.Turn(t.role, t.text, t.raw, context=True) if i <= last else t
        for i, t in enumerate(found)
    ]
