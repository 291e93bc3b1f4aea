"""Benchmarks of steps and plans: their labels, pairs and scores, read to values stated by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import detect
from tests.data.importers.reading import jsonl, read, rows

LABELLED = {
    "query_index": 3,
    "sample_index": 1,
    "question": "Who wrote it?",
    "messages": [
        {"role": "system", "content": "Be helpful."},
        {"role": "user", "content": "Answer the question. Question: Who wrote it?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "function": {"name": "search", "arguments": '{"q": "author"}'}}
            ],
        },
        {"role": "tool", "name": "search", "content": "Ann wrote it."},
        {"role": "assistant", "content": "<answer> Bob </answer>"},
    ],
    "step_labels": {"2": 1, "4": -1},
    "final_label": -1,
}


def test_a_human_label_is_the_reward_of_its_step(tmp_path: Path):
    path = jsonl(tmp_path / "hotpotqa.jsonl", LABELLED, {**LABELLED, "final_label": 1})
    assert detect(path).importer.name == "agentprocessbench"
    failed, won = read(path)
    assert (failed.episode_id, failed.task_id) == ("query-3/1", "query-3")
    assert failed.task == "Who wrote it?"
    assert [step.reward for step in failed.steps] == [1.0, -1.0]
    assert failed.steps[0].action == 'search({"q": "author"})'
    assert failed.steps[1].observation == "Ann wrote it."
    assert (failed.success, failed.is_terminal, won.success) == (False, True, True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"step_labels": {"3": 1}}, "step_labels.3"),
        ({"step_labels": {"9": 1}}, "step_labels.9"),
        ({"step_labels": {"2": 2}}, "step_labels.2"),
        ({"final_label": None}, "final_label"),
    ],
)
def test_a_label_that_is_none_is_named(tmp_path: Path, change, field):
    path = jsonl(tmp_path / "log.jsonl", {**LABELLED, **change})
    (bad,) = detect(path).importer.read(path, Options())
    assert isinstance(bad, BadRecord) and bad.field == field


PAIR = {
    "uuid": "u1",
    "query": "What is the cosine of 60 degrees?",
    "tools": [],
    "chosen": {
        "messages": [
            {"role": "user", "content": "What is the cosine of 60 degrees?"},
            {"role": "tool_call", "content": "{'name': 'rad', 'arguments': '{\"d\": 60}'}"},
            {"role": "tool_call", "content": "{'name': 'cos', 'arguments': {'x': 1.05}}"},
            {"role": "tool_response", "content": "1.05"},
            {"role": "tool_response", "content": "0.5"},
            {"role": "assistant", "content": "It is 0.5."},
        ]
    },
    "reject": {
        "messages": [
            {"role": "user", "content": "What is the cosine of 60 degrees?"},
            {"role": "tool_call", "content": "not a call"},
            {"role": "tool_response", "content": "error"},
            {"role": "assistant", "content": "It is 1."},
        ]
    },
}


def test_a_pair_is_a_success_and_a_failure_of_one_task(tmp_path: Path):
    path = jsonl(tmp_path / "planning.jsonl", PAIR)
    assert detect(path).importer.name == "plan-rewardbench"
    chosen, reject = read(path)
    assert (chosen.success, reject.success) == (True, False)
    assert chosen.task_id == reject.task_id == "u1"
    assert (chosen.episode_id, reject.episode_id) == ("planning:0/chosen", "planning:0/reject")
    assert [(seen, action) for seen, _, action in rows(chosen)] == [
        ("What is the cosine of 60 degrees?", 'rad({"d": 60})\ncos({"x": 1.05})'),
        ("1.05\n\n0.5", "It is 0.5."),
    ]
    assert [action for _, _, action in rows(reject)] == ["call(not a call)", "It is 1."]


def entry(action: str, seen: str, score: float, done: bool = False) -> dict[str, str]:
    return {
        "action": action,
        "observation": seen,
        "freelook": "A hall.",
        "inventory": "an orange",
        "score": str(score),
        "isCompleted": str(done).lower(),
    }


def science(*entries: dict[str, str], number: str = "0") -> dict[str, object]:
    history = {
        "history": list(entries),
        "taskDescription": "Boil water.",
        "taskName": "boil",
        "variationIdx": "7",
        "simplifications": "easy",
    }
    return {"episodeIdx": number, "history": history, "notes": {}}


def test_scores_of_science_are_what_each_action_brought(tmp_path: Path):
    won = science(entry("go to kitchen", "A kitchen.", 0.25), entry("wait", "Steam.", 1.0, True))
    failed = science(entry("focus on orange", "Wrong.", -1.0))
    stopped = science(entry("look", "A hall.", 0.25))
    path = tmp_path / "task0.json"
    path.write_text(json.dumps({"0": won, "1": failed, "2": stopped}))
    assert detect(path).importer.name == "scienceworld"
    first, second, third = read(path)
    assert (first.episode_id, first.task_id, first.task) == ("task0/0", "boil/7", "Boil water.")
    assert rows(first) == [
        ("A hall.", "go to kitchen", "go to kitchen"),
        ("A kitchen.", "wait", "wait"),
    ]
    assert [step.reward for step in first.steps] == [0.25, 0.75]
    assert first.steps[0].metadata["thought_from"] == "action"
    assert first.final_observation == "Steam."
    ends = [(e.success, e.score, e.is_terminal) for e in (first, second, third)]
    # A negative score ends the task; the third was cut off and may have gone on.
    assert ends == [(True, 1.0, True), (False, None, True), (False, 0.25, False)]


def test_a_score_that_is_no_number_is_named(tmp_path: Path):
    path = tmp_path / "task0.json"
    broken = entry("look", "A hall.", 0.0) | {"score": "much"}
    path.write_text(json.dumps({"0": science(broken)}))
    (bad,) = detect(path).importer.read(path, Options())
    assert isinstance(bad, BadRecord) and bad.field == "0.history.history[0].score"
