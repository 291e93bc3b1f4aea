"""Calls that leave out the beginning of their conversation: what comes of them, by hand."""

from pathlib import Path
from typing import Any

import pytest

from .reading import chat, imported, jsonl, rows
from .test_call_logs import call

TASK = "Buy a red mug."


def words(turns: int, name: str = "") -> list[str]:
    """A conversation: the task, then answers and pages in turn."""
    said = [w for t in range(turns) for w in (f"click {t}{name}", f"Page {t}{name}.")]
    return [TASK, *said]


def windows(turns: int, most: int, kept: int = 0, name: str = "", **fields: Any) -> list[Any]:
    """A call a turn, with the last ``most`` messages, behind the first ``kept`` of them."""
    said, calls = words(turns, name), []
    for t in range(turns):
        sent = said[: 2 * t + 1]
        if len(sent) > kept + most:
            sent = [*sent[:kept], *sent[len(sent) - most :]]
        calls.append(call(sent, said[2 * t + 1], **fields))
    return calls


def turns_of(count: int, name: str = "") -> list[tuple[str, str]]:
    seen = [TASK, *(f"Page {t}{name}." for t in range(count - 1))]
    return [(seen[t], f"click {t}{name}") for t in range(count)]


def told(episode: Any) -> list[tuple[str, str]]:
    return [(seen, action) for seen, _, action in rows(episode)]


@pytest.mark.parametrize(("most", "kept"), [(5, 0), (7, 0), (4, 1), (6, 1)])
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_calls_of_a_window_are_one_episode(
    tmp_path: Path, most: int, kept: int, newest_first: bool
) -> None:
    calls = windows(8, most, kept)
    if newest_first:
        calls.reverse()
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert told(episode) == turns_of(8)
    assert episode.task == TASK
    whole = 3 if most + kept < 7 else 4
    assert report.findings.sentences[:2] == [
        f"{whole - 1} of 8 records are calls within a conversation that another record holds whole;"
        " they are folded into 1 episodes.",
        f"{8 - whole} of 8 records are calls that leave out the beginning of their conversation; "
        "they are joined to those that they go on from, in 1 episodes.",
    ]


def test_a_summary_in_the_place_of_what_was_left_out_is_not_taken_for_what_was_seen(
    tmp_path: Path,
) -> None:
    said = words(5)
    calls = [call(said[:7], said[7]), call(["So far: two pages.", *said[3:9]], said[9])]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert told(episode) == turns_of(5)


def test_a_window_that_grows_and_is_cut_by_more_than_a_turn(tmp_path: Path) -> None:
    said = words(7)
    parts = [(0, 7), (4, 9), (4, 11), (8, 13)]  # the last repeats two steps of the one before
    calls = [call(said[a:b], said[b]) for a, b in parts]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert told(episode) == turns_of(7)


def test_one_turn_is_enough_within_a_conversation_that_has_an_id(tmp_path: Path) -> None:
    one, two = windows(4, 3, session_id="s1"), windows(5, 2, 1, session_id="s2")
    calls = [c for pair in zip(one, two, strict=False) for c in pair] + two[4:]
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert [told(e) for e in episodes] == [turns_of(4), turns_of(5)]
    assert [e.episode_id for e in episodes] == ["s1", "s2"]
    assert report.findings.folded.doubtful == 0


def test_one_turn_without_an_id_joins_nothing_and_is_told(tmp_path: Path) -> None:
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *windows(4, 3)))
    assert [len(e.steps) for e in episodes] == [2, 2, 2]
    (sentence,) = [s for s in report.findings.sentences if "session_id" in s]
    assert sentence.startswith("2 records begin with the step that another one ends with.")


def test_the_outcome_is_the_last_calls_and_the_id_the_first_ones(tmp_path: Path) -> None:
    calls = windows(6, 5)
    for number, record in enumerate(calls):
        record |= {"id": f"call-{number}", "reward": float(number == 5)}
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert (episode.episode_id, episode.success, len(episode.steps)) == ("call-0", True, 6)


def test_tokens_and_other_answers_stay_with_their_step(tmp_path: Path) -> None:
    calls = windows(6, 5)
    for number, record in enumerate(calls):
        record["response"]["choices"][0]["message"]["usage"] = {"prompt_tokens": 10 + number}
    other = {"message": {"role": "assistant", "content": "go back"}}
    calls[4]["response"]["choices"].append(other)
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert [s.metadata["prompt_tokens"] for s in episode.steps] == [10, 11, 12, 13, 14, 15]
    other_answers = [[c.action for c in s.candidates] for s in episode.steps]
    assert other_answers == [[], [], [], [], ["go back"], []]


def test_a_loop_has_as_many_steps_as_calls(tmp_path: Path) -> None:
    said = [TASK, *["look", "Nothing happens."] * 7]
    calls = [call(said[max(0, 2 * t - 4) : 2 * t + 1], "look") for t in range(7)]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert told(episode) == [(TASK, "look"), *[("Nothing happens.", "look")] * 6]


@pytest.mark.parametrize(
    "ends",
    [
        ({"success": False}, {"success": True}),  # each has an end of its own
        ({}, {}),
    ],
)
def test_conversations_that_are_whole_stay_apart(
    tmp_path: Path, ends: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    said = words(5)
    first, second = said[:6], said[2:10]
    if not ends[0]:
        first = [*said[:6], "Another page."]  # what was seen is not where the other goes on
    records = [chat(*first, **ends[0]), chat(*second, **ends[1])]
    episodes, report = imported(jsonl(tmp_path / "x.jsonl", *records))
    assert [len(e.steps) for e in episodes] == [3, 4]
    assert not report.findings.folded.shared


def test_of_two_that_go_on_from_one_record_the_nearer_is_joined(tmp_path: Path) -> None:
    said = words(5)
    calls = [call(said[:5], said[5]), call(said[2:7], "click b"), call(said[2:7], said[7])]
    episodes, _ = imported(jsonl(tmp_path / "x.jsonl", *calls))
    assert sorted(len(e.steps) for e in episodes) == [3, 4]
