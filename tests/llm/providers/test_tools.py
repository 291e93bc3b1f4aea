"""Tools over each vendor's wire: offered, called, and the call goes back as it came."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pgv_jax.agents.propose import propose
from pgv_jax.llm.api_client import ApiClient, ClientOptions
from pgv_jax.llm.budget import worst_case
from pgv_jax.llm.cache import CachedClient, ResponseCache, cache_key
from pgv_jax.llm.client import ClientError, Completion, Request
from pgv_jax.llm.limits import Retry
from pgv_jax.llm.providers.opening import open_client
from pgv_jax.llm.scripted.server import ScriptedServer
from tests.llm.providers.raw_server import answering, reply

SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
LOOK = {"name": "look_up", "description": "Say what an order is.", "parameters": SCHEMA}
TASK = {"role": "user", "content": "Which order is the lamp?"}
ASK = Request([{"role": "system", "content": "Call tools."}, TASK], max_tokens=64, tools=(LOOK,))
VENDORS = ["openai", "anthropic", "google"]
CALLS = {"tool_calls": [{"name": "look_up", "arguments": {"order": "Ä7"}}], "content": "I look."}
SIGNATURE = base64.b64encode(b"\x00signed\xff").decode()


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda request, index: json.dumps(CALLS)) as server:
        yield server


@pytest.fixture
def server(running: ScriptedServer) -> ScriptedServer:
    running.forget()
    return running


def opened(vendor: str, server: ScriptedServer) -> ApiClient:
    if vendor != "openai":
        pytest.importorskip({"google": "google.genai"}.get(vendor, vendor))
    url = server.url + ("/v1" if vendor == "openai" else "")
    return open_client(f"{vendor}:scripted", ClientOptions(base_url=url, key_env=""))


def asked(client: ApiClient, *requests: Request) -> list[Completion]:
    async def main() -> list[Completion]:
        async with client:
            return [(await client.complete(request))[0] for request in requests]

    return asyncio.run(main())


def after(message: Any, result: str) -> Request:
    """The request that sends an answer of one call back with its result."""
    call_id = message["tool_calls"][0]["id"]
    told = {"role": "tool", "tool_call_id": call_id, "content": result}
    return replace(ASK, messages=[*ASK.messages, message, told])


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_call_is_read_in_one_form(vendor: str, server: ScriptedServer) -> None:
    (done,) = asked(opened(vendor, server), ASK)
    assert done.text == "I look."
    assert done.message is not None and done.message["content"] == "I look."
    (call,) = done.message["tool_calls"]
    assert call["type"] == "function" and call["function"]["name"] == "look_up"
    assert json.loads(call["function"]["arguments"]) == {"order": "Ä7"}
    assert server.calls[0].request.tools == (LOOK,)


BACK: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"order": "\\u00c47"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "A lamp."},
    ],
    "anthropic": [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_0", "name": "look_up", "input": {"order": "Ä7"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_0", "content": "A lamp."},
            ],
        },
    ],
    "google": [
        {
            "role": "assistant",
            "content": "I look.",
            "parts": [
                {"text": "I look."},
                {
                    "functionCall": {"name": "look_up", "args": {"order": "Ä7"}},
                    "thoughtSignature": SIGNATURE,
                },
            ],
        },
        {
            "role": "user",
            "content": "",
            "parts": [{"functionResponse": {"name": "look_up", "response": {"result": "A lamp."}}}],
        },
    ],
}
"""What stands on the wire behind the task, as each vendor documents it."""


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_call_goes_back_as_it_came(vendor: str, server: ScriptedServer) -> None:
    (done,) = asked(opened(vendor, server), ASK)
    assert done.message is not None
    asked(opened(vendor, server), after(json.loads(json.dumps(done.message)), "A lamp."))
    assert list(server.calls[1].request.messages)[2:] == BACK[vendor]


def test_several_calls_of_one_answer_have_their_results_in_one_message(server) -> None:
    two = [
        {"id": f"toolu_{i}", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
        for i in range(2)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": two}
    told = [{"role": "tool", "tool_call_id": f"toolu_{i}", "content": f"{i}."} for i in range(2)]
    asked(opened("anthropic", server), replace(ASK, messages=[*ASK.messages, message, *told]))
    assert list(server.calls[0].request.messages)[2:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_0", "name": "look_up", "input": {}},
                {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_0", "content": "0."},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1."},
            ],
        },
    ]


@pytest.mark.parametrize("vendor", VENDORS)
def test_calls_that_nobody_offered_are_an_error(vendor: str, server: ScriptedServer) -> None:
    server.next_faults.append("tool_calls")
    with pytest.raises(ClientError, match="tool calls where text was expected") as raised:
        asked(opened(vendor, server), replace(ASK, tools=()))
    assert raised.value.kind == "tool_calls"


def test_the_cache_keeps_calls_and_tells_tools_apart(server: ScriptedServer, tmp_path) -> None:
    def once() -> Completion:
        cache = ResponseCache(tmp_path)
        client = opened("openai", server)

        async def main() -> list[Completion]:
            async with client:
                return await CachedClient(client, cache).complete(ASK)

        return asyncio.run(main())[0]

    first, second = once(), once()
    assert len(server.calls) == 1 and second.cached
    assert second.message == first.message is not None
    plain = replace(ASK, tools=())
    other = replace(ASK, tools=({**LOOK, "description": "Else."},))
    keys = {cache_key({}, request, 0) for request in (ASK, plain, other)}
    assert len(keys) == 3


def test_a_budget_counts_the_tools(server: ScriptedServer) -> None:
    client = opened("openai", server)
    with_tools, without = (
        worst_case(request, 1, client.prices, "scripted").prompt_tokens
        for request in (ASK, replace(ASK, tools=()))
    )
    assert with_tools - without == 2 * len(json.dumps([LOOK]))
    asyncio.run(client.aclose())


def openai_reply(*calls: Any) -> dict[str, Any]:
    message = {"role": "tool", "content": None, "tool_calls": list(calls)}
    return {"choices": [{"message": message, "finish_reason": "tool_calls"}]}


def raw_asked(body: dict[str, Any]) -> Completion:
    with answering(reply(body)) as url:
        options = ClientOptions(base_url=url, key_env="", retry=Retry(base=1e-4, tries=1))
        (done,) = asked(open_client("openai:m", options), ASK)
    return done


def test_a_call_without_an_id_gets_one_and_objects_become_json() -> None:
    body = openai_reply({"function": {"name": "look_up", "arguments": {"order": "7"}}})
    message = raw_asked(body).message
    assert message is not None and message["role"] == "assistant"
    function = {"name": "look_up", "arguments": '{"order": "7"}'}
    assert message["tool_calls"] == [{"id": "call_0", "function": function}]


@pytest.mark.parametrize(
    "calls", [[3], [{}], [{"function": {"name": 3}}], [{"function": {"name": "f", "arguments": 3}}]]
)
def test_calls_that_are_none_are_a_reply_that_is_none(calls: list[Any]) -> None:
    with pytest.raises(ClientError, match=r"sent a reply that is none: tool_calls: "):
        raw_asked(openai_reply(*calls))


def test_a_number_that_json_does_not_know_cannot_go_back() -> None:
    with pytest.raises(ClientError, match="sent a reply that is none: message: "):
        raw_asked(openai_reply({"function": {"name": "f", "arguments": "{}"}, "odd": float("nan")}))


def test_arguments_that_are_no_json_are_an_unusable_proposal() -> None:
    call = {"id": "c", "function": {"name": "look_up", "arguments": '{"order": '}}

    async def main(url: str) -> Any:
        client = open_client("openai:m", ClientOptions(base_url=url, key_env=""))
        async with client:
            return await propose(client, "T", "O", n=1, seed=0, tools=(LOOK,))

    with answering(reply(openai_reply(call))) as url:
        proposal = asyncio.run(main(url))
    assert [c.action for c in proposal.candidates] == [""]
    assert proposal.counts["unusable"] == 1 and not proposal.messages
