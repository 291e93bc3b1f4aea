"""Exports of tracing tools, shaped as they document them; every value stated by hand."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pgv_jax.data.importers.base import Importer, Options
from pgv_jax.data.importers.detection import detect

from ..reading import jsonl, read, rows
from .trace_samples import ASKED, FIRST, SAID, SECOND, only


def observation(number: int, asked: Any, answer: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"o{number}",
        "traceId": "t1",
        "type": "GENERATION",
        "name": "chat",
        "startTime": f"2026-01-01T00:00:0{number}.000Z",
        "input": asked,
        "output": answer,
        "usage": {"input": 10 * number, "output": 1},
        **fields,
    }


def test_langfuse_observations(tmp_path: Path) -> None:
    records = [observation(2, SECOND, SAID), observation(1, {"messages": FIRST}, ASKED)]
    episode = only(jsonl(tmp_path / "x.jsonl", *records), "langfuse")
    assert [s.metadata["prompt_tokens"] for s in episode.steps] == [10, 20]


def test_langfuse_in_snake_case_and_text_as_tables_have_it(tmp_path: Path) -> None:
    def row(number: int, asked: Any, answer: Any) -> dict[str, Any]:
        return {
            "id": f"o{number}",
            "trace_id": "t1",
            "type": "GENERATION",
            "parent_observation_id": "",
            "start_time": f"2026-01-01 00:00:0{number}.000",
            "input": json.dumps(asked),
            "output": json.dumps(answer),
        }

    path = tmp_path / "x.parquet"
    table = pyarrow.Table.from_pylist([row(1, FIRST, ASKED), row(2, SECOND, SAID)])
    pyarrow.parquet.write_table(table, path)
    only(path, "langfuse")


def test_langfuse_traces_with_scores(tmp_path: Path) -> None:
    trace = {
        "id": "t1",
        "name": "support",
        "sessionId": "s9",
        "scores": [{"name": "success", "value": 1}, {"name": "tone", "value": 0.5}],
        "observations": [observation(1, FIRST, ASKED), observation(2, SECOND, SAID)],
    }
    episode = only(jsonl(tmp_path / "x.jsonl", trace), "langfuse")
    assert episode.success is True
    assert episode.metadata["record"]["scores"] == {"success": 1, "tone": 0.5}


def serialised(message: dict[str, Any]) -> dict[str, Any]:
    kind = {
        "system": "SystemMessage",
        "user": "HumanMessage",
        "assistant": "AIMessage",
        "tool": "ToolMessage",
    }
    kwargs: dict[str, Any] = {"content": message.get("content") or ""}
    if message.get("tool_calls"):
        kwargs["tool_calls"] = [
            {"name": "weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
        ]
    if message.get("tool_call_id"):
        kwargs["tool_call_id"] = "c1"
    names = ["langchain", "schema", "messages", kind[message["role"]]]
    return {"lc": 1, "type": "constructor", "id": names, "kwargs": kwargs}


def run(number: int, asked: Any, answer: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "trace_id": "t1",
        "parent_run_id": "root",
        "run_type": "llm",
        "name": "ChatModel",
        "dotted_order": f"2026Zroot.2026{number}Zr{number}",
        "inputs": asked,
        "outputs": answer,
        **fields,
    }


def test_langsmith_runs_of_langchain(tmp_path: Path) -> None:
    def asked(messages: list[dict[str, Any]]) -> dict[str, Any]:
        return {"messages": [[serialised(m) for m in messages]]}

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        return {
            "generations": [
                [{"text": message.get("content") or "", "message": serialised(message)}]
            ]
        }

    root = {
        "id": "t1",
        "trace_id": "t1",
        "run_type": "chain",
        "name": "agent",
        "inputs": {"input": "?"},
        "outputs": {},
        "dotted_order": "2026Zroot",
        "feedback_stats": {"correct": {"n": 1, "avg": 0}},
    }
    runs = [run(2, asked(SECOND), answer(SAID)), root, run(1, asked(FIRST), answer(ASKED))]
    episode = only(jsonl(tmp_path / "x.jsonl", *runs), "langsmith")
    assert (episode.success, episode.metadata["record"]["name"]) == (False, "agent")


def test_langsmith_runs_below_their_root(tmp_path: Path) -> None:
    children = [
        run(1, {"messages": FIRST}, {"choices": [{"message": ASKED}]}),
        run(2, {"messages": SECOND}, {"choices": [{"message": SAID}]}),
    ]
    root = {
        "id": "t1",
        "run_type": "chain",
        "name": "agent",
        "inputs": {},
        "outputs": {},
        "start_time": "2026",
        "child_runs": children,
    }
    only(jsonl(tmp_path / "x.json", root), "langsmith")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_phoenix(tmp_path: Path, kind: str) -> None:
    def box(message: dict[str, Any]) -> dict[str, Any]:
        out = {"message.role": message["role"], "message.content": message.get("content")}
        if message.get("tool_calls"):
            out["message.tool_calls"] = [
                {
                    "tool_call.id": "c1",
                    "tool_call.function.name": "weather",
                    "tool_call.function.arguments": '{"city": "Oslo"}',
                }
            ]
        if message.get("tool_call_id"):
            out["message.tool_call_id"] = "c1"
        return {key: value for key, value in out.items() if value is not None}

    def row(number: int, asked: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": "ChatCompletion",
            "span_kind": "LLM",
            "context.trace_id": "t1",
            "context.span_id": f"s{number}",
            "start_time": f"2026-01-01T00:00:0{number}",
            "attributes.llm.input_messages": [box(m) for m in asked],
            "attributes.llm.output_messages": [box(answer)],
            "attributes.llm.token_count.prompt": 10.0,
        }

    records = [row(1, FIRST, ASKED), row(2, SECOND, SAID)]
    path = tmp_path / f"x.{kind}"
    if kind == "jsonl":
        jsonl(path, *records)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    assert only(path, "phoenix").steps[0].metadata["prompt_tokens"] == 10


def test_mlflow(tmp_path: Path) -> None:
    def one(number: int, asked: Any, answer: Any) -> dict[str, Any]:
        facts = {
            "mlflow.spanType": "CHAT_MODEL",
            "mlflow.spanInputs": {"messages": asked},
            "mlflow.spanOutputs": {"choices": [{"message": answer}]},
        }
        return {
            "name": "Completions",
            "context": {"span_id": f"0x{number}", "trace_id": "0xabc"},
            "parent_id": "0x0",
            "start_time": number,
            "attributes": {key: json.dumps(value) for key, value in facts.items()},
        }

    info = {
        "request_id": "tr-1",
        "assessments": [{"assessment_name": "correct", "feedback": {"value": True}}],
    }
    trace = {"info": info, "data": {"spans": [one(2, SECOND, SAID), one(1, FIRST, ASKED)]}}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(trace, indent=1))
    episode = only(path, "mlflow")
    assert (episode.episode_id, episode.success) == ("tr-1", True)
    table = jsonl(tmp_path / "y.jsonl", {"trace_id": "tr-1", "trace": json.dumps(trace)})
    only(table, "mlflow")


def agents_span(number: int, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "trace.span",
        "id": f"span_{number}",
        "trace_id": "trace_1",
        "parent_id": None,
        "started_at": f"2026-01-01T00:00:0{number}+00:00",
        "span_data": data,
        "error": None,
    }


TRACE = {"object": "trace", "id": "trace_1", "workflow_name": "Weather", "group_id": None}


def test_openai_agents_generations(tmp_path: Path) -> None:
    spans = [
        agents_span(1, {"type": "generation", "input": FIRST, "output": [ASKED], "model": "m"}),
        agents_span(
            2,
            {
                "type": "function",
                "name": "weather",
                "input": '{"city": "Oslo"}',
                "output": "4 degrees",
            },
        ),
        agents_span(
            3,
            {
                "type": "generation",
                "input": SECOND,
                "output": [SAID],
                "usage": {"input_tokens": 30, "output_tokens": 5},
            },
        ),
    ]
    episode = only(jsonl(tmp_path / "x.jsonl", TRACE, *spans), "openai-agents")
    assert episode.steps[1].metadata["completion_tokens"] == 5
    assert episode.metadata["record"]["workflow"] == "Weather"


def test_openai_agents_without_the_models_words(tmp_path: Path) -> None:
    spans = [
        agents_span(1, {"type": "response", "response_id": "resp_1", "usage": None}),
        agents_span(
            2,
            {
                "type": "function",
                "name": "weather",
                "input": '{"city": "Oslo"}',
                "output": "4 degrees",
                "mcp_data": None,
            },
        ),
    ]
    path = jsonl(tmp_path / "x.jsonl", {"data": [TRACE, *spans]})
    (episode,) = read(path)
    assert rows(episode) == [("", "Call weather with city Oslo.", 'weather({"city": "Oslo"})')]
    assert episode.final_observation == "4 degrees"


def test_a_trace_without_words_or_tools_is_a_bad_record(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", TRACE, agents_span(1, {"type": "agent", "name": "a"}))
    (bad,) = detect(path).importer.read(path, Options())
    assert "trace trace_1: no call of a model in it has messages" in str(bad)
    assert isinstance(detect(path).importer, Importer)
