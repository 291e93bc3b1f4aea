"""The task of docs/tasks.md, run as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from pgv_jax.cli.rollout import rollout
from pgv_jax.data.jsonl import read_jsonl
from pgv_jax.llm.client import Request, schema_of
from pgv_jax.llm.scripted.server import ScriptedServer

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def blocks() -> dict[str, str]:
    """The section's code by language."""
    section = PAGE.read_text("utf-8").split("\n## A task of your own\n")[1].split("\n## ")[0]
    return dict(re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL))


def halves(request: Request, index: int) -> str:
    """A model that keeps to the schema and guesses in the middle of what is offered."""
    asked = schema_of(request)
    assert asked is not None
    offered = asked[1]["properties"]["action"]["enum"]
    return json.dumps({"thought": "I halve.", "action": offered[(len(offered) - 1) // 2]})


def test_the_example_plays_as_it_stands_with_structured_answers(tmp_path, monkeypatch):
    found = blocks()
    (tmp_path / "number.py").write_text(found["python"])
    (tmp_path / "number.yaml").write_text(found["yaml"])
    monkeypatch.chdir(tmp_path)
    with ScriptedServer(halves, model="MODEL") as server:
        address = (f"api.base_url={server.url}/v1", "api.key_env=none")
        done = CliRunner().invoke(rollout, ["number.yaml", *address], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    # Numbers below 8 that are even are test tasks; halving finds 4 at once, 2 and 6 at the second.
    log = read_jsonl(tmp_path / "runs" / "rollout" / "episodes.jsonl")
    played = {e.task_id: e for e in log}
    guesses = {task_id: [step.action for step in e.steps] for task_id, e in played.items()}
    assert guesses == {
        "number 2": ["guess 4", "guess 2"],
        "number 4": ["guess 4"],
        "number 6": ["guess 4", "guess 6"],
    }
    assert all(e.success for e in played.values())
    second = played["number 2"].steps[1]
    assert second.observation == "The number is at least 1. The number is at most 3."
