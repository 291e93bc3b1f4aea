"""Which provider's dialect a conversation is in. All are read alike; the name is for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgv_jax.data.importers.base import Options, Sample
from pgv_jax.data.importers.conversation.fields import PROMPTS, Logged, is_of_anthropic, logged
from pgv_jax.data.importers.conversation.messages import (
    is_item,
    looks_like_message,
    role_of,
    unwrapped,
)

DIALECTS: tuple[str, ...] = ("served", "responses", "langchain", "gemini", "sharegpt")
DIALECTS += ("prompt-completion", "anthropic", "openai")
"""The one that says most comes first: a log may hold plain messages of OpenAI's and others."""
BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use")


def has_blocks(messages: Sequence[Any]) -> bool:
    """True if a message's content is a list with Anthropic's tool or thinking blocks."""
    return any(
        isinstance(part, Mapping) and part.get("type") in BLOCKS
        for message in messages
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def roles_in(messages: Sequence[Any]) -> list[str]:
    """The names of those who speak, sorted."""
    inner = (unwrapped(message) for message in messages if isinstance(message, Mapping))
    return sorted({name for message in inner if (name := role_of(message))})


def dialect_of(found: Logged) -> str:
    """Return the name of a conversation's dialect, one of ``DIALECTS``."""
    if "pgv_decision" in found.fields:
        return "served"
    messages = [message for message in found.conversation if isinstance(message, Mapping)]
    blocks = has_blocks(messages) or any(map(is_of_anthropic, messages))
    if any(is_item(m) or (m.get("type") == "message" and not blocks) for m in messages):
        return "responses"
    if any("lc" in message or _speaks_by_type(message) for message in messages):
        return "langchain"
    if any("parts" in message for message in messages):
        return "gemini"
    if messages and all("from" in message and "value" in message for message in messages):
        return "sharegpt"
    if blocks:
        return "anthropic"
    return "prompt-completion" if found.column in PROMPTS[:2] else "openai"


def _speaks_by_type(message: Mapping[str, Any]) -> bool:
    return "role" not in message and role_of(message) == message.get("type") is not None


def is_bare_message(record: Any) -> bool:
    """True for a record that is a message itself, so that its file is a conversation."""
    boxed = isinstance(record, Mapping) and isinstance(record.get("message"), Mapping)
    return looks_like_message(record) and not boxed


def conversations(sample: Sample) -> Iterator[Logged]:
    """What the sampled records log; a file that is messages itself is one conversation."""
    if sample.records and all(is_bare_message(record) for record in sample.records):
        yield Logged("", sample.records)
        return
    for record in sample.records:
        found = logged(record, Options())
        if found is not None:
            yield found
