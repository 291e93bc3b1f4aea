"""The scripted server's wire: requests and replies as OpenAI, Anthropic and Google write them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgv_jax.llm.client import Request, json_schema, schema_of

REFUSALS = {
    "429": (429, "rate_limit_exceeded", "Rate limit reached."),
    "500": (500, "server_error", "The server had an error."),
    "quota": (429, "insufficient_quota", "You exceeded your current quota."),
    "context": (400, "context_length_exceeded", "This model's maximum context length is 100."),
    "content_filter": (400, "content_filter", "The prompt triggered the content filter."),
}
"""Fault -> (status, code, message)."""


@dataclass(frozen=True)
class Dialect:
    """How one vendor writes a request (-> Request, model name) and a reply."""

    read: Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[Request, str]]
    reply: Callable[[str, Request, Sequence[str], str], dict[str, Any]]


def fingerprint(request: Request) -> str:
    """A name for what was asked: sha256 of messages, n, temperature and seed."""
    what = [list(map(dict, request.messages)), request.n, request.temperature, request.seed]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def prompt_tokens(request: Request) -> int:
    """The scripted tokenizer: one token a word."""
    return sum(len(_text(message.get("content")).split()) for message in request.messages)


def embeddings(
    body: Mapping[str, Any], model: str, texts: Sequence[str], vectors_UD: np.ndarray
) -> dict[str, Any]:
    """The reply to an embeddings request, as numbers or in base64."""
    rows = []
    for index, vector in enumerate(vectors_UD):
        value: Any = vector.tolist()
        if body.get("encoding_format") == "base64":
            value = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        rows.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": model, "data": rows, "usage": usage}


def stream(
    body: Mapping[str, Any], model: str, request: Request, texts: Sequence[str]
) -> Iterator[str]:
    """Server-sent events: a chunk a word, the usage where it was asked for, then the end."""
    base = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": model}

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps({**base, 'choices': choices, **more})}\n\n"

    for index, text in enumerate(texts):
        for word in text.splitlines(keepends=True):
            delta = {"role": "assistant", "content": word}
            yield event([{"index": index, "delta": delta, "finish_reason": None}])
        yield event([{"index": index, "delta": {}, "finish_reason": "stop"}])
    if (body.get("stream_options") or {}).get("include_usage"):
        yield event([], usage=_usage(request, texts))
    yield "data: [DONE]\n\n"


def _read_openai(body: Mapping[str, Any], path: Mapping[str, Any]) -> tuple[Request, str]:
    stop = body.get("stop") or ()
    request = Request(
        messages=body["messages"],
        n=int(body.get("n") or 1),
        temperature=float(body.get("temperature", 1.0)),
        max_tokens=int(body.get("max_tokens") or body.get("max_completion_tokens") or 512),
        seed=body.get("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        response_format=body.get("response_format"),
        tools=tuple(t["function"] for t in body.get("tools") or () if "function" in t),
    )
    return request, str(body.get("model"))


def _reply_openai(model: str, request: Request, texts: Sequence[str], fault: str) -> dict[str, Any]:
    if fault == "wrapped":
        return {"error": {"code": 500, "message": "The provider behind the router failed."}}
    choices = []
    for index, text in enumerate(texts):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        finish = "length" if len(text.split()) > request.max_tokens else "stop"
        words, calls = _called(text, fault)
        if calls:
            message["content"], finish = words or None, "tool_calls"
            message["tool_calls"] = [
                {
                    "id": f"call_{i}",
                    "type": "function",
                    "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])},
                }
                for i, c in enumerate(calls)
            ]
        elif fault == "refusal":
            message["content"], message["refusal"] = None, "I cannot help with that."
        elif fault == "length":
            message["content"], finish = "", "length"
        elif finish == "length":
            message["content"] = " ".join(text.split()[: request.max_tokens])
        choices.append({"index": index, "message": message, "finish_reason": finish})
    if fault == "empty":
        choices = []
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": _usage(request, texts),
    }


def _called(text: str, fault: str) -> tuple[str, list[dict[str, Any]]]:
    """The words and the calls of an answer.

    A policy calls tools by answering ``{"tool_calls": [{"name": ..., "arguments": {...}}]}``, with
    words under ``content``.
    """
    if fault == "tool_calls":
        return "", [{"name": "look", "arguments": {}}]
    if not text.startswith('{"tool_calls"'):
        return text, []
    answer = json.loads(text)
    return answer.get("content", ""), answer["tool_calls"]


def _tools(tools: Any, schema: str) -> list[dict[str, Any]]:
    """Tools as a request has them, whatever a vendor calls the schema."""
    return [
        {"parameters" if key == schema else key: value for key, value in tool.items()}
        for tool in tools or ()
    ]


def _usage(request: Request, texts: Sequence[str]) -> dict[str, int]:
    prompt, completion = prompt_tokens(request), sum(len(text.split()) for text in texts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _read_anthropic(body: Mapping[str, Any], path: Mapping[str, Any]) -> tuple[Request, str]:
    messages = list(body["messages"])
    if body.get("system"):
        messages.insert(0, {"role": "system", "content": body["system"]})
    request = Request(
        messages=messages,
        temperature=float(body.get("temperature", 1.0)),
        max_tokens=int(body["max_tokens"]),
        stop=tuple(body.get("stop_sequences") or ()),
        response_format=_forced_tool(body),
        tools=() if _forced_tool(body) else tuple(_tools(body.get("tools"), "input_schema")),
    )
    return request, str(body.get("model"))


def _forced_tool(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tool that must be called, as the schema that it is."""
    name = (body.get("tool_choice") or {}).get("name")
    tools = [tool for tool in body.get("tools") or () if tool["name"] == name]
    return json_schema(name, tools[0]["input_schema"]) if name and tools else None


def _reply_anthropic(
    model: str, request: Request, texts: Sequence[str], fault: str
) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": texts[0]}]
    finish = "end_turn"
    words, calls = _called(texts[0], "")
    if (form := schema_of(request)) is not None and not fault:
        call = {"type": "tool_use", "id": "call_0", "name": form[0], "input": json.loads(texts[0])}
        content, finish = [call], "tool_use"
    elif calls:
        content = [{"type": "text", "text": words}] if words else []
        content += [
            {"type": "tool_use", "id": f"toolu_{i}", "name": c["name"], "input": c["arguments"]}
            for i, c in enumerate(calls)
        ]
        finish = "tool_use"
    if fault == "tool_calls":
        content = [{"type": "tool_use", "id": "call_0", "name": "look", "input": {}}]
        finish = "tool_use"
    elif fault in ("refusal", "empty", "length"):
        content = []
        finish = {"refusal": "refusal", "empty": "end_turn", "length": "max_tokens"}[fault]
    usage = _usage(request, texts)
    return {
        "id": "scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": finish,
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
        },
    }


def _read_google(body: Mapping[str, Any], path: Mapping[str, Any]) -> tuple[Request, str]:
    config = body.get("generationConfig") or {}
    messages: list[dict[str, Any]] = []
    if system := body.get("systemInstruction"):
        messages.append({"role": "system", "content": _text(system["parts"])})
    for content in body["contents"]:
        role = "assistant" if content.get("role") == "model" else "user"
        message = {"role": role, "content": _text(content["parts"])}
        if any("text" not in part for part in content["parts"]):  # calls, and what they brought
            message["parts"] = content["parts"]
        messages.append(message)
    request = Request(
        messages=messages,
        n=int(config.get("candidateCount") or 1),
        temperature=float(config.get("temperature", 1.0)),
        max_tokens=int(config.get("maxOutputTokens") or 512),
        seed=config.get("seed"),
        stop=tuple(config.get("stopSequences") or ()),
        response_format=json_schema("answer", config["responseJsonSchema"])
        if "responseJsonSchema" in config
        else None,
        tools=tuple(
            _tools(
                [t for group in body.get("tools") or () for t in group["functionDeclarations"]],
                "parameters_json_schema",  # as its library writes it; Google reads both spellings
            )
        ),
    )
    return request, str(path.get("model", "")).removesuffix(":generateContent")


def _reply_google(model: str, request: Request, texts: Sequence[str], fault: str) -> dict[str, Any]:
    candidates = []
    for index, text in enumerate(texts):
        words, calls = _called(text, "")
        parts: list[dict[str, Any]] = [{"text": words}] if words else []
        parts += [{"functionCall": {"name": c["name"], "args": c["arguments"]}} for c in calls]
        if calls:  # a signature is bytes, and wants to come back with its call
            parts[-1]["thoughtSignature"] = base64.b64encode(b"\x00signed\xff").decode()
        finish = "STOP"
        if fault == "tool_calls":
            parts = [{"functionCall": {"name": "look", "args": {}}}]
        elif fault == "refusal":
            parts, finish = [], "SAFETY"
        elif fault == "length":
            parts, finish = [], "MAX_TOKENS"
        content = {"role": "model", "parts": parts}
        candidates.append({"index": index, "content": content, "finishReason": finish})
    usage = _usage(request, texts)
    return {
        "candidates": [] if fault == "empty" else candidates,
        "modelVersion": model,
        "usageMetadata": {
            "promptTokenCount": usage["prompt_tokens"],
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
        },
    }


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return ""


OPENAI = Dialect(_read_openai, _reply_openai)
ANTHROPIC = Dialect(_read_anthropic, _reply_anthropic)
GOOGLE = Dialect(_read_google, _reply_google)
