"""What is asked at run time is worded as what is learned: one law, and values by hand."""

from __future__ import annotations

import json

import pytest

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.asking import so_far
from pgv_jax.data.importers.detection import importer_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.texts.templates import EPISODE, observation_text


def call(number: str, name: str, **arguments: object) -> dict:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": number, "type": "function", "function": function}


OPENAI = [
    {"role": "system", "content": "You book flights."},
    {"role": "user", "content": "Book a flight to Oslo. ###STOP###"},
    {
        "role": "assistant",
        "content": "I look for flights.",
        "tool_calls": [call("c1", "search", to="Oslo"), call("c2", "weather", city="Oslo")],
    },
    {"role": "tool", "tool_call_id": "c2", "content": "Rain."},
    {"role": "tool", "tool_call_id": "c1", "content": "Two flights."},
    {"role": "user", "content": "The cheap one."},
    {"role": "assistant", "content": None, "tool_calls": [call("c3", "book", flight=7)]},
    {"role": "tool", "tool_call_id": "c3", "content": "Booked."},
    {"role": "assistant", "content": "<think>Done.</think>It is booked."},
]
ANTHROPIC = [
    {"role": "user", "content": "Book a flight to Oslo."},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I need the list.", "signature": "s"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "search", "input": {"to": "Oslo"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "Two flights."},
            {"type": "text", "text": "Quick."},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Which one?"}]},
]
RESPONSES = [
    {"role": "user", "content": "Book a flight to Oslo."},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "List them."}]},
    {"type": "function_call", "call_id": "f1", "name": "search", "arguments": '{"to": "Oslo"}'},
    {"type": "function_call_output", "call_id": "f1", "output": "Two flights."},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A?"}]},
]


def starts(messages: list[dict]) -> list[tuple[int, int]]:
    """Where each turn of the agent begins and ends in a list of messages or items."""
    own = [m.get("role") == "assistant" or m.get("type") in ("reasoning", "function_call")
           for m in messages]  # fmt: skip
    begins = [i for i, mine in enumerate(own) if mine and (i == 0 or not own[i - 1])]
    ends = [next((j for j in range(i, len(own)) if not own[j]), len(own)) for i in begins]
    return list(zip(begins, ends, strict=True))


@pytest.mark.parametrize(
    ("form", "messages"),
    [("openai", OPENAI), ("anthropic", ANTHROPIC), ("responses", RESPONSES)],
)
def test_a_conversation_cut_at_a_step_has_the_fields_of_its_imported_log(tmp_path, form, messages):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"messages": messages}) + "\n")
    (episode,) = importer_of(form).read(log, Options())
    turns = starts(messages)
    assert len(turns) == len(episode.steps) >= 2
    for t, (begin, end) in enumerate(turns):
        answer = messages[begin:end]
        asked = so_far(messages[:begin], [answer[0] if len(answer) == 1 else {"output": answer}])
        assert asked.episode.task == episode.task
        for history in (0, 1, 3, EPISODE):
            own = observation_text(asked.episode, len(asked.episode.steps), history)
            assert own == observation_text(episode, t, history)
        (candidate,) = asked.candidates
        step = episode.steps[t]
        assert (candidate.thought, candidate.action) == (step.thought, step.action)


def test_the_fields_by_hand():
    asked = so_far(OPENAI[:6], [OPENAI[6], "Book the cheap one."])
    assert asked.episode.task == "Book a flight to Oslo."
    assert asked.episode.final_observation == "Two flights.\n\nRain.\n\nThe cheap one."
    (step,) = asked.episode.steps
    assert step.observation == "Book a flight to Oslo."
    assert step.action == 'search({"to": "Oslo"})\nweather({"city": "Oslo"})'
    first, second = asked.candidates
    assert (first.thought, first.action) == ("Call book with flight 7.", 'book({"flight": 7})')
    assert (second.thought, second.action) == ("Book the cheap one.", "Book the cheap one.")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": [{"role": "user", "content": "Go."}], "system": "Be kind."},
        {"model": "m", "input": "Go.", "instructions": "Be kind."},
        {"model": "m", "input": [{"role": "user", "content": "Go."}]},
    ],
)
def test_a_requests_body_is_a_conversation(body):
    asked = so_far(body, [{"choices": [{"message": {"role": "assistant", "content": "Gone."}}]}])
    assert (asked.episode.task, asked.episode.final_observation) == ("Go.", "Go.")
    assert asked.candidates[0].action == "Gone."


def test_candidates_tell_that_an_agent_speaks_in_fences():
    fenced = "I look around.\n```\nls {}\n```"
    one = so_far([{"role": "user", "content": "Go."}], [fenced.format("a"), fenced.format("b")])
    assert [c.action for c in one.candidates] == ["ls a", "ls b"]
    alone = so_far([{"role": "user", "content": "Go."}], [fenced])
    assert alone.candidates[0].action == fenced
    told = so_far([{"role": "user", "content": "Go."}], [fenced.format("a")], fenced=True)
    assert told.candidates[0].action == "ls a"


@pytest.mark.parametrize("candidate", [None, 3, {}, {"id": "x"}, {"role": "user", "content": "a"}])
def test_what_is_no_answer_is_named(candidate):
    with pytest.raises(FieldError, match="candidates"):
        so_far([{"role": "user", "content": "Go."}], [candidate])
