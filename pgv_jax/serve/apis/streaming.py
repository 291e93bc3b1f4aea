"""A whole answer as server-sent events: valid chunks of each API, which add up to it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PIECE = 32
"""Characters of words in one event."""


def events(api: str, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[bytes]:
    """The events of an answer to a request ``body`` that asked for a stream."""
    return STREAMS[api](body, answer)


def _chat(body: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[bytes]:
    base = {k: v for k, v in answer.items() if k not in ("choices", "usage", "pgv")}
    base["object"] = "chat.completion.chunk"
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    rest: dict[str, Any] = {"usage": None} if usage else {}
    for choice in answer["choices"]:
        for part in _chat_parts(choice):
            yield _data({**base, "choices": [part], **rest})
    if usage:
        yield _data({**base, "choices": [], "usage": answer.get("usage")})
    if "pgv" in answer:
        yield _data({**base, "choices": [], "pgv": answer["pgv"]})
    yield b"data: [DONE]\n\n"


def _chat_parts(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The chunks of one choice: its unknown fields, its words, its calls, its end."""
    index, message = choice["index"], dict(choice.get("message") or {})
    content, calls = message.pop("content", None), message.pop("tool_calls", None)
    logprobs = choice.get("logprobs")

    def part(delta: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **more}

    yield part({"role": "assistant", **message, "content": None if content is None else ""})
    if isinstance(content, str) and content:
        # Log probabilities belong to tokens, whose limits are not known here: all in one chunk.
        pieces = _pieces(content) if logprobs is None else [content]
        for piece in pieces:
            yield part({"content": piece}, logprobs=logprobs)
    elif logprobs is not None:
        yield part({}, logprobs=logprobs)
    for number, call in enumerate(calls or ()):
        function = call.get("function")
        if not isinstance(function, Mapping):
            yield part({"tool_calls": [{"index": number, **call}]})
            continue
        head = {"index": number, **call, "function": {**function, "arguments": ""}}
        yield part({"tool_calls": [head]})
        for piece in _pieces(str(function.get("arguments") or "")):
            yield part({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    known = ("index", "message", "logprobs", "finish_reason")
    more = {key: value for key, value in choice.items() if key not in known}
    yield part({}, finish_reason=choice.get("finish_reason"), **more)


def _messages(body: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[bytes]:
    ends = {key: answer.get(key) for key in ("stop_reason", "stop_sequence")}
    usage = answer.get("usage") or {}
    start = {**answer, "content": [], **dict.fromkeys(ends)}
    yield _event({"type": "message_start", "message": start})
    for index, block in enumerate(answer["content"]):
        emptied, deltas = _block(block)
        yield _event({"type": "content_block_start", "index": index, "content_block": emptied})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    yield _event({"type": "message_delta", "delta": ends, "usage": usage})
    yield _event({"type": "message_stop"})


def _block(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it starts, and what is added to it; kinds without deltas start whole."""
    kind = block.get("type")
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": c} for c in block.get("citations") or ()]
        words = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
        return {**block, "text": "", **({"citations": []} if cited else {})}, [*cited, *words]
    if kind == "thinking":
        words = [{"type": "thinking_delta", "thinking": p} for p in _pieces(block["thinking"])]
        sign = block.get("signature", "")
        signed = [{"type": "signature_delta", "signature": sign}] if sign else []
        return {**block, "thinking": "", "signature": ""}, [*words, *signed]
    if kind in ("tool_use", "server_tool_use") and isinstance(block.get("input"), Mapping):
        text = json.dumps(block["input"], ensure_ascii=False)
        deltas = [{"type": "input_json_delta", "partial_json": p} for p in _pieces(text)]
        return {**block, "input": {}}, deltas
    return dict(block), []


def _responses(body: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[bytes]:
    number = 0

    def event(kind: str, **facts: Any) -> bytes:
        nonlocal number
        number += 1
        return _event({"type": kind, "sequence_number": number - 1, **facts})

    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(answer["output"]):
        yield from _item(event, index, item)
    end = "incomplete" if answer.get("status") == "incomplete" else "completed"
    yield event(f"response.{end}", response=answer)


Event = Callable[..., bytes]


def _item(event: Event, index: int, item: Mapping[str, Any]) -> Iterator[bytes]:
    kind = item.get("type")
    emptied = {**item, **({"status": "in_progress"} if "status" in item else {})}
    if kind == "message":
        emptied["content"] = []
    if kind == "function_call":
        emptied["arguments"] = ""
    yield event("response.output_item.added", output_index=index, item=emptied)
    place = {"item_id": item.get("id"), "output_index": index}
    if kind == "message":
        for content_index, part in enumerate(item.get("content") or ()):
            yield from _content(event, {**place, "content_index": content_index}, part)
    if kind == "function_call":
        name = "response.function_call_arguments"
        for piece in _pieces(item.get("arguments") or ""):
            yield event(f"{name}.delta", **place, delta=piece)
        done = {"name": item.get("name"), "arguments": item.get("arguments")}
        yield event(f"{name}.done", **place, **done)
    yield event("response.output_item.done", output_index=index, item=item)


def _content(event: Event, place: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[bytes]:
    key = "refusal" if part.get("type") == "refusal" else "text"
    text = part.get(key) or ""
    name = "response.refusal" if key == "refusal" else "response.output_text"
    more: dict[str, Any] = {} if key == "refusal" else {"logprobs": part.get("logprobs") or []}
    yield event("response.content_part.added", **place, part={**part, key: ""})
    for piece in _pieces(text):
        yield event(f"{name}.delta", **place, delta=piece, **({"logprobs": []} if more else {}))
    yield event(f"{name}.done", **place, **{key: text}, **more)
    yield event("response.content_part.done", **place, part=part)


STREAMS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[bytes]]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
}


def _pieces(text: str) -> list[str]:
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)]


def _data(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def _event(value: Mapping[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()
