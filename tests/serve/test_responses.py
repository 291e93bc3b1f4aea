"""OpenAI's Responses API, by its stock client."""

from __future__ import annotations

import itertools

import openai
import pytest

ASKED = {"model": "scripted", "input": "Go home."}
WORDS = "I take the plane, which is the fastest way home of all. 0.9"


def text_item(text: str) -> dict:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


CALL = {
    "id": "f1",
    "type": "function_call",
    "call_id": "c1",
    "name": "fly",
    "arguments": '{"to": "home"}',
    "status": "completed",
}
REASON = {"id": "r1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"}


def answer(name: str, *output: dict) -> dict:
    return {
        "id": name,
        "object": "response",
        "created_at": 1,
        "model": "scripted",
        "status": "completed",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 5,
            "input_tokens_details": {"cached_tokens": 1},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 7,
        },
    }


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="k", max_retries=0) as made:
        yield made


@pytest.fixture
def two(upstream):
    said = itertools.cycle(
        [answer("resp_a", text_item("walk 0.1")), answer("resp_b", REASON, text_item(WORDS), CALL)]
    )
    upstream.script = lambda body: next(said)
    return upstream


OWN = {"extra_body": {"pgv": {"candidates": 2}}}


def test_the_best_response_is_passed_on(two, client):
    found = client.responses.create(**ASKED, **OWN)
    assert (found.id, found.output_text) == ("resp_b", WORDS)
    assert found.output[2].to_dict() == CALL
    assert found.usage.total_tokens == 14
    assert found.usage.input_tokens_details.cached_tokens == 2


def test_the_winner_is_streamed_whole(two, client):
    with client.responses.stream(**ASKED, **OWN) as stream:
        kinds = [event.type for event in stream]
        found = stream.get_final_response()
    assert found.output_text == WORDS
    assert found.output[2].arguments == CALL["arguments"]
    assert kinds.count("response.output_text.delta") == 2
    assert kinds.count("response.function_call_arguments.delta") == 1


def test_a_response_is_continued_by_its_id(two, server, client):
    client.responses.create(**ASKED, **OWN)
    result = {"type": "function_call_output", "call_id": "c1", "output": "You are home."}
    client.responses.create(model="m", input=[result], previous_response_id="resp_b", **OWN)
    (task, observation, _, _) = server.critic.asked[-1]
    assert (task, observation) == ("Go home.", "You are home.")


def test_an_unknown_conversation_is_not_judged(two, server):
    body = {**ASKED, "previous_response_id": "resp_x", "pgv": {"candidates": 2}}
    answer = server.post("/v1/responses", body)
    assert answer.headers["x-pgv-fallback"] == "unknown_conversation"
    assert not server.critic.asked
