"""Chat completions through the server, by raw requests and by the stock client."""

from __future__ import annotations

import json
import time

import openai
import pydantic
import pytest

from tests.serve.servers import completion, message

ASKED = {"model": "scripted", "messages": [{"role": "user", "content": "Go home."}]}
PATH = "/v1/chat/completions"


def three(body: dict) -> dict:
    """Three candidates, as far as they are asked for; the last is the best."""
    said = [message("walk 0.1"), message("run 0.2"), message(None, ("fly", {"to": "home 0.9"}))]
    return completion(*said[: body.get("n", 1)])


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="sk-client", max_retries=0) as made:
        yield made


def test_the_best_candidate_is_passed_on_as_it_came(upstream, server):
    tail = '"message": {"role":"assistant","content":null,"refusal":null,"reasoning":"\\u00e9",'
    tail += '"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"0.9"}}]}'
    first = '{"index":0, "message":{"role":"assistant","content":"no 0.1"}, "finish_reason":"stop"}'
    best = (
        '{ "index" : 1, ' + tail + ', "logprobs": null, "odd":1.50, "finish_reason":"tool_calls"}'
    )
    body = '{"id":"x",\n "odd": 1e-7, "choices": [' + first + ",\n" + best + '], "usage":{"a":1.0}}'
    upstream.script = lambda asked: body.encode()
    answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 2}})
    expected = best.replace('"index" : 1', '"index" : 0')
    assert (
        answer.text == '{"id":"x",\n "odd": 1e-7, "choices": [' + expected + '], "usage":{"a":1.0}}'
    )
    assert answer.headers["x-pgv-choice"] == "1"
    assert answer.headers["x-pgv-candidates"] == "2"
    assert answer.headers["x-pgv-value"] == "0.9000"


def test_what_goes_upstream_is_what_the_client_wrote(upstream, server):
    upstream.script = three
    raw = '{"model": "scripted",  "odd":1.50, "pgv":{"candidates":3},"messages": [ {"role":"user",'
    raw += '"content":"Go \\u00e9."}]}'
    headers = {"authorization": "Bearer sk-client", "x-own": "1", "cookie": "a=b"}
    server.client.post(PATH, content=raw, headers=headers)
    ((path, sent, body),) = upstream.seen
    assert path == PATH
    told = '{"model": "scripted","odd":1.50,"messages": [ {"role":"user","content":"Go \\u00e9."}]'
    assert body.decode() == told + ',"n":3}'
    assert (sent["authorization"], sent["x-own"]) == ("Bearer sk-client", "1")
    assert "cookie" not in sent


def test_the_critic_is_asked_about_the_task_and_the_candidates(upstream, server):
    upstream.script = three
    server.post(PATH, {**ASKED, "pgv": {"candidates": 3, "goals": ["You are home."], "task": "T"}})
    ((task, observation, thoughts, goals),) = server.critic.asked
    assert (task, observation, goals) == ("T", "Go home.", ["You are home."])
    call = 'Call fly with to home 0.9.\nAction: fly({"to": "home 0.9"})'
    assert thoughts == ["walk 0.1", "run 0.2", call]


def test_details_are_told_on_request(upstream, server):
    upstream.script = three
    answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 3, "details": True}}).json()
    assert answer["pgv"]["order"] == [2, 1, 0]
    assert answer["pgv"]["values"] == [[0.1], [0.2], [0.9]]
    assert answer["pgv"]["fallback"] is None
    assert "pgv" not in server.post(PATH, {**ASKED, "pgv": {"candidates": 3}}).json()


def test_a_client_that_asks_for_two_gets_the_two_best(upstream, server):
    upstream.script = three
    answer = server.post(PATH, {**ASKED, "n": 2, "pgv": {"candidates": 3}}).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "fly"
    assert answer["choices"][1]["message"]["content"] == "run 0.2"


def test_an_upstream_without_n_is_asked_several_times_and_usage_is_summed(upstream, server):
    said = iter(["a 0.1", "b 0.7", "c 0.3", "d 0.2", "e 0.9"])
    upstream.script = lambda body: completion(message(next(said)))
    answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 3}}).json()
    assert answer["choices"][0]["message"]["content"] == "b 0.7"
    assert answer["usage"] == {"prompt_tokens": 15, "completion_tokens": 6, "total_tokens": 21}
    assert [body.get("n") for body in upstream.bodies] == [3, None, None]
    server.post(PATH, {**ASKED, "pgv": {"candidates": 2}})
    assert [body.get("n") for body in upstream.bodies[3:]] == [None, None]


def test_an_upstream_that_refuses_n_is_asked_plainly(upstream, server):
    from starlette.responses import JSONResponse

    def script(body):
        if "n" in body:
            return JSONResponse({"error": {"message": "n is unknown"}}, 400)
        return completion(message("a 0.5"))

    upstream.script = script
    answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 2}})
    assert answer.json()["choices"][0]["message"]["content"] == "a 0.5"
    assert answer.headers["x-pgv-candidates"] == "2"


def test_success_zero_without_and_one_with_the_server(upstream, server):
    """The first candidate fails, the third is right."""
    right = {"fly": 1.0}

    def played(**own: object) -> float:
        upstream.script = three
        answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 3, **own}}).json()
        calls = answer["choices"][0]["message"].get("tool_calls") or []
        return sum(right.get(call["function"]["name"], 0.0) for call in calls)

    assert played(strategy="off") == 0.0
    assert played(strategy="shadow") == 0.0
    assert played() == 1.0


@pytest.mark.parametrize("strategy", ["shadow", "off"])
def test_shadow_and_off_leave_every_byte(upstream, server, strategy):
    upstream.script = three
    steered = server.metric("pgv_steered_total")
    raw = json.dumps({**ASKED, "pgv": {"strategy": strategy}, "seed": 1.0}, indent=2)
    answer = server.client.post(PATH, content=raw)
    assert answer.content == upstream.sent[0]
    assert len(upstream.seen) == 1
    assert "n" not in upstream.bodies[0]
    assert server.metric("pgv_steered_total") == steered
    wanted = 1 if strategy == "shadow" else 0
    begun = time.monotonic()
    while len(server.critic.asked) < wanted and time.monotonic() - begun < 20:
        time.sleep(0.01)  # the answer goes out first
    assert len(server.critic.asked) == wanted


def test_refine_shows_the_critics_words_and_keeps_the_better_one(upstream, server):
    def script(body):
        last = body["messages"][-1]["content"]
        if "A critic" in last:
            assert "Plan: run 0.2" in last
            assert 'Good outcome: "The task is done." 0.20' in last
            return completion(message("drive 0.8"))
        return completion(message("walk 0.1"), message("run 0.2"))

    upstream.script = script
    answer = server.post(PATH, {**ASKED, "pgv": {"candidates": 2, "strategy": "refine"}})
    assert answer.json()["choices"][0]["message"]["content"] == "drive 0.8"
    assert answer.headers["x-pgv-candidates"] == "3"


def test_the_stock_client_chats_with_tools_in_parallel(upstream, client):
    calls = (("get", {"city": "Oslo 0.9"}), ("get", {"city": "Rome"}))
    upstream.script = lambda body: completion(message("a 0.1"), message(None, *calls))
    tool = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
    answer = client.chat.completions.create(
        **ASKED, tools=[tool], extra_body={"pgv": {"candidates": 2}}
    )
    found = answer.choices[0].message.tool_calls
    assert [json.loads(c.function.arguments)["city"] for c in found] == ["Oslo 0.9", "Rome"]
    assert answer.usage.total_tokens == 7


class Place(pydantic.BaseModel):
    city: str


def test_the_stock_client_reads_structured_outputs(upstream, client):
    upstream.script = lambda body: completion(
        message('{"city": "Rome 0.1"}'), message('{"city": "Oslo 0.9"}')
    )
    answer = client.chat.completions.parse(
        **ASKED, response_format=Place, extra_body={"pgv": {"candidates": 2}}
    )
    assert answer.choices[0].message.parsed == Place(city="Oslo 0.9")
    assert upstream.bodies[0]["response_format"]["type"] == "json_schema"


def test_a_stream_of_the_winner_adds_up_to_it(upstream, client):
    words = "I walk slowly along the river until I see the house. 0.9"
    best = message(words, ("go", {"to": "x" * 50}), reasoning_content="why 0.9")
    upstream.script = lambda body: completion(message("a 0.1"), best, system_fingerprint="f")
    with client.chat.completions.stream(
        **ASKED, stream_options={"include_usage": True}, extra_body={"pgv": {"candidates": 2}}
    ) as stream:
        kinds = [event.type for event in stream]
        found = stream.get_final_completion()
    assert kinds.count("content.delta") == 3  # an empty one, and two pieces of 32 and less
    told = found.choices[0]
    assert (told.message.content, told.finish_reason) == (words, "tool_calls")
    assert told.message.reasoning_content == "why 0.9"
    assert told.message.tool_calls[0].function.arguments == json.dumps({"to": "x" * 50})
    assert found.usage.total_tokens == 7
    assert found.system_fingerprint == "f"
    assert "stream" not in upstream.bodies[0]


def test_one_candidate_is_streamed_as_it_comes_and_valued_behind(upstream, server, client):
    parts = [{"role": "assistant"}, {"content": "go "}, {"content": "0.7"}]
    sent = [
        b"data: "
        + json.dumps({"id": "s", "choices": [{"index": 0, "delta": part}]}).encode()
        + b"\n\n"
        for part in parts
    ]
    sent.append(b"data: [DONE]\n\n")
    upstream.script = lambda body: iter(sent)
    answer = server.post(PATH, {**ASKED, "stream": True, "pgv": {"strategy": "shadow"}})
    assert answer.content == b"".join(sent)
    assert answer.headers["content-type"].startswith("text/event-stream")
    said = client.chat.completions.create(
        **ASKED, stream=True, extra_body={"pgv": {"candidates": 1}}
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "go 0.7"
    for _ in range(500):  # valued behind the answer
        if len(server.critic.asked) == 2:
            break
        time.sleep(0.01)
    assert [asked[2] for asked in server.critic.asked] == [["go 0.7"], ["go 0.7"]]
