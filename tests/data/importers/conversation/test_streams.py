"""Answers that were logged as streams: their events add up to what was said."""

import json
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.data.importers.conversation.streams import events_in

from ..reading import imported, jsonl, rows

ASKED = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "q"}]}]}


def delta(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": index, "delta": fields}]}


def gemini(text: str, thought: bool = False, **fields: Any) -> dict[str, Any]:
    part = {"text": text, **({"thought": True} if thought else {})}
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, **fields}]}


OPENAI = [
    delta(role="assistant", content="", reasoning_content="h"),
    delta(content="a "),
    delta(content="b"),
    {"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 5}},
]
CALLED = [
    delta(reasoning_content="h"),
    delta(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}]),
    delta(tool_calls=[{"index": 1, "id": "2", "function": {"name": "g", "arguments": ""}}]),
]
ANTHROPIC = [
    {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}},
    {"type": "content_block_start", "index": 0,
     "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta",
                                                          "thinking": "h"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta",
                                                          "signature": "x"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1,
     "content_block": {"type": "tool_use", "id": "1", "name": "f", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta",
                                                          "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta",
                                                          "partial_json": " 1}"}},
    {"type": "content_block_start", "index": 2,
     "content_block": {"type": "tool_use", "id": "2", "name": "g", "input": {}}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    {"type": "message_stop"},
]  # fmt: skip
ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
RESPONSES = [
    {"type": "response.created", "response": {"id": "r", "output": []}},
    {"type": "response.output_text.delta", "delta": "a"},
    {"type": "response.completed", "response": {"id": "r", "output": [ITEM]}},
]
OLLAMA = [
    {"message": {"role": "assistant", "content": "", "thinking": "h"}, "done": False},
    {"message": {"role": "assistant", "content": "a "}, "done": False},
    {"message": {"role": "assistant", "content": "b"}, "done": False},
    {"message": {"role": "assistant", "content": ""}, "done": True},
]
GEMINI = [gemini("h", True), gemini("i", True), gemini("a "), gemini("b", finishReason="STOP")]
CALLS = 'f({"a": 1})\ng({})'


def wire(events: list[dict[str, Any]]) -> str:
    """The text of a stream as it comes over the wire."""
    lines = [f"event: {e.get('type', 'x')}\ndata: {json.dumps(e)}\n\n" for e in events]
    return "".join([*lines, "data: [DONE]\n\n"])


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("request_", "events", "thought", "action"),
    [
        (ASKED, OPENAI, "h", "a b"),
        (ASKED, CALLED, "h", CALLS),
        (ASKED, ANTHROPIC, "h", CALLS),
        ({"input": "q"}, RESPONSES, "a", "a"),
        (ASKED, OLLAMA, "h", "a b"),
        (CONTENTS, GEMINI, "hi", "a b"),
    ],
)
def test_a_stream_adds_up(
    tmp_path: Path, request_: Any, events: Any, thought: str, action: str, as_text: bool
) -> None:
    record = {"request": request_, "response": wire(events) if as_text else events}
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("q", thought, action)]


def test_the_bodies_of_a_request_and_its_stream(tmp_path: Path) -> None:
    record = {"request": {"body": ASKED}, "response": {"status": 200, "body": wire(OPENAI)}}
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("q", "h", "a b")]


def test_choices_that_came_in_turn_are_alternatives(tmp_path: Path) -> None:
    events = [
        delta(content="a "),
        delta(1, content="c "),
        delta(content="b"),
        delta(1, content="d"),
    ]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", {"request": ASKED, "response": events}))
    (step,) = episode.steps
    assert (step.action, [c.action for c in step.candidates]) == ("a b", ["c d"])


def test_whole_answers_of_gemini_are_alternatives(tmp_path: Path) -> None:
    answers = [gemini("a", finishReason="STOP"), gemini("b", finishReason="STOP")]
    (episode,), _ = imported(
        jsonl(tmp_path / "x.jsonl", {"request": CONTENTS, "response": answers})
    )
    (step,) = episode.steps
    assert (step.action, [c.action for c in step.candidates]) == ("a", ["b"])


@pytest.mark.parametrize("response", [{"error": {"message": "overloaded"}}, 'data: {"choi'])
def test_a_response_without_an_answer_is_counted(tmp_path: Path, response: Any) -> None:
    talk = [*ASKED["messages"], {"role": "assistant", "content": "a"},
            {"role": "user", "content": "r"}]  # fmt: skip
    record = {"request": {"messages": talk}, "response": response}
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("q", "a", "a")]
    assert episode.final_observation == "r"
    assert dict(report.tally.notes) == {
        "no answer of a model was found in the response of a call": 1
    }


def test_words_about_data_are_no_stream() -> None:
    assert events_in("data: the numbers of May") is None
    assert events_in('data: {"a": 1}\n\ndata: [DONE]') == [{"a": 1}]
    assert events_in('data: {"a": 1}\n\ndata: {"b') == []
