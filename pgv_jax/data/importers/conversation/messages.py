"""Messages of any provider's dialect as turns: OpenAI, Anthropic, Bedrock, Gemini, LangChain.

``turns_of`` reads a list of messages, or of the items that OpenAI's Responses API puts in place of
them, mixed as they come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgv_jax.data.importers.conversation.content import (
    ASIDE,
    CALL_TYPES,
    RESULT_TYPES,
    read_content,
    read_part,
    result_text,
)
from pgv_jax.data.importers.conversation.pieces import (
    ID_KEYS,
    REASONING,
    Call,
    Piece,
    Reasoning,
    Result,
    Text,
    call_of,
    first_of,
    literal,
    parse_arguments,
    words_of,
)
from pgv_jax.data.importers.conversation.turns import Turn, joined, turns_of_pieces
from pgv_jax.data.importers.outcomes.outcome import number
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field

ROLES = {
    **dict.fromkeys(("system", "developer", "root", "exit"), "system"),
    **dict.fromkeys(("user", "human", "HumanMessage", "HumanMessageChunk", "customer"), "user"),
    **dict.fromkeys(("assistant", "ai", "model", "gpt", "chatgpt", "bot", "agent"), "assistant"),
    "chatbot": "assistant",
    **dict.fromkeys(("AIMessage", "AIMessageChunk", "tool_call", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "tool_response", "function_response"), "tool"),
    **dict.fromkeys(("observation", "tool_result", "ipython", "environment"), "tool"),
    **dict.fromkeys(("ToolMessage", "FunctionMessage", "ToolMessageChunk"), "tool"),
    "SystemMessage": "system",
}
"""Who speaks, by the names that logs have for it; LangChain writes it in ``type``."""
CALLING = ("tool_call", "function_call")
"""Roles whose words are a call."""
CONTENT_KEYS = ("content", "parts", "text", "value", "message")
THOUGHT_KEYS: tuple[str, ...] = ("reasoning_content", "reasoning", "thinking", "thinking_blocks")
THOUGHT_KEYS += ("reasoning_details", "thought", "thoughts", "reasoning_text")
THOUGHT_KEYS += ("tool_plan",)  # Cohere's
USAGE = {
    "prompt_tokens": ("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens"),
    "completion_tokens": (
        "completion_tokens",
        "output_tokens",
        "candidatesTokenCount",
        "outputTokens",
    ),
    "cached_tokens": ("cached_tokens", "cache_read_input_tokens", "cachedContentTokenCount"),
    "cost_usd": ("cost_usd", "cost"),
}


def role_of(message: Mapping[str, Any]) -> str | None:
    """The name that a message has for its speaker, or None where it names none that is known."""
    for key in ("role", "type", "from"):
        value = message.get(key)
        if isinstance(value, str) and value not in ROLES:
            value = value.lower()  # USER, Human, CHATBOT
        if isinstance(value, str) and value in ROLES and not (key == "type" and is_item(message)):
            return value
    return None


def is_item(message: Mapping[str, Any]) -> bool:
    """True for an item without a speaker: reasoning, a call or its output."""
    if "role" in message:
        return False
    kind = str(message.get("type") or "").lower().replace("-", "_")
    if kind in (*REASONING, *ASIDE):
        return True
    if RESULT_TYPES.search(kind):
        return bool({"output", "call_id", "content", "tool_use_id", "result"} & set(message))
    known = {"call_id", "id", "name", "arguments", "action", "input", "code", "queries"}
    return bool(CALL_TYPES.search(kind)) and bool(known & set(message))


def unwrapped(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message out of the box that some libraries log it in."""
    kwargs, names = message.get("kwargs"), message.get("id")
    if "lc" in message and isinstance(kwargs, Mapping) and isinstance(names, list) and names:
        return {**kwargs, "type": str(names[-1])}
    data = message.get("data")
    if isinstance(data, Mapping) and "type" in message and "content" in data:
        return {**data, "type": message["type"]}
    if isinstance(message.get("parts"), list) and not {"role", "type", "from"} & set(message):
        return {**message, "role": "user"}  # Gemini lets a lone prompt go without a role
    inner = message.get("message")
    if isinstance(inner, Mapping) and "role" in inner and "role" not in message:
        return inner
    return message


def looks_like_message(message: Any) -> bool:
    """True for an object with a known speaker and something said, or for an item."""
    if not isinstance(message, Mapping):
        return False
    message = unwrapped(message)
    if is_item(message):
        return True
    said = {*CONTENT_KEYS, "tool_calls", "function_call", *THOUGHT_KEYS, "refusal"}
    return role_of(message) is not None and bool(said & set(message))


def turns_of(messages: Sequence[Any], where: str, tally: Tally) -> list[Turn]:
    """Return the turns of a list of messages, in order, each turn of the agent in one piece."""
    filled = any(
        isinstance(m, Mapping)
        and role_of(m) in ("user", "system", "tool")
        and any(m.get(key, 0) is None for key in ("tool_calls", "function_call"))
        for m in messages
    )
    out: list[Turn] = []
    for i, message in enumerate(messages):
        out.extend(message_turns(message, f"{where}[{i}]", tally))
    return joined([_unfilled(turn) for turn in out] if filled else out)


def _unfilled(turn: Turn) -> Turn:
    """Arrow gives every object the keys of all others, as nulls; in arguments they mean nothing."""
    calls = tuple(
        call._replace(arguments={k: v for k, v in call.arguments.items() if v is not None})
        if isinstance(call.arguments, Mapping)
        else call
        for call in turn.calls
    )
    return replace(turn, calls=calls)


def message_turns(message: Any, where: str, tally: Tally) -> list[Turn]:
    """One message as turns: mostly one, several where a tool answered within it."""
    if not isinstance(message, Mapping):
        raise FieldError(where, f"must be an object, not {kind_of(message)}")
    if _is_plain(message):
        text = text_field(message["content"], f"{where}.content")
        return [Turn(message["role"], text, (message,))]
    inner = unwrapped(message)
    if is_item(inner):
        pieces = read_part(inner, where, tally, data=True)
        role = "tool" if pieces and isinstance(pieces[0], Result) else "assistant"
        return turns_of_pieces(role, pieces, Turn(role, raws=(message,), item=True))
    name = role_of(inner)
    if name is None:
        said = inner.get("role", inner.get("type", inner.get("from")))
        raise FieldError(f"{where}.role", f"is {said!r:.40}; known are {', '.join(KNOWN)}")
    role = ROLES[name]
    source = inner.get("id")
    first = Turn(
        role,
        raws=(message,),
        reward=number(inner.get("reward")),
        usage=usage_of(first_of(inner, ("usage", "usage_metadata", "metrics", "usageMetadata"))),
        context=inner.get("loss") is False and role == "assistant",
        source=source if isinstance(source, str) and role == "assistant" else "",
        item=inner.get("type") == "message",
    )
    if role == "tool":
        return [replace(first, results=tuple(_tool_results(inner, where, tally)))]
    return turns_of_pieces(role, _pieces(inner, name, role, where, tally), first)


def _is_plain(message: Mapping[str, Any]) -> bool:
    """True where all is said by a role and its words; most messages are so, and read faster."""
    return (
        message.get("role") in PLAIN
        and isinstance(message.get("content"), str)
        and all(
            value is None or (isinstance(value, list) and not value)
            for key, value in message.items()
            if key not in ("role", "content")
        )
    )


PLAIN = ("user", "assistant", "system")
KNOWN = ("system", "developer", "user", "assistant", "tool", "function", "human", "ai", "model")


def _pieces(
    message: Mapping[str, Any], name: str, role: str, where: str, tally: Tally
) -> list[Piece]:
    key = next((k for k in CONTENT_KEYS if message.get(k) is not None), "content")
    if isinstance(message.get(key), str) and isinstance(message.get("parts"), list):
        key = "parts" if message["parts"] else key  # of which the content is the words alone
    pieces = read_content(message.get(key), f"{where}.{key}", tally)
    if not any(isinstance(p, Text) and p.text for p in pieces):
        for key in ("refusal", "audio"):
            if message.get(key):
                told = message[key]
                told = told if isinstance(told, str) else {"type": key, key: told}
                pieces += read_content(told, f"{where}.{key}", tally)
    for image in message.get("images") or ():
        told = image if isinstance(image, Mapping) else {"type": "image", "image": image}
        pieces += read_content(told, f"{where}.images", tally)
    for file in message.get("experimental_attachments") or ():  # the AI SDK's
        pieces += read_content({"type": "file", "file": file}, f"{where}.attachments", tally)
    if role != "assistant":
        return pieces
    if name in CALLING:
        return [_called(piece, where) for piece in pieces]
    if not any(isinstance(piece, Reasoning) for piece in pieces):
        more = message.get("additional_kwargs")
        for place in (message, more if isinstance(more, Mapping) else {}):
            given = (words_of(place[key]) for key in THOUGHT_KEYS if place.get(key))
            if said := next(filter(None, given), ""):
                pieces.insert(0, Reasoning(text_field(said, f"{where}.reasoning")))
                break
    known = {piece.id for piece in pieces if isinstance(piece, Call) and piece.id}
    pieces += [call for call in _calls(message, where) if call.id not in known or not call.id]
    for i, part in enumerate(message.get("toolInvocations") or ()):
        if isinstance(part, Mapping) and part.get("toolCallId") in known:
            continue
        invocation = {"type": "tool-invocation", "toolInvocation": part}
        pieces += read_part(invocation, f"{where}.toolInvocations[{i}]", tally)
    return pieces


def _called(piece: Piece, where: str) -> Piece:
    """The words of a role such as ``tool_call`` as the call that they spell (JSON or Python)."""
    if not isinstance(piece, Text):
        return piece
    value = parse_arguments(piece.text)
    value = literal(value) if isinstance(value, str) else value
    call = call_of(value, where) if isinstance(value, Mapping) else None
    return piece if call is None else call


def _calls(message: Mapping[str, Any], where: str) -> list[Call]:
    calls = message.get("tool_calls")
    invalid = message.get("invalid_tool_calls")  # LangChain's: their arguments are no JSON
    if isinstance(invalid, list) and isinstance(calls, list | None):
        calls = [*(calls or ()), *invalid]
    more = message.get("additional_kwargs")
    if not calls and isinstance(more, Mapping):
        calls = more.get("tool_calls") or (
            [more["function_call"]] if more.get("function_call") else ()
        )
    if message.get("function_call"):
        calls = [{"function": message["function_call"]}]
    calls = calls or ()
    if not isinstance(calls, list | tuple):
        raise FieldError(f"{where}.tool_calls", f"must be a list, not {kind_of(calls)}")
    out = []
    for i, call in enumerate(calls):
        if isinstance(call, Mapping) and isinstance(call.get("tool_call"), Mapping):
            call = call["tool_call"]
        found = call_of(call, f"{where}.tool_calls[{i}]") if isinstance(call, Mapping) else None
        if found is None:
            raise FieldError(f"{where}.tool_calls[{i}]", "has no function with a name")
        out.append(found)
    return out


def _tool_results(message: Mapping[str, Any], where: str, tally: Tally) -> list[Result]:
    """The results in a tool's message: parts that say whose they are, else all of its content."""
    key = next((k for k in (*CONTENT_KEYS, "output") if message.get(k) is not None), "content")
    content = message.get(key)
    number = str(first_of(message, [key for key in ID_KEYS if key != "id"]) or "")
    if isinstance(content, list | tuple):
        pieces = read_content(content, f"{where}.{key}", tally, data=True)
        found = [piece for piece in pieces if isinstance(piece, Result) and piece.call_id]
        if found:
            return found
    return [Result(result_text(content, f"{where}.{key}", tally), number)]


def usage_of(value: Any) -> dict[str, Any]:
    """Tokens and cost of a turn under our names, from the spellings of the providers."""
    if not isinstance(value, Mapping):
        return {}
    out: dict[str, Any] = {}
    for ours, names in USAGE.items():
        found = next((n for name in names if (n := number(value.get(name))) is not None), None)
        if found is not None:
            out[ours] = found if ours == "cost_usd" else int(found)
    return out


def to_openai_messages(turn: Turn) -> list[dict[str, Any]]:
    """A turn as OpenAI messages: what was said with its calls, and a message a result."""
    out: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": result.call_id or None, "content": result.text}
        for result in turn.results
    ]
    if turn.role == "tool" or (out and not turn.text):
        return out
    said: dict[str, Any] = {"role": turn.role, "content": turn.text or None}
    if turn.reasoning:
        said["reasoning_content"] = turn.reasoning
    if turn.calls:
        said["tool_calls"] = [
            {
                "id": call.id or None,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments_text(call.arguments)},
            }
            for call in turn.calls
        ]
    return [*out, said]


def _arguments_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
