"""Where a record holds its conversation: a column of messages, a request and its response.

``logged`` finds the messages that an agent was given (or the whole conversation), the answers that
came beside them, and what is left of the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.messages import (
    ROLES,
    looks_like_message,
    role_of,
    unwrapped,
)
from pgv_jax.data.importers.conversation.pieces import first_of, literal, words_of
from pgv_jax.data.importers.conversation.streams import events_in, whole_of
from pgv_jax.data.storage.jsonl import FieldError, kind_of, parse_json

COLUMNS: tuple[str, ...] = ("messages", "traj", "trajectory", "conversation", "conversations")
COLUMNS += ("chat", "history", "chat_history", "dialogue", "turns", "transcript", "contents")
COLUMNS += ("message_history",)
REQUESTS: tuple[str, ...] = ("request", "request_body", "requestBody", "body", "kwargs", "input")
REQUESTS += ("inputs", "params", "payload", "request_json", "llm_request", "call", "data")
REQUESTS += ("proxy_server_request", "sample", "conversation")
RESPONSES: tuple[str, ...] = ("response", "response_body", "responseBody", "completion")
RESPONSES += ("completions", "choices", "response_json", "llm_response", "candidates")
RESPONSES += ("generations", "raw_response")
OUTPUTS = ("output", "outputs")
"""What answers an ``input``; beside ``messages`` these say other things."""
SURELY = ("response", "response_body", "responseBody", "response_json", "llm_response")
"""Answers also where the messages end with words of the agent: it was given their beginning."""
CONTINUED = ("prefix", "partial")
"""What marks a message that the model is to go on with (DeepSeek, Mistral; Qwen, Kimi)."""
UNANSWERED = "no answer of a model was found in the response of a call"
SAID = ("choices", "content", "output", "candidates", "generations", "message", "text")
"""Keys of a response that hold its words."""
SAID_IN = ("choices", "candidates", "generations", "output", "messages", "message")
ASKED_IN = ("body", "inputBodyJson")
ANSWERED_IN = ("body", "outputBodyJson")
"""Where a proxy (and Bedrock's log of invocations) puts a request and its response."""
PROMPTS = ("prompt", "prompts", "input", "inputs")
SYSTEMS = ("system", "instructions", "system_prompt", "systemInstruction", "system_instruction")
SAMPLED = 20


@dataclass(frozen=True)
class Logged:
    """A conversation as a record logs it.

    ``answers`` are alternatives (n > 1 choices), each a list of messages; the first was taken.
    ``fields`` is the record without the conversation.
    """

    column: str
    messages: Sequence[Any]
    answers: Sequence[Sequence[Any]] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conversation(self) -> list[Any]:
        """The messages and the answer that was taken, if it does not stand there already."""
        messages = list(self.messages)
        if not self.answers or not self.answers[0]:
            return messages
        answer = list(self.answers[0])
        if messages and _says(messages[-1]) == _says(answer[-1]):
            return messages
        return messages + answer


def _says(message: Any) -> tuple[bool, str]:
    inner = unwrapped(message) if isinstance(message, Mapping) else {}
    assistant = ROLES.get(role_of(inner) or "") == "assistant"
    return assistant, words_of(inner.get("content")) + repr(inner.get("tool_calls"))


def parsed(value: Any) -> Any:
    """A value that is JSON or Python text of a list or an object is that value."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse_json(value)
    except FieldError:
        return literal(value)


def are_messages(value: Any) -> bool:
    """True for a list whose first entries are messages in a known dialect."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(looks_like_message(message) for message in value[:SAMPLED])
    )


def hold_messages(value: Any) -> bool:
    """True where half of a column named for messages is known: the others are errors, not data."""
    if not isinstance(value, list | tuple):
        return False
    known = sum(looks_like_message(message) for message in value[:SAMPLED])
    return 0 < len(value[:SAMPLED]) <= 2 * known


def logged(record: Any, options: Options) -> Logged | None:
    """Return the conversation of a record, or None where there is none."""
    if are_messages(record):
        return Logged("", record)
    if not isinstance(record, Mapping):
        return None
    chosen = options.columns.get("messages")
    if chosen is not None:
        return _chosen(record, chosen)
    for find in (_column, _exchange, _request, _any_column, _nested, _prompt):
        found = find(record)
        if found is not None:
            return _continued(found)
    return None


def _continued(found: Logged) -> Logged:
    """An answer that goes on with the request's last message is one message with it.

    Anthropic's API goes on with every message of the agent that ends a request ("prefill"), others
    with one that asks for it.
    """
    last = unwrapped(found.messages[-1]) if isinstance(found.messages[-1], Mapping) else {}
    begun = last.get("content")
    if isinstance(begun, list) and len(begun) == 1 and isinstance(begun[0], Mapping):
        begun = begun[0].get("text")
    if not (found.answers and found.answers[0] and _says(last)[0] and isinstance(begun, str)):
        return found
    first = found.answers[0][0]
    places = (found.fields, *found.fields.values())
    asked = any(last.get(key) is True for key in CONTINUED) or any(map(_asks_to_continue, places))
    if not begun or _says(last) == _says(first) or not (asked or is_of_anthropic(first)):
        return found
    answers = [[_grown(begun, answer[0]), *answer[1:]] for answer in found.answers if answer]
    return replace(found, messages=found.messages[:-1], answers=answers)


def is_of_anthropic(message: Any) -> bool:
    """Is it a response of Anthropic's API, as it comes over the wire?"""
    return isinstance(message, Mapping) and {"role", "stop_reason", "content"} <= set(message)


def _asks_to_continue(place: Any) -> bool:
    return isinstance(place, Mapping) and place.get("continue_final_message") is True


def _grown(begun: str, answer: Any) -> dict[str, Any]:
    """The answer behind the words that it goes on with; some servers repeat these themselves."""
    content = answer.get("content")
    if content is None or isinstance(content, str):
        said = content or ""
        return {**answer, "content": said if said.startswith(begun) else begun + said}
    blocks = list(content)
    at = next((i for i, b in enumerate(blocks) if isinstance(b, Mapping) and "text" in b), None)
    if at is None:
        blocks.insert(0, {"type": "text", "text": begun})
    elif not blocks[at]["text"].startswith(begun):
        blocks[at] = {**blocks[at], "text": begun + blocks[at]["text"]}
    return {**answer, "content": blocks}


def _chosen(record: Mapping[str, Any], name: str) -> Logged:
    value: Any = record
    for key in name.split("."):
        value = parsed(value.get(key)) if isinstance(value, Mapping) else None
    if not isinstance(value, list | tuple):
        have = ", ".join(map(str, record))[:200]
        raise FieldError(name, f"holds no list of messages (the record has {have})")
    return Logged(name, value, (), without(record, name.split(".")[0]))


def without(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The record without some of its keys."""
    return {str(key): value for key, value in record.items() if key not in names}


def _column(record: Mapping[str, Any]) -> Logged | None:
    for name in COLUMNS:
        value = parsed(record.get(name))
        if hold_messages(value):
            return _with_answers(record, name, value, RESPONSES)
    return None


def _with_answers(
    record: Mapping[str, Any], name: str, messages: Sequence[Any], keys: Sequence[str]
) -> Logged:
    if _says(messages[-1])[0]:
        keys = [key for key in keys if key in SURELY]
    key = next((k for k in keys if record.get(k) is not None and k != name), None)
    answers = answers_of(record[key]) if key else []
    system = next((k for k in SYSTEMS if record.get(k)), None)
    if system and not any(_is_system(message) for message in messages[:2]):
        messages = [{"role": "system", "content": record[system]}, *messages]
    fields = without(record, name, *((system,) if system else ()))
    if answers and key:
        rest = _rest(record[key])
        fields = {**fields, key: rest} if rest else without(fields, key)
    return Logged(name, messages, answers, fields)


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role", message.get("type")) == "system"


def _rest(response: Any) -> Any:
    """A response without its words: model, usage, finish reason."""
    response = parsed(response)
    if not isinstance(response, Mapping):
        return None
    inner = {k: _rest(v) if k in ANSWERED_IN else v for k, v in response.items()}
    return without(inner, *SAID)


def _exchange(record: Mapping[str, Any]) -> Logged | None:
    """A prompt beside its completion: TRL, verifiers, the Responses API."""
    for name in PROMPTS:
        prompt = parsed(record.get(name))
        if prompt in (None, ""):
            continue
        key = next((k for k in (*RESPONSES, *OUTPUTS) if answers_of(record.get(k))), None)
        if key is None:
            return None
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if are_messages(prompt):
            return _with_answers(record, name, prompt, (key,))
    return None


def _request(record: Mapping[str, Any]) -> Logged | None:
    """A proxy's log: the request's body beside the response's."""
    for name in REQUESTS:
        inner = parsed(record.get(name))
        boxed = first_of(inner, ASKED_IN) if isinstance(inner, Mapping) else None
        inner = inner if boxed is None else parsed(boxed)
        if not isinstance(inner, Mapping):
            continue
        found = _column(inner) or _exchange(inner) or _any_column(inner)
        if found is None and isinstance(inner.get("input"), str):
            found = Logged("input", [{"role": "user", "content": inner["input"]}])
        if found is None and are_messages(parsed(inner.get("input"))):
            found = _with_answers(inner, "input", parsed(inner["input"]), ())
        if found is None:
            continue
        fields = without(record, name)
        if found.fields:
            fields = {**fields, name: dict(found.fields)}
        keys = [key for key in (*RESPONSES, *OUTPUTS) if key != name]
        return _answered(record, keys, Logged(name, found.messages, found.answers, fields))
    return None


def _answered(record: Mapping[str, Any], keys: Sequence[str], found: Logged) -> Logged:
    """The messages of a part of a record with the answer that stands beside that part."""
    answers, fields = found.answers, found.fields
    for key in keys:
        if not answers and record.get(key) is not None and (answers := answers_of(record[key])):
            rest = _rest(record[key])
            fields = {**fields, key: rest} if rest else without(fields, key)
    return replace(found, answers=answers, fields=fields)


def _any_column(record: Mapping[str, Any]) -> Logged | None:
    for name, raw in record.items():
        if name in (*RESPONSES, *OUTPUTS, *PROMPTS, "chosen", "rejected", "tools"):
            continue
        value = parsed(raw)
        if are_messages(value) and any(_speaks(message) for message in value):
            return _with_answers(record, str(name), value, RESPONSES)
    return None


def _prompt(record: Mapping[str, Any]) -> Logged | None:
    """A prompt without a completion, which holds turns of the agent itself."""
    if {"chosen", "rejected"} & set(record):  # a pair of answers, of which none was taken
        return None
    for name in PROMPTS:
        value = parsed(record.get(name))
        if are_messages(value) and any(_says(message)[0] for message in value):
            return _with_answers(record, name, value, ())
    return None


def _speaks(message: Any) -> bool:
    return isinstance(message, Mapping) and bool(role_of(unwrapped(message)))


def _nested(record: Mapping[str, Any]) -> Logged | None:
    for name, raw in record.items():
        inner = parsed(raw)
        if isinstance(inner, Mapping) and name not in ("chosen", "rejected", "reject", "tools"):
            found = _column(inner)
            if found is not None:
                fields = {**without(record, str(name)), str(name): dict(found.fields)}
                found = Logged(str(name), found.messages, found.answers, fields)
                return _answered(record, [key for key in SURELY if key != name], found)
    return None


def answers_of(value: Any) -> list[list[Any]]:
    """What a model answered, as alternative lists of messages; none where nothing is understood."""
    value = parsed(value)
    if isinstance(value, str):
        events = events_in(value)
        if events is not None:
            whole = whole_of(events)
            return [] if whole is None else answers_of(whole)
        return [[{"role": "assistant", "content": value}]] if value else []
    if isinstance(value, Mapping):
        return _answers_in(value)
    if not isinstance(value, list | tuple) or not value:
        return []
    whole = whole_of(value)
    if whole is not None:
        return answers_of(whole)
    boxed = all(isinstance(part, Mapping) and "message" in part for part in value)
    if are_messages(value) and not boxed:
        return [list(value)]
    if all(isinstance(part, str) for part in value):
        return [[{"role": "assistant", "content": part}] for part in value]
    if any(isinstance(part, Mapping) and str(part.get("type")) in BLOCKS for part in value):
        return [[{"role": "assistant", "content": list(value)}]]
    nested = [answer for part in value for answer in answers_of(part)[:1]]
    return nested if len(nested) == len(value) else []


BLOCKS = ("text", "thinking", "tool_use", "output_text", "reasoning", "server_tool_use")


def _answers_in(value: Mapping[str, Any]) -> list[list[Any]]:
    for key in (*ANSWERED_IN, *SAID_IN):
        if key not in value:
            continue
        inner = parsed(value[key])
        if key == "generations" and isinstance(inner, list):  # a batch of one prompt
            inner = inner[0] if inner and isinstance(inner[0], list) else inner
        if key in ("message", "output") and isinstance(inner, str):
            return [[{"role": "assistant", "content": inner}]]
        if inner and (found := answers_of(inner)):
            return found
    if looks_like_message(value) and role_of(unwrapped(value)):
        return [[value]]
    if isinstance(value.get("content"), Mapping) and "parts" in value["content"]:
        return [[{"role": "model", **value["content"]}]]  # Gemini
    said = {"content", "tool_calls", "parts", "reasoning_content"} & set(value)
    if said:
        return [[{**value, "role": "assistant"}]]
    for key in ("text", "generated_text", "output_text", "completion", "response", "answer"):
        if isinstance(value.get(key), str) and value[key]:
            return [[{"role": "assistant", "content": value[key]}]]
    return []


def missing(record: Any) -> FieldError:
    """The error for a record without a conversation, with what it has instead."""
    have = ", ".join(map(str, record)) if isinstance(record, Mapping) else kind_of(record)
    return FieldError(
        "messages", f"is missing (the record has {have[:200]}); name it with --column messages=NAME"
    )
