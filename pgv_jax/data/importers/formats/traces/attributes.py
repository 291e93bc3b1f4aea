"""Messages in the attributes of spans: OpenTelemetry's GenAI conventions, OpenInference, others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pgv_jax.data.importers.conversation.fields import answers_of, parsed
from pgv_jax.data.importers.formats.traces.spans import messages_in

USAGE = {
    "prompt_tokens": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
    ),
    "completion_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
    ),
}
MODEL_KINDS = ("LLM", "CHAT_MODEL", "chat", "text_completion", "generate_content", "completion")
TOOL_KINDS = ("TOOL", "execute_tool", "tool")
AI_SDK_CALL = re.compile(r"ai\.\w+\.do(?:Generate|Stream)\b")
EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
"""The events of GenAI conventions up to 1.36."""


def any_value(value: Any) -> Any:
    """OTLP's AnyValue as a JSON value: ``{"stringValue": "x"}`` is "x"."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue" and isinstance(inner, Mapping):
        return [any_value(one) for one in inner.get("values") or ()]
    if kind == "kvlistValue" and isinstance(inner, Mapping):
        return key_values(inner.get("values"))
    if kind == "intValue":
        return int(inner) if str(inner).lstrip("-").isdigit() else inner
    return inner if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue") else value


def key_values(pairs: Any) -> dict[str, Any]:
    """OTLP's list of attributes as an object; an object is as it is."""
    if isinstance(pairs, Mapping):
        return dict(pairs)
    return {
        str(pair["key"]): any_value(pair.get("value"))
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, Mapping) and "key" in pair
    }


def nested(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as objects within objects; numbers among them index lists."""
    root: dict[str, Any] = {}
    for key, value in attributes.items():
        place = root
        *path, last = str(key).split(".")
        for part in path:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = {} if inner is None else {"": inner}
                place[part] = inner
            place = inner
        inner = place.get(last)
        if isinstance(inner, dict) and not isinstance(value, Mapping):
            inner[""] = value
        elif isinstance(value, Mapping):
            place[last] = {**(inner if isinstance(inner, dict) else {}), **nested(value)}
        else:
            place[last] = value
    return {key: _listed(value) for key, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(one) for key, one in value.items()}
    numbered = [key for key in inner if key.isdigit()]
    if numbered and len(numbered) == len(inner):
        return [inner[key] for key in sorted(numbered, key=int)]
    return inner


def at(tree: Any, path: str) -> Any:
    """The value at a dotted path of a nested object, or None."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def asked_and_answered(
    attributes: Mapping[str, Any], events: Any = ()
) -> tuple[list[Any], list[list[Any]]]:
    """Return (messages, alternative answers) of a call of a model; empty where none are told."""
    tree = nested(attributes)
    for asked, answered in (
        ("gen_ai.input.messages", "gen_ai.output.messages"),
        ("llm.input_messages", "llm.output_messages"),
        ("gen_ai.prompt", "gen_ai.completion"),
        ("ai.prompt.messages", "ai.response"),
        ("ai.prompt", "ai.response"),
        ("traceloop.entity.input", "traceloop.entity.output"),
        ("input.value", "output.value"),
    ):
        messages = _messages(at(tree, asked))
        if messages:
            system = at(tree, "gen_ai.system_instructions")
            if system and messages[0].get("role") != "system":
                messages = [{"role": "system", "content": parsed(system)}, *messages]
            return messages, _answers(at(tree, answered))
    return _told_by_events(events)


def _messages(value: Any) -> list[Any]:
    value = parsed(value)
    if isinstance(value, Mapping) and "" in value:
        value = parsed(value[""])
    found = value if isinstance(value, list) else messages_in(value)
    return [_unflattened(m) for m in found if isinstance(m, Mapping)]


def _answers(value: Any) -> list[list[Any]]:
    value = parsed(value)
    if isinstance(value, list):
        messages = [_unflattened(m) for m in value if isinstance(m, Mapping)]
        return [[{**m, "role": m.get("role") or "assistant"}] for m in messages]  # one a choice
    if isinstance(value, Mapping) and ("text" in value or "toolCalls" in value):  # AI SDK
        calls = parsed(value.get("toolCalls")) or []
        parts = [
            {"type": key, "text": value[key]} for key in ("reasoning", "text") if value.get(key)
        ]
        return [
            [
                {
                    "role": "assistant",
                    "content": [*parts, *({"type": "tool-call", **c} for c in calls)],
                }
            ]
        ]
    return answers_of(value)


def _unflattened(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message out of OpenInference's boxes (``message.tool_calls[].tool_call.function``)."""
    inner = nested(message)
    inner = inner["message"] if isinstance(inner.get("message"), Mapping) else inner
    calls = inner.get("tool_calls")
    if isinstance(calls, list):
        inner = {
            **inner,
            "tool_calls": [_unboxed(call, "tool_call") for call in calls],
        }
    parts = inner.get("contents")
    if isinstance(parts, list) and not inner.get("content"):
        boxes = [_unboxed(part, "message_content") for part in parts]
        inner = {**{k: v for k, v in inner.items() if k != "contents"}, "content": boxes}
    return dict(inner)


def _unboxed(value: Any, box: str) -> Any:
    inner = nested(value) if isinstance(value, Mapping) else value
    return inner.get(box, inner) if isinstance(inner, Mapping) else inner


def _told_by_events(events: Any) -> tuple[list[Any], list[list[Any]]]:
    messages: list[Any] = []
    answers: list[list[Any]] = []
    for event in events if isinstance(events, list) else ():
        if not isinstance(event, Mapping):
            continue
        facts = nested({**key_values(event.get("attributes")), **_body(event)})
        name = str(
            event.get("name") or event.get("eventName") or facts.get("event", {}).get("name")
        )
        told = {k: parsed(v) for k, v in facts.items()}
        prompt, completion = at(facts, "gen_ai.prompt"), at(facts, "gen_ai.completion")
        if name in EVENTS:
            messages.append({"role": EVENTS[name], **told})
        elif name == "gen_ai.choice":
            inner = told.get("message")
            said = (
                inner if isinstance(inner, Mapping) else {"content": inner or told.get("content")}
            )
            answers.append([{"role": "assistant", **told, **said}])
        elif prompt is not None:
            messages += _messages(prompt)
        elif completion is not None:
            answers += _answers(completion)
        elif name.startswith("gen_ai.client.inference"):
            asked, answered = asked_and_answered(key_values(event.get("attributes")))
            messages, answers = messages + asked, answers + answered
    return messages, answers


def _body(event: Mapping[str, Any]) -> dict[str, Any]:
    body = any_value(event.get("body"))
    return dict(body) if isinstance(body, Mapping) else {}


def kind_of_span(attributes: Mapping[str, Any], stated: Any = None) -> str:
    """Return model, tool or other, by what the conventions say of a span."""
    names = [stated, *(attributes.get(key) for key in KIND_KEYS)]
    for name in names:
        text = str(name or "").strip('"')
        if text in MODEL_KINDS or AI_SDK_CALL.match(text) or text == "llm":
            return "model"
        if text in TOOL_KINDS or text == "ai.toolCall":
            return "tool"
    pattern = re.compile(r"^(?:gen_ai\.(?:prompt|input|completion)|llm\.input_messages)")
    return "model" if any(pattern.match(str(key)) for key in attributes) else "other"


KIND_KEYS: tuple[str, ...] = ("openinference.span.kind", "gen_ai.operation.name")
KIND_KEYS += ("traceloop.span.kind", "ai.operationId", "mlflow.spanType", "llm.request.type")


def usage_in(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens of a call under our names."""
    out = {}
    for ours, names in USAGE.items():
        found = next((attributes[name] for name in names if attributes.get(name) is not None), None)
        if isinstance(found, int | float | str) and str(found).replace(".0", "").isdigit():
            out[ours] = int(float(found))
    return out
