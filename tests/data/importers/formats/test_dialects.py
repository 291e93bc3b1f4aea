"""Conversations in the dialects of providers and libraries; every value stated by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.detection import detect
from pgv_jax.errors import PgvError

from ..reading import imported, jsonl, rows

EXPECTED = [
    ("Weather?", "I ask.", 'weather({"city": "Oslo"})'),
    ("4 degrees", "It is 4.", "It is 4."),
]
USER = {"role": "user", "content": "Weather?"}
RESPONSES = [
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "I ask."}]},
    {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Oslo"}'},
    {"type": "function_call_output", "call_id": "c", "output": "4 degrees"},
    {"type": "message", "role": "assistant",
     "content": [{"type": "output_text", "text": "It is 4."}]},
]  # fmt: skip
GEMINI = [
    {"role": "user", "parts": [{"text": "Weather?"}]},
    {"role": "model", "parts": [{"text": "I ask.", "thought": True},
                                {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "weather",
                                                     "response": {"result": "4 degrees"}}}]},
    {"role": "model", "parts": [{"text": "It is 4."}]},
]  # fmt: skip
LANGCHAIN = [
    {"type": "human", "content": "Weather?"},
    {"type": "ai", "content": "", "additional_kwargs": {"reasoning_content": "I ask."},
     "tool_calls": [{"name": "weather", "args": {"city": "Oslo"}, "id": "c", "type": "tool_call"}]},
    {"type": "tool", "content": "4 degrees", "tool_call_id": "c"},
    {"type": "ai", "content": "It is 4."},
]  # fmt: skip
BEDROCK = [
    {"role": "user", "content": [{"text": "Weather?"}]},
    {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "I ask."}}},
        {"toolUse": {"toolUseId": "c", "name": "weather", "input": {"city": "Oslo"}}}]},
    {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "status": "success",
                                                 "content": [{"text": "4 degrees"}]}}]},
    {"role": "assistant", "content": [{"text": "It is 4."}]},
]  # fmt: skip
CHAT = [
    USER,
    {"role": "assistant", "content": None, "reasoning_content": "I ask.", "tool_calls": [
        {"id": "c", "type": "function",
         "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]},
    {"role": "tool", "tool_call_id": "c", "content": "4 degrees"},
    {"role": "assistant", "content": "It is 4."},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("responses", {"input": [USER], "output": RESPONSES}),
        ("responses", {"input": [USER, *RESPONSES]}),
        ("responses", {"request": {"input": "Weather?"}, "response": {"output": RESPONSES}}),
        ("responses", {"items": [USER, *RESPONSES]}),
        ("gemini", {"contents": GEMINI}),
        ("gemini", {"request": {"contents": GEMINI[:3]},
                    "response": {"candidates": [{"content": GEMINI[3]}]}}),
        ("langchain", {"messages": LANGCHAIN}),
        ("langchain", {"messages": [{"type": m["type"], "data": m} for m in LANGCHAIN]}),
        ("openai", {"messages": BEDROCK}),
        ("openai", {"schemaType": "ModelInvocationLog", "operation": "Converse",
                    "input": {"inputBodyJson": {"messages": BEDROCK[:-1]}},
                    "output": {"outputBodyJson": {"output": {"message": BEDROCK[-1]}}}}),
        ("openai", {"messages": json.dumps(CHAT)}),
        ("openai", {"history": CHAT}),
        ("openai", {"talk": CHAT}),
        ("openai", {"messages": [{**m, "role": m["role"].upper()} for m in CHAT]}),
        ("prompt-completion", {"prompt": [USER], "completion": CHAT[1:]}),
    ],
)  # fmt: skip
def test_a_conversation_in_any_dialect(tmp_path: Path, name: str, record: Any) -> None:
    path = jsonl(tmp_path / "x.jsonl", record)
    assert detect(path).importer.name == name
    (episode,), _ = imported(path)
    assert rows(episode) == EXPECTED
    assert episode.task == "Weather?"


def test_a_prompt_and_a_completion_in_words(tmp_path: Path) -> None:
    record = {"prompt": "Weather?", "completion": "<think>cold</think>4", "reward": 1.0}
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("Weather?", "cold", "4")]
    assert episode.success is True


def test_a_column_deep_in_a_record(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"a": {"b": {"c": CHAT}}, "z": 1})
    with pytest.raises(PgvError, match="No importer recognises"):
        detect(path)
    (episode,), report = imported(path, options=Options(columns={"messages": "a.b.c"}))
    assert rows(episode) == EXPECTED
    assert report.sources[0].why == "--column names its messages"
    with pytest.raises(PgvError, match=r"a\.b: holds no list of messages"):
        imported(path, options=Options(columns={"messages": "a.b"}))


def test_calls_that_continue_a_response_by_its_id(tmp_path: Path) -> None:
    def call(number: int, before: int, asked: str, answer: str) -> dict[str, Any]:
        said = {"type": "message", "role": "assistant",
                "content": [{"type": "output_text", "text": answer}]}  # fmt: skip
        head = {"previous_response_id": f"resp_{before}"} if before else {}
        return {"request": {**head, "input": asked},
                "response": {"id": f"resp_{number}", "output": [said]}}  # fmt: skip

    records = [call(1, 0, "q1", "a1"), call(2, 1, "q2", "a2"), call(3, 2, "q3", "a3"),
               call(4, 1, "q2b", "a4")]  # fmt: skip
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert [[(s.observation, s.action) for s in e.steps] for e in episodes] == [
        [("q1", "a1"), ("q2", "a2"), ("q3", "a3")],
        [("q1", "a1"), ("q2b", "a4")],
    ]
    assert not report.tally.notes
    _, report = imported(jsonl(tmp_path / "y.jsonl", call(2, 1, "q2", "a2")))
    assert dict(report.tally.notes) == {"calls continue a response that this file does not hold": 1}


def test_a_records_bad_message_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"messages": [*CHAT, {"role": "robot", "content": "x"}]})
    with pytest.raises(PgvError, match=r"x\.jsonl:1: messages\[4\]\.role: is 'robot'"):
        imported(path)
