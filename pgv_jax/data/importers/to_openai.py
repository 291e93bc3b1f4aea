"""Back from an Episode to OpenAI chat messages: the inverse of the messages importers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pgv_jax.data.importers.conversation import turns
from pgv_jax.data.importers.formats.agents.atif import message_to_openai
from pgv_jax.data.importers.formats.chats.sharegpt import FROM
from pgv_jax.types import Episode

Message = dict[str, Any]


def to_openai(episode: Episode) -> list[Message]:
    """Return an episode as OpenAI chat messages.

    Episodes that came from OpenAI messages give back exactly those; other conversations lose no
    message, call or result; other logs are written as user turns (observations) and assistant
    turns (thought as ``reasoning_content``, action as ``content``).
    """
    convert = CONVERTERS.get(str(episode.metadata.get("format")))
    if convert is None:
        return _from_steps(episode)
    out: list[Message] = []
    for step in episode.steps:
        for message in step.metadata.get("messages", ()):
            out.extend(convert(message))
    for message in episode.metadata.get("messages_after", ()):
        out.extend(convert(message))
    return out


def _from_steps(episode: Episode) -> list[Message]:
    out: list[Message] = []
    for t, step in enumerate(episode.steps):
        seen = f"{episode.task}\n\n{step.observation}" if t == 0 else step.observation
        out.append({"role": "user", "content": seen})
        message: Message = {"role": "assistant", "content": step.action}
        if step.thought and step.thought != step.action:
            message["reasoning_content"] = step.thought
        out.append(message)
    if episode.final_observation:
        out.append({"role": "user", "content": episode.final_observation})
    return out


def _from_sharegpt(message: Mapping[str, Any]) -> list[Message]:
    return [{"role": FROM[message["from"]], "content": message["value"]}]


def _from_anthropic(message: Mapping[str, Any]) -> list[Message]:
    content = message.get("content")
    if not isinstance(content, list):
        return [dict(message)]
    blocks = [part for part in content if isinstance(part, Mapping)]
    text, reasoning = turns.content_text(content, "content")
    out: list[Message] = [
        {
            "role": "tool",
            "tool_call_id": part.get("tool_use_id"),
            "content": turns.content_text(part.get("content"), "content")[0],
        }
        for part in blocks
        if part.get("type") == "tool_result"
    ]
    calls = [
        {
            "id": part.get("id"),
            "type": "function",
            "function": {"name": part["name"], "arguments": json.dumps(part.get("input"))},
        }
        for part in blocks
        if part.get("type") == "tool_use"
    ]
    said: Message = {"role": message["role"], "content": text or None}
    if reasoning:
        said["reasoning_content"] = reasoning
    if calls:
        said["tool_calls"] = calls
    if text or calls or reasoning or not out:
        out.append(said)
    return out


CONVERTERS: dict[str, Callable[[Mapping[str, Any]], list[Message]]] = {
    "openai": lambda message: [dict(message)],
    "sharegpt": _from_sharegpt,
    "anthropic": _from_anthropic,
    "atif": message_to_openai,
}
