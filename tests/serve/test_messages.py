"""Anthropic's Messages API, by its stock client."""

from __future__ import annotations

import time

import anthropic
import pytest

ASKED = {
    "model": "scripted",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Go home."}],
}
BEST = [
    {"type": "thinking", "thinking": "I fly. 0.9", "signature": "sealed"},
    {"type": "text", "text": "I take the plane, which is the fastest way home of all."},
    {"type": "tool_use", "id": "t1", "name": "fly", "input": {"to": "home", "class": 2}},
]


def answer(*blocks: dict) -> dict:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": list(blocks),
        "stop_reason": "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2, "cache_creation": {"a": 1}},
    }


@pytest.fixture
def client(server):
    with anthropic.Anthropic(base_url=server.address, api_key="k", max_retries=0) as made:
        yield made


@pytest.fixture
def three(upstream):
    said = iter([answer({"type": "text", "text": f"walk 0.{i}"}) for i in (1, 2)])
    upstream.script = lambda body: next(said, answer(*BEST))
    return upstream


def test_tools_stay_as_they_are(three, client):
    found = client.messages.create(**ASKED, extra_body={"pgv": {"candidates": 3}})
    assert [block.to_dict() for block in found.content] == BEST
    assert found.usage.input_tokens == 15
    assert found.usage.output_tokens == 6
    assert {path for path, _, _ in three.seen} == {"/v1/messages"}
    assert all(headers["authorization"] == "Bearer k" for _, headers, _ in three.seen)


def test_the_winner_is_streamed_whole(three, client):
    with client.messages.stream(**ASKED, extra_body={"pgv": {"candidates": 3}}) as stream:
        kinds = [event.type for event in stream]
        found = stream.get_final_message()
    assert [block.to_dict() for block in found.content] == BEST
    assert (found.stop_reason, found.usage.output_tokens) == ("tool_use", 6)
    assert kinds.count("text") == 2


def test_a_stream_of_one_is_valued_behind(upstream, server, client):
    import json

    from pgv_jax.serve.apis.streaming import events

    whole = answer(*BEST)
    upstream.script = lambda body: events("messages", {}, whole)
    with client.messages.stream(**ASKED, extra_body={"pgv": {"strategy": "shadow"}}) as stream:
        assert [block.to_dict() for block in stream.get_final_message().content] == BEST
    deadline = time.monotonic() + 30
    while not server.critic.asked and time.monotonic() < deadline:  # valued after the answer
        time.sleep(0.02)
    ((_, _, thoughts, _),) = server.critic.asked
    assert thoughts == ['I fly. 0.9\nAction: fly({"class": 2, "to": "home"})']
    assert json.loads(upstream.seen[0][2])["stream"] is True


def test_a_refusal_has_anthropics_form(server, client):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ASKED, extra_body={"pgv": {"candidates": 0}})
    assert caught.value.body == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "'pgv.candidates' must be a whole number from 1 to 128.",
        },
    }
