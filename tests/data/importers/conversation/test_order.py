"""Results stand where their calls do, and before what users said meanwhile."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.conversation.pieces import Call, Result
from pgv_jax.data.importers.conversation.steps import observe
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.to_openai import to_openai

from ..reading import chat, jsonl, read


def calls(*ids: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids
        ],
    }


def answer(number: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": number, "content": text}


def test_swapped_results_and_words_between_them(tmp_path: Path) -> None:
    messages = chat(
        "Add the stock of A and B.",
        calls("1", "2"),
        {"role": "user", "content": "Hurry!"},
        answer("2", "seven"),
        answer("1", "three"),
        {"role": "assistant", "content": "10"},
    )
    (episode,) = read(jsonl(tmp_path / "x.jsonl", messages))
    assert episode.steps[1].observation == "three\n\nseven\n\nHurry!"
    assert to_openai(episode) == messages["messages"]  # as they were logged


def test_anthropic_results_after_the_users_words(tmp_path: Path) -> None:
    uses = [{"type": "tool_use", "id": i, "name": "f", "input": {}} for i in "12"]
    heard = [
        {"type": "text", "text": "Hurry!"},
        {"type": "tool_result", "tool_use_id": "2", "content": "seven"},
        {"type": "tool_result", "tool_use_id": "1", "content": "three"},
    ]
    (episode,) = read(jsonl(tmp_path / "x.jsonl", chat("Add.", uses, heard, "10")))
    assert episode.steps[1].observation == "three\n\nseven\n\nHurry!"


def test_results_at_the_end_and_ids_that_come_again(tmp_path: Path) -> None:
    record = chat("T", calls("1", "2"), answer("2", "b"), answer("1", "a"), calls("1", "2"),
                  answer("2", "d"), answer("1", "c"))  # fmt: skip
    (episode,) = read(jsonl(tmp_path / "x.jsonl", record))
    assert (episode.steps[1].observation, episode.final_observation) == ("a\n\nb", "c\n\nd")


def test_without_a_call_before_things_stay_as_they_came(tmp_path: Path) -> None:
    record = chat(
        "Go.", {"role": "tool", "content": "a room"}, {"role": "assistant", "content": "x"}
    )
    (episode,) = read(jsonl(tmp_path / "x.jsonl", record))
    assert episode.steps[0].observation == "Go.\n\na room"


@given(st.permutations("abcd"), st.lists(st.integers(0, 4), max_size=2))
def test_any_order_of_arrival_gives_the_order_of_the_calls(order: list[str], at: list[int]) -> None:
    arrived = [Turn("tool", results=(Result(f"r{i}", i),)) for i in order]
    for place in at:
        arrived.insert(place, Turn("user", "words"))
    seen = observe(arrived, [Call("f", {}, i) for i in "abcd"]).split("\n\n")
    assert seen == ["ra", "rb", "rc", "rd", *["words"] * len(at)]
