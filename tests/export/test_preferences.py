"""Preference pairs: the best against the worst of a step, in the format that DPOTrainer reads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pgv_jax.cli import main as cli
from pgv_jax.data.storage.jsonl import write_jsonl
from pgv_jax.export.preferences import preferences
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step


def candidate(name: str, score: float | None) -> Candidate:
    scores = {} if score is None else {SUCCESS: score}
    return Candidate(f"I {name}.", name, scores)


EPISODE = Episode(
    "e",
    "t",
    "Leave.",
    (
        Step("Hall.", "", "go", candidates=tuple(map(candidate, "abc", (0.2, 0.9, 0.5)))),
        Step("Yard.", "", "go", candidates=tuple(map(candidate, "ab", (0.50, 0.52)))),
        Step("Road.", "", "go", candidates=tuple(map(candidate, "ab", (0.4, None)))),
    ),
    "Out.",
)


def prompt(task, seen, past):
    return [{"role": "user", "content": f"{task} {seen} {past}"}]


def test_one_pair_a_step_above_the_margin():
    (pair,) = preferences([EPISODE], prompt)
    assert pair == {
        "prompt": [{"role": "user", "content": "Leave. Hall. []"}],
        "chosen": [{"role": "assistant", "content": "Thought: I b.\nAction: b"}],
        "rejected": [{"role": "assistant", "content": "Thought: I a.\nAction: a"}],
        "margin": 0.7,
    }
    both = list(preferences([EPISODE], prompt, margin=0.0, model_history=1))
    assert both[1]["prompt"][0]["content"] == "Leave. Yard. [('Hall.', 'go')]"
    assert len(both) == 2


def test_a_critic_scores_what_the_episodes_do_not():
    def score(task, seen, thoughts, goals):
        assert goals == [SUCCESS] and task == "Leave."
        return np.asarray([[float(len(thoughts) - i)] for i in range(len(thoughts))])

    pairs = list(preferences([EPISODE], prompt, score=score))
    assert [p["chosen"][0]["content"][-1] for p in pairs] == ["a", "a", "a"]
    assert [p["margin"] for p in pairs] == [2.0, 1.0, 1.0]


def test_the_command_writes_the_conversational_format(tmp_path, capsys):
    write_jsonl(tmp_path / "e.jsonl", [EPISODE])
    with pytest.raises(SystemExit) as done:
        cli.main(["export", "preferences", str(tmp_path / "e.jsonl"), str(tmp_path / "p.jsonl")])
    assert done.value.code == 0 and "Wrote 1 pairs" in capsys.readouterr().out
    (line,) = (tmp_path / "p.jsonl").read_text().splitlines()
    pair = json.loads(line)
    assert set(pair) == {"prompt", "chosen", "rejected", "margin"}
    assert [message["role"] for message in pair["prompt"]] == ["system", "user"]
    for side in ("chosen", "rejected"):
        assert [message["role"] for message in pair[side]] == ["assistant"]


def test_nothing_to_compare_leaves_no_file(tmp_path, capsys):
    write_jsonl(tmp_path / "e.jsonl", [EPISODE])
    words = ["export", "preferences", str(tmp_path / "e.jsonl"), str(tmp_path / "p.jsonl")]
    with pytest.raises(SystemExit) as done:
        cli.main([*words, "--margin", "0.9"])
    assert done.value.code == 2 and "smaller --margin" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["e.jsonl"]
