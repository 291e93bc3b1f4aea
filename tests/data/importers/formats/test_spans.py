"""OpenTelemetry spans in the conventions that tools write; every value stated by hand."""

import json
from pathlib import Path
from typing import Any

from ..reading import imported, jsonl, rows
from .trace_samples import ASKED, FIRST, SAID, SECOND, only


def text(value: Any) -> dict[str, Any]:
    return {"stringValue": value if isinstance(value, str) else json.dumps(value)}


def otlp(path: Path, *spans: dict[str, Any]) -> Path:
    resource = {"attributes": [{"key": "service.name", "value": text("shop")}]}
    body = {
        "resourceSpans": [
            {"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}
        ]
    }
    return jsonl(path, body)


def span(number: int, **attributes: Any) -> dict[str, Any]:
    return {
        "traceId": "5b8e",
        "spanId": f"s{number}",
        "name": f"chat {number}",
        "startTimeUnixNano": str(1_700_000_000_000_000_000 + number),
        "attributes": [
            {"key": key, "value": value if isinstance(value, dict) else text(value)}
            for key, value in attributes.items()
        ],
    }


def parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message of OpenAI's in the GenAI conventions' schema."""
    if message["role"] == "tool":
        part = {"type": "tool_call_response", "id": "c1", "response": message["content"]}
    elif message.get("tool_calls"):
        part = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}
    else:
        part = {"type": "text", "content": message["content"]}
    return {"role": message["role"], "parts": [part]}


def test_otlp_with_the_genai_conventions(tmp_path: Path) -> None:
    calls = [
        span(
            2,
            **{
                "gen_ai.operation.name": "chat",
                "gen_ai.input.messages": [parts(m) for m in SECOND],
                "gen_ai.output.messages": [{**parts(SAID), "finish_reason": "stop"}],
                "gen_ai.usage.input_tokens": {"intValue": "20"},
                "gen_ai.request.model": "m",
            },
        ),
        span(
            1,
            **{
                "gen_ai.operation.name": "chat",
                "gen_ai.input.messages": [parts(m) for m in FIRST],
                "gen_ai.output.messages": [parts(ASKED)],
                "gen_ai.usage.input_tokens": {"intValue": "10"},
            },
        ),
        span(3, **{"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}),
    ]
    episode = only(otlp(tmp_path / "x.json", *calls), "otel")
    assert [s.metadata["prompt_tokens"] for s in episode.steps] == [10, 20]
    assert episode.episode_id == "5b8e"
    assert episode.metadata["record"] == {"trace_id": "5b8e", "service": "shop", "model": "m"}


def test_otlp_with_numbered_attributes(tmp_path: Path) -> None:
    def flat(messages: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for i, m in enumerate(messages):
            out[f"gen_ai.prompt.{i}.role"] = m["role"]
            if m.get("content"):
                out[f"gen_ai.prompt.{i}.content"] = m["content"]
            if m.get("tool_call_id"):
                out[f"gen_ai.prompt.{i}.tool_call_id"] = m["tool_call_id"]
            if m.get("tool_calls"):
                out[f"gen_ai.prompt.{i}.tool_calls.0.id"] = "c1"
                out[f"gen_ai.prompt.{i}.tool_calls.0.name"] = "weather"
                out[f"gen_ai.prompt.{i}.tool_calls.0.arguments"] = '{"city": "Oslo"}'
        out["gen_ai.completion.0.role"] = "assistant"
        if answer.get("content"):
            out["gen_ai.completion.0.content"] = answer["content"]
        else:
            out["gen_ai.completion.0.tool_calls.0.id"] = "c1"
            out["gen_ai.completion.0.tool_calls.0.name"] = "weather"
            out["gen_ai.completion.0.tool_calls.0.arguments"] = '{"city": "Oslo"}'
        return out

    only(
        otlp(tmp_path / "x.json", span(1, **flat(FIRST, ASKED)), span(2, **flat(SECOND, SAID))),
        "otel",
    )


def test_otlp_with_openinference(tmp_path: Path) -> None:
    def flat(name: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {"openinference.span.kind": "LLM"}
        for i, m in enumerate(messages):
            at = f"llm.{name}_messages.{i}.message"
            out[f"{at}.role"] = m["role"]
            if m.get("content"):
                out[f"{at}.content"] = m["content"]
            if m.get("tool_call_id"):
                out[f"{at}.tool_call_id"] = m["tool_call_id"]
            if m.get("tool_calls"):
                out[f"{at}.tool_calls.0.tool_call.id"] = "c1"
                out[f"{at}.tool_calls.0.tool_call.function.name"] = "weather"
                out[f"{at}.tool_calls.0.tool_call.function.arguments"] = '{"city": "Oslo"}'
        return out

    calls = [
        span(n, **{**flat("input", asked), **flat("output", [answer])})
        for n, (asked, answer) in enumerate([(FIRST, ASKED), (SECOND, SAID)])
    ]
    only(otlp(tmp_path / "x.json", *calls), "otel")


def test_spans_with_events(tmp_path: Path) -> None:
    names = {
        "system": "gen_ai.system.message",
        "user": "gen_ai.user.message",
        "assistant": "gen_ai.assistant.message",
        "tool": "gen_ai.tool.message",
    }

    def line(number: int, asked: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
        events = [
            {
                "name": names[m["role"]],
                "attributes": {
                    "content": m.get("content") or "",
                    "id": m.get("tool_call_id", ""),
                    "tool_calls": json.dumps(m.get("tool_calls", [])),
                },
            }
            for m in asked
        ]
        events.append(
            {"name": "gen_ai.choice", "attributes": {"index": 0, "message": json.dumps(answer)}}
        )
        return {
            "name": "chat",
            "context": {"trace_id": "0xabc", "span_id": f"0x{number}"},
            "start_time": f"2026-01-0{number}T00:00:00Z",
            "events": events,
            "attributes": {"gen_ai.operation.name": "chat"},
        }

    path = jsonl(tmp_path / "x.jsonl", line(1, FIRST, ASKED), line(2, SECOND, SAID))
    only(path, "otel")


def test_streamed_calls_of_the_ai_sdk(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
    call = {"toolCallId": "1", "toolName": "f"}
    heard = {"type": "tool-result", **call, "output": {"type": "json", "value": {"r": 1}}}
    after = [*asked,
             {"role": "assistant", "content": [{"type": "tool-call", **call, "input": {"a": 1}}]},
             {"role": "tool", "content": [heard]}]  # fmt: skip
    one = {"ai.operationId": "ai.generateText.doGenerate",
           "ai.prompt.messages": json.dumps(asked), "ai.response.reasoning": "h",
           "ai.response.toolCalls": json.dumps([{**call, "input": '{"a": 1}'}])}  # fmt: skip
    two = {"ai.operationId": "ai.streamText.doStream", "ai.prompt.messages": json.dumps(after),
           "ai.response.text": "a", "ai.response.reasoning": "i"}  # fmt: skip
    spans = [{"traceId": "t", "spanId": str(i), "startTimeUnixNano": str(i), "attributes": facts}
             for i, facts in enumerate((one, two))]  # fmt: skip
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *spans))
    assert rows(episode) == [("q", "h", 'f({"a": 1})'), ('{"r": 1}', "i", "a")]
