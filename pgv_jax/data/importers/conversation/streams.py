"""Answers that were logged as a stream: its events put together to the response they add up to.

Known are the streams of OpenAI's chat and Responses APIs, Anthropic, Gemini and Ollama, as lists of
events or as the text that came over the wire (``data: {...}`` lines).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pgv_jax.data.importers.conversation.pieces import parse_arguments

WIRE = re.compile(r"\A\s*(?:event:[^\n]*\n\s*)?data:[ \t]*[{\[]")
GROWING = ("content", "reasoning_content", "reasoning", "refusal", "thinking")
"""The texts of a message that come in pieces."""
ENDS = ("response.completed", "response.incomplete", "response.failed")


def events_in(text: str) -> list[Any] | None:
    """The events of a stream's text: None where it is none, empty where it is damaged."""
    if not WIRE.match(text):
        return None
    data = (line[5:].strip() for line in text.splitlines() if line.startswith("data:"))
    try:
        return [json.loads(event) for event in data if event not in ("", "[DONE]")]
    except ValueError:
        return []


def whole_of(events: Sequence[Any]) -> Mapping[str, Any] | None:
    """The response that a stream of events adds up to, or None where they are no stream."""
    chunks = [event for event in events if isinstance(event, Mapping)]
    if not chunks or len(chunks) < len(events):
        return None
    if all(isinstance(chunk.get("choices"), list) for chunk in chunks):
        return _of_choices(chunks)
    kinds = [str(chunk.get("type")) for chunk in chunks]
    if "message_start" in kinds:
        return _of_blocks(chunks)
    ended = next((chunk for chunk in reversed(chunks) if chunk.get("type") in ENDS), None)
    if ended is not None and isinstance(ended.get("response"), Mapping):
        return ended["response"]
    if all(isinstance(chunk.get("candidates"), list) for chunk in chunks):
        return _of_candidates(chunks)
    if [chunk.get("done") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]:
        messages = [chunk["message"] for chunk in chunks if isinstance(chunk.get("message"), dict)]
        return {"message": _grown(messages)} if messages else None
    return None


def _grown(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A message from its pieces: texts grow, calls come whole or in parts with an index."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        for key in GROWING:
            if isinstance(piece.get(key), str):
                message[key] = message.get(key, "") + piece[key]
        for call in piece.get("tool_calls") or ():
            _add_call(calls, call)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _add_call(calls: dict[int, dict[str, Any]], part: Any) -> None:
    if not isinstance(part, Mapping) or not isinstance(part.get("function"), Mapping):
        return
    index = part.get("index")
    told = part["function"]
    whole = calls.setdefault(
        index if isinstance(index, int) else len(calls),
        {"id": part.get("id"), "type": "function", "function": {"name": "", "arguments": ""}},
    )
    whole["function"]["name"] += str(told.get("name") or "")
    if isinstance(told.get("arguments"), Mapping):
        whole["function"]["arguments"] = told["arguments"]
    else:
        whole["function"]["arguments"] += str(told.get("arguments") or "")


def _of_choices(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """OpenAI's chat: deltas of one choice or of several; the last chunk may hold usage alone."""
    deltas: dict[int, list[Mapping[str, Any]]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            if not isinstance(choice, Mapping) or "delta" not in choice:
                return None
            if isinstance(choice["delta"], Mapping):
                deltas.setdefault(choice.get("index") or 0, []).append(choice["delta"])
    choices = [{"index": i, "message": _grown(deltas[i])} for i in sorted(deltas)]
    return {"choices": choices} if choices else None


def _of_blocks(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Anthropic: blocks that start and grow."""
    message: dict[str, Any] = {"role": "assistant"}
    blocks: dict[Any, dict[str, Any]] = {}
    inputs: dict[Any, str] = {}
    for event in events:
        number, delta = event.get("index"), event.get("delta")
        if event.get("type") == "message_start":
            message.update(event.get("message") or {})
        elif event.get("type") == "content_block_start":
            blocks[number] = dict(event.get("content_block") or {})
        elif event.get("type") == "message_delta" and isinstance(delta, Mapping):
            message.update(delta)
        elif isinstance(delta, Mapping) and number in blocks:
            for key in ("text", "thinking", "signature"):
                if isinstance(delta.get(key), str):
                    blocks[number][key] = blocks[number].get(key, "") + delta[key]
            inputs[number] = inputs.get(number, "") + str(delta.get("partial_json") or "")
    for number, text in inputs.items():
        if text:
            blocks[number]["input"] = parse_arguments(text)
    return {**message, "content": [blocks[number] for number in sorted(blocks)]}


def _of_candidates(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Gemini: responses of which each holds the next parts; only the last says why it ended."""
    firsts: list[Any] = [next(iter(chunk["candidates"]), {}) for chunk in chunks]
    if any(first.get("finishReason") or first.get("finish_reason") for first in firsts[:-1]):
        return None  # several whole responses
    parts = [part for first in firsts for part in (first.get("content") or {}).get("parts") or ()]
    whole: list[Any] = []
    for grows, group in groupby(parts, lambda part: _text_kind(part)):
        members = list(group)
        if grows is None:
            whole += members
        else:
            whole.append({**members[0], "text": "".join(part["text"] for part in members)})
    return {"candidates": [{"content": {"role": "model", "parts": whole}}]}


def _text_kind(part: Any) -> bool | None:
    """Whether a part's text is thought; None for a part that is no text."""
    told = isinstance(part, Mapping) and isinstance(part.get("text"), str)
    return bool(part.get("thought")) if told else None
