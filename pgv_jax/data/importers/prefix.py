"""The prompt that every record repeats (few-shot examples, a system text), found and reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgv_jax.data.importers.base import Prefix

SHORTEST = 40
"""A shared beginning of fewer characters is chance."""


def shared_text(one: str, other: str) -> str:
    """The longest common beginning of two texts."""
    if other.startswith(one):
        return one
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), len(other))]


def _text(message: Any) -> str:
    if isinstance(message, dict):
        value = message.get("content", message.get("value", ""))
        return value if isinstance(value, str) else ""
    return ""


def common_prefix(prompts: Iterable[Any]) -> Prefix | None:
    """Return what all prompts begin with, or None if that is nothing worth a word.

    Text is cut back to the end of a line, so that no task loses its first words. Of messages,
    whole equal ones count, then the shared text of the next; the last message never counts.
    """
    shared: Any = None
    count = 0
    for prompt in prompts:
        count += 1
        if shared is None:
            shared = prompt if isinstance(prompt, str) else list(prompt)
        elif isinstance(shared, str) and isinstance(prompt, str):
            shared = shared_text(shared, prompt)
        elif isinstance(shared, list) and isinstance(prompt, list):
            shared = _shared_messages(shared, prompt)
        else:
            return None
        if not shared:
            return None
    if count < 2:
        return None
    if isinstance(shared, str):
        text = shared[: shared.rfind("\n") + 1]
        return Prefix(0, len(text), text) if len(text) >= SHORTEST else None
    return _of_messages(shared)


def _shared_messages(shared: list[Any], prompt: list[Any]) -> list[Any]:
    out: list[Any] = []
    for i, (ours, theirs) in enumerate(zip(shared, prompt, strict=False)):
        if i == len(prompt) - 1:
            break
        if ours == theirs:
            out.append(ours)
            continue
        text = shared_text(ours if isinstance(ours, str) else _text(ours), _text(theirs))
        return [*out, text] if text else out
    return out


def _of_messages(shared: list[Any]) -> Prefix | None:
    whole = [message for message in shared if not isinstance(message, str)]
    text = shared[-1] if isinstance(shared[-1], str) else ""
    text = text[: text.rfind("\n") + 1]
    if len(text) < SHORTEST:
        text = ""
    return Prefix(len(whole), len(text), text) if whole or text else None
