"""Answers that go on with words that the request put into the agent's mouth."""

from pathlib import Path
from typing import Any

import pytest

from ..reading import chat, imported, jsonl, rows

BEGUN = "Thought:"


def response(content: Any) -> dict[str, Any]:
    """As Anthropic's Messages API answers."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content,
        "stop_reason": "end_turn",
    }


def record(messages: list[Any], answer: Any, **request: Any) -> dict[str, Any]:
    return {"request": {"model": "m", **chat(*messages), **request}, "response": answer}


def test_anthropics_answer_is_one_message_with_the_prefill(tmp_path: Path) -> None:
    texts = (" It is shut.\nAction: open box", " A coin.\nAction: take coin")
    first, second = ([{"type": "text", "text": text}] for text in texts)
    calls = [
        record(["Find the coin.", BEGUN], response(first)),
        record(
            ["Find the coin.", BEGUN + texts[0], "It is open.", BEGUN],
            response(second),
        ),
    ]
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert report.sources[0].importer.name == "anthropic"
    assert rows(episode) == [
        ("Find the coin.", "It is shut.", "open box"),
        ("It is open.", "A coin.", "take coin"),
    ]


def test_a_call_of_a_tool_behind_a_prefill(tmp_path: Path) -> None:
    use = {"type": "tool_use", "id": "t1", "name": "open", "input": {"what": "box"}}
    path = jsonl(tmp_path / "x.jsonl", record(["Go.", "I look first."], response([use])))
    (episode,), _ = imported(path)
    assert rows(episode) == [("Go.", "I look first.", 'open({"what": "box"})')]


@pytest.mark.parametrize(
    ("mark", "request_"),
    [({"prefix": True}, {}), ({"partial": True}, {}), ({}, {"continue_final_message": True})],
)
@pytest.mark.parametrize("repeated", ["", BEGUN])
def test_others_go_on_where_they_are_asked_to(
    tmp_path: Path, mark: dict[str, bool], request_: dict[str, bool], repeated: str
) -> None:
    begun = {"role": "assistant", "content": BEGUN, **mark}
    said = {"role": "assistant", "content": f"{repeated} It is shut.\nAction: open box"}
    answer = {"choices": [{"message": said}]}
    path = jsonl(tmp_path / "x.jsonl", record(["Find the coin.", begun], answer, **request_))
    (episode,), _ = imported(path)
    assert rows(episode) == [("Find the coin.", "It is shut.", "open box")]


def test_without_being_asked_it_is_a_message_of_its_own(tmp_path: Path) -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": "Action: open box"}}]}
    path = jsonl(tmp_path / "x.jsonl", record(["Find the coin.", "Action: look"], answer))
    (episode,), _ = imported(path)
    assert [step.action for step in episode.steps] == ["look", "open box"]
