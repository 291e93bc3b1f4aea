"""Per-call logs: one conversation is one episode, whatever its calls were logged as."""

import random
from pathlib import Path
from typing import Any

import pytest

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.outcomes.rewards import Rewards

from .reading import chat, imported, jsonl, read, rows


def asked(*words: str) -> list[dict[str, Any]]:
    return list(chat(*words)["messages"])


def call(words: list[str], answer: Any, **fields: Any) -> dict[str, Any]:
    """A proxy's record: the request with the conversation so far, and the response."""
    choices = [{"message": {"role": "assistant", "content": a}} for a in [answer]]
    return {
        "request": {"model": "m", "messages": asked(*words)},
        "response": {"choices": choices},
        **fields,
    }


def session(name: str, turns: int, **fields: Any) -> list[dict[str, Any]]:
    """The calls of a conversation of ``turns`` answers."""
    words = [w for t in range(turns) for w in (f"{name} asks {t}", f"{name} answers {t}")]
    return [call(words[: 2 * t + 1], words[2 * t + 1], **fields) for t in range(turns)]


@pytest.mark.slow
def test_three_hundred_conversations_are_three_hundred_episodes(tmp_path: Path) -> None:
    source = random.Random(3)
    calls = [c for i in range(300) for c in session(f"c{i}", source.randint(1, 16))]
    total = sum(1 for _ in calls)
    source.shuffle(calls)
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert (len(episodes), sum(len(e.steps) for e in episodes)) == (300, total)
    assert f"{total - 300:,} of {total:,} records are calls within a conversation" in (
        " ".join(report.findings.sentences)
    )


def test_ids_keep_conversations_apart_that_begin_alike(tmp_path: Path) -> None:
    one = [call(["Hi"], "Hello", session_id="s1")]
    other = session_calls("s2")
    episodes, _ = imported(jsonl(tmp_path / "x.jsonl", *one, *other))
    assert [len(e.steps) for e in episodes] == [1, 2]


def session_calls(name: str) -> list[dict[str, Any]]:
    return [
        call(["Hi"], "Hello", session_id=name),
        call(["Hi", "Hello", "Bye"], "So long", session_id=name),
    ]


def test_whole_conversations_as_prefixes_of_each_other(tmp_path: Path) -> None:
    words = ["a", "b", "c", "d", "e", "f"]
    records = [chat(*words[:n]) for n in (2, 4, 6)]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert rows(episode) == [("a", "b", "b"), ("c", "d", "d"), ("e", "f", "f")]


def test_two_attempts_that_begin_alike_stay_two(tmp_path: Path) -> None:
    short = chat("T", "a", reward=0, truncated=True)
    long = chat("T", "a", "o", "b", "p", "c", reward=1)
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", short, long))
    assert [(len(e.steps), e.success) for e in episodes] == [(1, False), (3, True)]
    assert not report.findings.folded.places


def test_a_reward_a_call_belongs_to_one_episode(tmp_path: Path) -> None:
    records = [chat("T", "a", reward=0), chat("T", "a", "o", "b", reward=1)]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert (len(episode.steps), episode.success) == (2, True)


def test_what_only_the_calls_knew_is_kept(tmp_path: Path) -> None:
    first = call(["T"], "a")
    first["response"]["choices"] = [
        {"message": {"role": "assistant", "content": "a", "reasoning_content": "because"}},
        {"message": {"role": "assistant", "content": "b"}},
    ]
    second = call(["T", "a", "o"], "c", reward=1)
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", first, second))
    assert rows(episode) == [("T", "because", "a"), ("o", "c", "c")]
    assert [(c.thought, c.action) for c in episode.steps[0].candidates] == [("b", "b")]
    assert episode.success is True


def test_the_choice_that_was_followed_is_the_action(tmp_path: Path) -> None:
    first = call(["T"], "a")
    first["response"]["choices"].append({"message": {"role": "assistant", "content": "b"}})
    second = call(["T", "b", "o"], "c")
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", first, second))
    assert [s.action for s in episode.steps] == ["b", "c"]
    assert [c.action for c in episode.steps[0].candidates] == ["a"]


def test_calls_in_a_file_each(tmp_path: Path) -> None:
    paths = [jsonl(tmp_path / f"{i}.jsonl", c) for i, c in enumerate(session("c", 4))]
    (episode,), report = imported(*paths)
    assert len(episode.steps) == 4 and len(report.sources) == 4


HI = {"role": "assistant", "content": "hi"}


@pytest.mark.parametrize(
    "record",
    [
        {"request": {"messages": asked("Say hi")}, "response": {"choices": [{"message": HI}]}},
        {"request": {"messages": asked("Say hi")}, "response": {"role": "assistant",
         "content": [{"type": "text", "text": "hi"}]}},
        {"messages": asked("Say hi"), "response": {"choices": [{"message": HI}]}},
        {"messages": asked("Say hi"), "response": "hi"},
        {"messages": asked("Say hi"), "response": '{"choices": [{"message": {"content": "hi"}}]}'},
        {"messages": asked("Say hi"), "completion": [HI]},
        {"prompt": asked("Say hi"), "completion": [HI]},
        {"prompt": "Say hi", "completion": "hi"},
        {"prompt": "Say hi", "response": "hi"},
        {"body": {"messages": asked("Say hi")},
         "response": {"body": {"choices": [{"message": HI}]}}},
        {"request_body": {"messages": asked("Say hi")},
         "response_body": {"choices": [{"message": HI}]}},
        {"kwargs": {"messages": asked("Say hi")}, "output": {"choices": [{"message": HI}]}},
        {"inputs": {"messages": asked("Say hi")}, "outputs": {"choices": [{"message": HI}]}},
        {"request": {"input": "Say hi"}, "response": {"output": [{"type": "message",
         "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}]}},
        {"request": {"contents": [{"role": "user", "parts": [{"text": "Say hi"}]}]},
         "response": {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}}]}},
        {"request": {"messages": [{"role": "user", "content": [{"text": "Say hi"}]}]},
         "response": {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}}},
        {"request": {"messages": asked("Say hi")}, "response": [
            {"choices": [{"delta": {"role": "assistant", "content": "h"}}]},
            {"choices": [{"delta": {"content": "i"}}]}]},
    ],
)  # fmt: skip
def test_where_proxies_keep_requests_and_answers(tmp_path: Path, record: dict[str, Any]) -> None:
    (episode,) = read(jsonl(tmp_path / "x.jsonl", {**record, "reward": 1}))
    assert rows(episode) == [("Say hi", "hi", "hi")]
    assert episode.success is True


def test_an_answer_that_stands_in_the_messages_already_is_not_said_twice(tmp_path: Path) -> None:
    record = {"messages": [*asked("Say hi"), HI], "response": {"choices": [{"message": HI}]}}
    (episode,) = read(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("Say hi", "hi", "hi")]


def test_a_stream_of_calls_adds_up(tmp_path: Path) -> None:
    def delta(**fields: Any) -> dict[str, Any]:
        return {"choices": [{"delta": fields}]}

    parts = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}},
             {"index": 0, "function": {"arguments": ": 1}"}}]  # fmt: skip
    chunks = [delta(reasoning_content="be"), delta(reasoning_content="cause")]
    chunks += [delta(tool_calls=[part]) for part in parts]
    record = {"messages": asked("T"), "response": chunks}
    (episode,) = read(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("T", "because", 'f({"a": 1})')]


@pytest.mark.parametrize(
    "told",
    [
        {"session_id": "s1"},
        {"metadata": {"conversation_id": "s1"}},
        {"litellm_metadata": {"thread_id": "s1"}},
        {"trace_id": "s1"},
    ],
)
def test_the_episode_of_folded_calls_has_the_id_of_the_conversation(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    calls = [call(["Hi"], "Hello", id="chatcmpl-1", **told)]
    calls += [call(["Hi", "Hello", "Bye"], "So long", id="chatcmpl-2", **told)]
    calls += [call(["What?"], "This.", id="chatcmpl-3", session_id="s2")]
    episodes, _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert [(e.episode_id, len(e.steps)) for e in episodes] == [("s1", 2), ("s2", 1)]


def test_without_a_conversations_id_it_has_its_first_calls(tmp_path: Path) -> None:
    calls = session("c", 3)
    named = [{"id": f"chatcmpl-{i}", **c} for i, c in enumerate(calls)]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *reversed(named)))
    assert (episode.episode_id, len(episode.steps)) == ("chatcmpl-0", 3)
    (episode,), _ = imported(jsonl(tmp_path / "y.jsonl", *calls))
    assert episode.episode_id == "y:0"


def test_an_episodes_own_id_or_the_users_is_not_replaced_by_the_conversations(
    tmp_path: Path,
) -> None:
    calls = [{**c, "run_id": "r1", "session_id": "s"} for c in session("c", 2)]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert episode.episode_id == "r1"
    named = [{**c, "key": f"k{i}", "session_id": "s"} for i, c in enumerate(session("c", 2))]
    path = jsonl(tmp_path / "y.jsonl", *named)
    (episode,), _ = imported(path, options=Options(fields={"episode_id": "key"}))
    assert episode.episode_id == "k1"


def test_an_outcome_that_only_the_first_of_three_calls_knows_is_the_episodes(
    tmp_path: Path,
) -> None:
    calls = session("c", 3, session_id="s")
    calls[0]["reward"] = 1
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert (len(episode.steps), episode.success) == (3, True)


def test_rewards_of_conversations_find_their_calls(tmp_path: Path) -> None:
    calls = [{"id": f"chatcmpl-{i}", **c} for i, c in enumerate(session_calls("s1"))]
    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text("episode_id,reward\ns1,1\n")
    rewards = Rewards(outcomes, "episode_id", "reward")
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", *calls), rewards=rewards)
    assert (episode.episode_id, episode.success, report.unmatched) == ("s1", True, 0)


def test_a_trace_of_litellm_is_one_call(tmp_path: Path) -> None:
    calls = session("c", 2, call_type="acompletion", response_cost=0.1)
    calls = [{**c, "id": f"r{i}", "trace_id": f"t{i}"} for i, c in enumerate(calls)]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert [s.action for s in episode.steps] == ["c answers 0", "c answers 1"]


@pytest.mark.parametrize("name", ["proxy_server_request", "what_was_sent"])
def test_an_answer_beside_an_inner_request(tmp_path: Path, name: str) -> None:
    record = call(["q", "a", "r"], "b")
    record = {"messages": {}, name: record["request"], "response": record["response"]}
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", record))
    assert [(s.observation, s.action) for s in episode.steps] == [("q", "a"), ("r", "b")]
    assert not report.tally.notes
