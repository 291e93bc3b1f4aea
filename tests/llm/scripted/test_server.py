"""The scripted server, through the official library as a stranger would use it."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request
from pgv_jax.llm.scripted.server import ScriptedServer


def policy(request: Request, index: int) -> str:
    last = request.messages[-1]["content"]
    if last == "use a tool":
        return json.dumps({"tool_calls": [{"name": "look", "arguments": {"at": "fridge"}}]})
    return f"answer {index} to {last}"


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedServer]:
    with ScriptedServer(policy, context_window=20) as server:
        yield server


@pytest.fixture
def server(running: ScriptedServer) -> ScriptedServer:
    running.forget()
    return running


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="any", base_url=server.url + "/v1", max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, content: str, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.create(model="scripted", messages=messages, **more)


def test_chat_with_several_samples_and_usage(client: openai.OpenAI, server: ScriptedServer) -> None:
    reply = chat(client, "hello", n=2, temperature=0.5, seed=4, stop="x", max_tokens=9)
    assert [c.message.content for c in reply.choices] == ["answer 0 to hello", "answer 1 to hello"]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (1, 8)
    asked = Request([{"role": "user", "content": "hello"}], 2, 0.5, 9, 4, ("x",))
    assert server.calls[0].request == asked
    assert list(server.paid_calls().values()) == [1]


def test_tools(client: openai.OpenAI) -> None:
    parameters = {"type": "object", "properties": {"at": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    (choice,) = chat(client, "use a tool", tools=[tool]).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"at": "fridge"})


def test_streaming(client: openai.OpenAI) -> None:
    texts, usage = {0: "", 1: ""}, None
    for chunk in chat(client, "hello", n=2, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "answer 0 to hello", 1: "answer 1 to hello"}
    assert usage is not None and usage.completion_tokens == 8


def test_max_tokens_cut_the_answer(client: openai.OpenAI) -> None:
    (choice,) = chat(client, "a b c", max_tokens=3).choices
    assert (choice.message.content, choice.finish_reason) == ("answer 0 to", "length")


def test_embeddings_are_unit_vectors_of_the_text(client: openai.OpenAI) -> None:
    embed = client.embeddings.create
    a, b = embed(model="scripted", input=["one", "two"]).data
    (again,) = embed(model="scripted", input="one", encoding_format="float").data
    assert len(a.embedding) == 64 and a.embedding != b.embedding
    assert a.embedding == pytest.approx(again.embedding)
    assert sum(x * x for x in a.embedding) == pytest.approx(1.0, abs=1e-5)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["scripted"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("reset", openai.APIConnectionError),
        ("content_filter", openai.BadRequestError),
        ("quota", openai.RateLimitError),
    ],
)
def test_faults_on_demand_are_not_paid(
    fault: str, error: type[Exception], client: openai.OpenAI, server: ScriptedServer
) -> None:
    server.next_faults.append(fault)
    with pytest.raises(error):
        chat(client, "hello")
    assert [call.paid for call in server.calls] == [False]


@pytest.mark.parametrize("fault", ["truncate", "garbage", "stall"])
def test_replies_that_are_lost_are_paid_and_not_delivered(
    fault: str, client: openai.OpenAI, server: ScriptedServer
) -> None:
    server.next_faults.append(fault)
    if fault == "stall":
        with pytest.raises(openai.APITimeoutError):
            chat(client, "hello", timeout=0.2)
    else:
        # the library hands HTML on as a string, and lets what is no JSON pass through
        with contextlib.suppress(ValueError):
            assert isinstance(chat(client, "hello"), str)
    assert [(call.paid, call.delivered) for call in server.calls] == [(True, False)]


def test_a_real_library_retries_its_way_through(server: ScriptedServer) -> None:
    server.next_faults.extend(["429", "429"])
    server.retry_after = 0.001
    with openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=2) as client:
        assert chat(client, "hello").choices[0].message.content == "answer 0 to hello"


def test_the_context_has_an_end(client: openai.OpenAI, server: ScriptedServer) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        chat(client, "word " * 21)


def test_fault_shares_are_drawn_from_the_seed() -> None:
    def drawn(seed: int) -> list[str]:
        server = ScriptedServer(policy, faults={"429": 0.2, "stall": 0.1}, seed=seed)
        return [server._fault() for _ in range(2000)]

    faults = drawn(1)
    assert faults == drawn(1) != drawn(2)
    assert 340 < faults.count("429") < 460 and 150 < faults.count("stall") < 250


def test_an_unknown_fault_is_told() -> None:
    with pytest.raises(PgvError, match="'flood' is unknown; use one of 429"):
        ScriptedServer(policy, faults={"flood": 1.0})
