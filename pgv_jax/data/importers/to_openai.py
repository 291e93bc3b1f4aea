"""Back from an Episode to OpenAI chat messages: the inverse of the messages importers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgv_jax.data.importers.conversation.messages import message_turns, to_openai_messages
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.formats.agents.atif import step_turns
from pgv_jax.data.importers.formats.agents.openhands import event_turns
from pgv_jax.data.importers.tally import Tally
from pgv_jax.types import Episode

Message = dict[str, Any]
EXACT = ("openai", "prompt-completion")
"""Formats whose raw messages are OpenAI's."""
READERS: dict[str, Callable[[Any, str, Tally], list[Turn]]] = {
    "atif": step_turns,
    "openhands": event_turns,
}


def to_openai(episode: Episode) -> list[Message]:
    """Return an episode as OpenAI chat messages.

    Episodes that came from OpenAI messages give back exactly those; other conversations lose no
    message, call or result; other logs are written as user turns (observations) and assistant
    turns (thought as ``reasoning_content``, action as ``content``).
    """
    kept = [raw for step in episode.steps for raw in step.metadata.get("messages", ())]
    if not kept:
        return _from_steps(episode)
    kept += episode.metadata.get("messages_after", ())
    name = str(episode.metadata.get("format"))
    if name in EXACT:
        return [dict(message) for message in kept]
    read = READERS.get(name, message_turns)
    turns = [turn for raw in kept for turn in read(raw, "message", Tally())]
    return [message for turn in turns for message in to_openai_messages(turn)]


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
