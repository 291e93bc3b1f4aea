"""A stream that passes by, gathered to the answer that it adds up to, for the critic and log."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

LAST = (b"[DONE]", b'"message_stop"', b'"response.completed"')
"""In the last event of a stream: OpenAI's chat, Anthropic's messages, OpenAI's responses."""
MOST = 16 * 2**20
"""Bytes of a stream that are gathered; a longer one passes by unvalued."""


class Gathering:
    """Feed it a stream's bytes; ``answer`` is what they add up to so far, None where that fails."""

    def __init__(self, api: str):
        self._add = ADDERS[api]
        self._left, self._size = b"", 0
        self._answer: dict[str, Any] | None = {}
        self.ended = False
        """Whether the stream's last event was seen: the client may hang up at it."""

    @property
    def answer(self) -> dict[str, Any] | None:
        """The whole answer, as one call without a stream would have it."""
        return self._answer or None

    def feed(self, block: bytes) -> None:
        """Take note of some bytes."""
        self._size += len(block)
        if self._answer is None or self._size > MOST:
            self._answer = None
            return
        *lines, self._left = (self._left + block).split(b"\n")
        for line in lines:
            self.ended = self.ended or any(last in line for last in LAST)
            if line.startswith(b"data:") and line[5:].strip() not in (b"", b"[DONE]"):
                try:
                    self._add(self._answer, json.loads(line[5:]))
                except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                    self._answer = None
                    return


def _chat(answer: dict[str, Any], chunk: Mapping[str, Any]) -> None:
    for key, value in chunk.items():
        if key not in ("choices", "object") and value is not None:
            answer[key] = value
    choices: list[dict[str, Any]] = answer.setdefault("choices", [])
    for part in chunk.get("choices") or ():
        while len(choices) <= part["index"]:
            choices.append({"index": len(choices), "message": {"role": "assistant"}})
        choice = choices[part["index"]]
        if part.get("finish_reason") is not None:
            choice["finish_reason"] = part["finish_reason"]
        _add_delta(choice["message"], part.get("delta") or {})


def _add_delta(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for call in value or ():
                while len(calls) <= call["index"]:
                    calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
                _add_call(calls[call["index"]], call)
        elif key == "role" or value is None:
            message.setdefault(key, value)
        elif isinstance(value, str):
            message[key] = (message.get(key) or "") + value
        else:
            message[key] = value


def _add_call(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key in ("id", "type"):
        if part.get(key):
            whole[key] = part[key]
    function = part.get("function") or {}
    for key in ("name", "arguments"):
        whole["function"][key] += function.get(key) or ""


def _messages(answer: dict[str, Any], event: Mapping[str, Any]) -> None:
    kind = event["type"]
    if kind == "message_start":
        answer.update(event["message"], content=[])
    elif kind == "content_block_start":
        answer["content"].append(dict(event["content_block"]))
    elif kind == "content_block_delta":
        block, delta = answer["content"][event["index"]], event["delta"]
        if delta["type"] == "input_json_delta":
            block["input"] = (block["input"] or "") + delta["partial_json"]
        elif delta["type"] == "citations_delta":
            block.setdefault("citations", []).append(delta["citation"])
        else:
            key = {"text_delta": "text", "thinking_delta": "thinking"}.get(
                delta["type"], "signature"
            )
            block[key] = block.get(key, "") + delta[key]
    elif kind == "content_block_stop":
        block = answer["content"][event["index"]]
        if isinstance(block.get("input"), str):
            block["input"] = json.loads(block["input"] or "{}")
    elif kind == "message_delta":
        answer.update(event["delta"])
        answer["usage"] = {**(answer.get("usage") or {}), **(event.get("usage") or {})}


def _responses(answer: dict[str, Any], event: Mapping[str, Any]) -> None:
    if event["type"] in ("response.completed", "response.incomplete"):
        answer.update(event["response"])


ADDERS: dict[str, Callable[[dict[str, Any], Mapping[str, Any]], None]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
}
