"""The critic as an agent's tools, by the protocol's own client."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import Client

from pgv_jax.guide.guide import Guide
from pgv_jax.serve.mcp_server import mcp_server
from tests.guide.toy import WordCritic


def call(name: str, **arguments: Any) -> Any:
    async def work() -> Any:
        async with Client(mcp_server(Guide(WordCritic()))) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == [
                "choose",
                "critique",
                "value",
            ]
            return await client.call_tool(name, arguments)

    return asyncio.run(work())


def test_choose_names_the_best_thought_and_all_values():
    found = call("choose", observation="Hall.", thoughts=["a 0.1", "b 0.7"], goals=["g"])
    told = found.structured_content
    assert (told["thought"], told["index"]) == ("b 0.7", 1)
    assert (told["goals"], told["values"]) == (["g"], [[0.1], [0.7]])


def test_critique_is_words():
    found = call("critique", observation="Hall.", thought="a 0.3")
    assert found.content[0].text == '- Good outcome: "The task is done." 0.30'


def test_value_is_a_number_a_goal():
    found = call("value", observation="Hall 0.4.", goals=["g", "h"])
    assert found.structured_content == {"g": 0.4, "h": 0.4}


def test_a_mistake_is_one_sentence():
    found = call("choose", observation="Hall.", thoughts=[])
    assert found.is_error
    assert "There is no candidate to choose from" in found.content[0].text
