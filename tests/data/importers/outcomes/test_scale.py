"""Rewards off [0, 1] and words for outcomes: read where plain, asked for where not."""

from pathlib import Path
from typing import Any

import pytest

from pgv_jax.data.importers.outcomes.rewards import Rewards
from pgv_jax.errors import PgvError

from ..reading import chat, imported, jsonl


def log(path: Path, values: list[Any], key: str = "reward") -> Path:
    return jsonl(
        path / "x.jsonl", *(chat(f"Task {i}", "go", **{key: v}) for i, v in enumerate(values))
    )


def outcomes(path: Path, **plan: Any) -> list[bool | None]:
    return [e.success for e in imported(path, **plan)[0]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, -1, 1, -1], [True, False, True, False]),
        ([True, False], [True, False]),
        (["pass", "fail"], [True, False]),
        (["100%", "40%"], [True, False]),
        ([1.0, 0.4], [True, False]),
        (["won", "lost"], [True, False]),
        ([None, 1], [None, True]),
    ],
)
def test_plain_rewards(tmp_path: Path, values: list[Any], expected: list[Any]) -> None:
    assert outcomes(log(tmp_path, values)) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([10, 0, 10], r"lie in 0 \.\. 10 \(10: 2, 0: 1\) .*--success 'reward >= 10'"),
        ([37.5, 100, 80], r"lie in 37\.5 \.\. 100"),
        ([-1, 0, 1], r"lie in -1 \.\. 1"),
        ([7], r"lie in 7 \.\. 7"),
    ],
)
def test_other_rewards_are_a_question(tmp_path: Path, values: list[Any], words: str) -> None:
    path = log(tmp_path, values)
    with pytest.raises(PgvError, match=words):
        imported(path)
    assert not (tmp_path / "dataset").exists()
    top = max(values)
    assert outcomes(path, success=f"reward >= {top}") == [v >= top for v in values]
    assert outcomes(path, success="null") == [None] * len(values)


def test_a_success_beside_a_reward_needs_no_question(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "x.jsonl",
        chat("a", "go", reward=37, success=True),
        chat("b", "go", reward=2, success=False),
    )
    assert outcomes(path) == [True, False]


def test_the_rewards_of_a_table_are_looked_at_too(tmp_path: Path) -> None:
    path = log(tmp_path, [None, None])
    table = tmp_path / "t.csv"
    table.write_text("episode_id,reward\nx:0,2.5\nx:1,0\n")
    with pytest.raises(PgvError, match=r"lie in 0 \.\. 2\.5"):
        imported(path, rewards=Rewards(table, "episode_id", "reward"))
    rewards = Rewards(table, "episode_id", "reward")
    assert outcomes(path, rewards=rewards, success="reward > 0") == [True, False]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"won": True}, True),
        ({"resolved": "no"}, False),
        ({"is_resolved": 1}, True),
        ({"accuracy": 1.0}, True),
        ({"info": {"resolved": False}}, False),
        ({"metadata": {"reward": 1}}, True),
        ({"extra": {"report": {"resolved": True}}}, True),
        ({"evaluation": {"score": 0}}, False),
        ({"outcome": "success"}, True),
        ({"result": {"success": False}}, False),
        ({"verdict": "Incorrect."}, False),
        ({"reward": 1, "metadata": {"success": False}}, True),  # what stands outside comes first
        ({"status": "success"}, None),  # of a call, as often as not
    ],
)
def test_where_outcomes_stand(
    tmp_path: Path, fields: dict[str, Any], expected: bool | None
) -> None:
    path = jsonl(tmp_path / "x.jsonl", chat("T", "go", **fields))
    assert outcomes(path) == [expected]


@pytest.mark.parametrize(
    "fields",
    [
        {"truncated": 1},
        {"truncated": "true"},
        {"truncated": "max_steps"},
        {"info": {"TimeLimit.truncated": True}},
        {"early_stop": "Reach max steps 30"},
        {"timed_out": True},
        {"exit_status": "max_steps"},
        {"exit_status": "submitted (exit_cost)"},
        {"info": {"exit_status": "LimitsExceeded"}},
        {"finish_reason": "length"},
        {"termination_reason": "too_many_errors"},
        {"stop_reason": "max_tokens"},
        {"status": "timeout"},
        {"messages": [{"role": "user", "content": "T"},
                      {"role": "assistant", "content": "go", "stop_reason": "max_tokens"}]},
    ],
)  # fmt: skip
def test_a_run_that_was_cut_off_did_not_end(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = jsonl(tmp_path / "x.jsonl", {**chat("T", "go", reward=0), **fields})
    (episode,), _ = imported(path)
    assert (episode.success, episode.is_terminal) == (False, False)
    (judged,), _ = imported(path, success="reward >= 1")
    assert (judged.success, judged.is_terminal) == (False, False)


@pytest.mark.parametrize(
    "fields",
    [{"finish_reason": "stop"}, {"exit_status": "submitted"}, {"truncated": 0}, {"truncated": "no"},
     {"stop_reason": "end_turn"}, {"termination_reason": "user_stop"}, {"status": "completed"}],
)  # fmt: skip
def test_a_run_that_ended_did(tmp_path: Path, fields: dict[str, Any]) -> None:
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", chat("T", "go", reward=0, **fields)))
    assert episode.is_terminal


def test_words_that_nobody_knows(tmp_path: Path) -> None:
    path = log(tmp_path, ["good enough", "pass", "pass"], "verdict")
    with pytest.raises(PgvError, match=r"'verdict' says 'good enough': 1, .* all are success"):
        imported(path)
    mixed = log(tmp_path, ["good enough", "pass", "fail"], "verdict")
    episodes, report = imported(mixed)
    assert [e.success for e in episodes] == [None, True, False]
    assert "'verdict' says 'good enough': 1: not understood" in " ".join(report.findings.sentences)


def test_a_field_that_may_say_the_end_is_named_where_nothing_else_does(tmp_path: Path) -> None:
    _, report = imported(log(tmp_path, ["A", "F", "A"], "grade"))
    assert report.findings.sentences == [
        "'grade' ('A': 2, 'F': 1) may say how episodes ended. Decide with --success "
        "\"metadata.record.grade == 'A'\"."
    ]
    assert outcomes(log(tmp_path, ["A", "F"], "grade"), success="metadata.record.grade == 'A'") == [
        True,
        False,
    ]


def test_the_rule_to_paste_takes_the_word_that_says_success(tmp_path: Path) -> None:
    _, report = imported(log(tmp_path, ["Incorrect", "Incorrect", "Correct"], "label"))
    assert report.findings.sentences == [
        "'label' ('Incorrect': 2, 'Correct': 1) may say how episodes ended. Decide with --success "
        "\"metadata.record.label == 'Correct'\"."
    ]


def test_a_word_such_as_failed_may_say_the_end_whatever_its_field_is_called(tmp_path: Path) -> None:
    _, report = imported(log(tmp_path, ["failed", "failed", "completed"], "status"))
    assert report.findings.sentences == [
        "'status' ('failed': 2, 'completed': 1) may say how episodes ended. Decide with --success "
        "\"metadata.record.status == 'completed'\"."
    ]
    _, report = imported(log(tmp_path, ["blue", "green", "red"], "status"))
    assert report.findings.sentences == []


def test_the_summary_says_where_outcomes_were_read_and_what_no_reward_reaches(
    tmp_path: Path,
) -> None:
    _, report = imported(log(tmp_path, [0.25, 0.5, 0.5]))
    said = " ".join(report.findings.sentences)
    assert "Outcomes are read from 'reward' (3); rewards: 0.5: 2, 0.25: 1." in said
    assert "No reward reaches 1 (the largest is 0.5)" in said


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "metadata.record.rewrd >= 1",
            r"has metadata\.record\.rewrd; near it are metadata\.record\.reward",
        ),
        (
            "score > 0 and metadata.grade > 1",
            r"has metadata\.grade; .*metadata\.record\.info\.grade",
        ),
        ("metadata.x == 1", r"has metadata\.x; there are metadata\."),
    ],
)
def test_a_name_that_no_episode_has(tmp_path: Path, rule: str, words: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", chat("T", "go", reward=1, info={"grade": 2}))
    with pytest.raises(PgvError, match=words):
        imported(path, success=rule)


def test_a_name_that_some_episodes_have_is_unknown_elsewhere(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", chat("a", "go", won_by=3), chat("b", "go"))
    assert outcomes(path, success="metadata.record.won_by > 1") == [True, None]
    no_reward = jsonl(tmp_path / "x.jsonl", chat("a", "go"))
    with pytest.raises(PgvError, match="none of the 1 episodes has reward"):
        imported(no_reward, success="reward >= 1")


@pytest.mark.parametrize(
    ("fields", "success", "score"),
    [
        ({"passed": 1, "total": 5}, False, 0.2),
        ({"correct": 0, "num_tests": 3}, False, 0.0),
        ({"test_result": {"passed": 1, "failed": 4}}, False, 0.2),
        ({"test_result": {"passed": 5, "failed": 0}}, True, 1.0),
        ({"passed": True, "total": 5}, True, None),
        ({"resolved": 1, "failed": 0}, True, None),
        ({"score": 1, "max_score": 10}, False, 0.1),
        ({"score": 1, "max_score": 1}, True, 1.0),
        ({"result": {"reward": 30, "out_of": 40}}, False, 0.75),
        ({"reward": [1.0]}, True, 1.0),
        ({"success": [False]}, False, None),
    ],
)
def test_counts_and_scores_are_parts_of_what_stands_beside_them(
    tmp_path: Path, fields: dict[str, Any], success: bool, score: float | None
) -> None:
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", chat("T", "go", **fields)))
    assert (episode.success, episode.score) == (success, score)


def test_a_list_of_rewards_is_not_one(tmp_path: Path) -> None:
    path = log(tmp_path, [[1.0, 0.0], 1])
    with pytest.raises(PgvError, match=r"'reward' says '\[1.0, 0.0\]': 1, .* Join what it means"):
        imported(path)
    episodes, report = imported(log(tmp_path, [[1.0, 0.0], 1, 0]))
    assert [e.success for e in episodes] == [None, True, False]
    assert (
        "'reward' says '[1.0, 0.0]': 1: not understood. Join what it means with --rewards."
        in report.findings.sentences
    )


def test_outcomes_that_contradict_each_other_are_said(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "x.jsonl",
        chat("A", "go", success=True, info={"resolved": False}),
        chat("B", "go", success=True, info={"resolved": True}),
        chat("C", "go", success=False, info={"resolved": False}),
    )
    episodes, report = imported(path)
    assert [e.success for e in episodes] == [True, True, False]
    assert report.findings.sentences[1:] == [
        "'success' and 'info.resolved' contradict each other in 1 records; 'success' is taken. "
        "Otherwise: --success metadata.record.info.resolved."
    ]
    assert outcomes(path, success="metadata.record.info.resolved") == [False, True, False]


def test_a_field_that_may_say_the_end_is_named_for_the_episodes_without_one(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "x.jsonl", chat("A", "go", rewards=[0, 1]), chat("B", "go", success=True)
    )
    _, report = imported(path)
    assert report.findings.sentences[1:] == [
        "'rewards' ('[0, 1]': 1) may say how episodes ended. Join what it means with --rewards."
    ]


def test_what_a_table_of_rewards_does_not_say_plainly(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "x.jsonl", *(chat(k, "go", id=k, success=k == "b") for k in ("a", "b", "c", "7"))
    )
    table = tmp_path / "r.csv"
    table.write_text("episode_id,reward\na,3/5\nb,partly\nc,pass\n")
    episodes, report = imported(path, rewards=Rewards(table, "episode_id", "reward"))
    found = {e.episode_id: (e.success, e.score) for e in episodes}
    assert found == {
        "a": (False, 0.6), "b": (True, None), "c": (True, None), "7": (False, None)
    }  # fmt: skip
    note = "--rewards says 'partly', which is not understood; the log's own word stands"
    assert report.tally.notes == {note: 1}
    table.write_text("episode_id,reward\na,pass\nb,partly\n")
    with pytest.raises(PgvError, match="'reward' says 'partly', which is not understood"):
        Rewards(table, "episode_id", "reward")
    table.write_text("episode_id,reward\na,1\nb,nan\n")
    with pytest.raises(PgvError, match=r"r\.csv:3: reward: is not a number"):
        Rewards(table, "episode_id", "reward")
    floats = jsonl(tmp_path / "r.jsonl", {"episode_id": 7.0, "reward": 1})
    joined = Rewards(floats, "episode_id", "reward")
    assert {e.episode_id: e.success for e in imported(path, rewards=joined)[0]}["7"] is True


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("metadata.record.ok == 'true'", [True, False, None]),
        ("metadata.record.ok == true", [True, False, None]),
        ("metadata.record.ok", [True, False, None]),
        ("metadata.record.em == '1'", [True, False, None]),
        ("metadata.record.em == true", [True, False, None]),
        ("metadata.record.tags == 'a'", [None, None, None]),
        ("metadata.record.kind == 'a'", [True, False, None]),
    ],
)
def test_a_rule_compares_what_values_say(tmp_path: Path, rule: str, expected: list[Any]) -> None:
    path = jsonl(
        tmp_path / "x.jsonl",
        chat("A", "go", ok=True, em="1", tags=["a"], kind="a"),
        chat("B", "go", ok=False, em="0.0", tags=["b"], kind="b"),
        chat("C", "go"),
    )
    assert outcomes(path, success=rule) == expected
