"""The tasks of docs/tasks.md, run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgv_jax.cli.commands.rollout import rollout
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.llm.client import Request, schema_of
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.types import Episode

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def blocks(section: str) -> dict[str, str]:
    """The section's code by language."""
    text = PAGE.read_text("utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    number = blocks("A task of your own")
    Path("number.py").write_text(number["python"])
    Path("number.yaml").write_text(number["yaml"])
    Path("desk.py").write_text(blocks("A task with tools")["python"])
    desk = 'task: {name: "desk.py:Desk", max_steps: 5}'
    Path("desk.yaml").write_text(re.sub("task: .*", desk, number["yaml"]))
    return tmp_path


def play(server: ScriptedServer, *arguments: str) -> tuple[int, str]:
    address = (f"api.base_url={server.url}/v1", "api.key_env=none")
    done = CliRunner().invoke(rollout, [*arguments, *address])
    return done.exit_code, f"{done.output}{done.exception or ''}"


def played(folder: Path) -> dict[str, Episode]:
    return {e.task_id: e for e in read_jsonl(folder / "runs" / "rollout" / "episodes.jsonl")}


def halves(request: Request, index: int) -> str:
    """A model that keeps to the schema and guesses in the middle of what is offered."""
    asked = schema_of(request)
    assert asked is not None
    offered = asked[1]["properties"]["action"]["enum"]
    return json.dumps({"thought": "I halve.", "action": offered[(len(offered) - 1) // 2]})


@pytest.mark.part("tasks")
def test_the_example_plays_as_it_stands_with_structured_answers(here):
    with ScriptedServer(halves, model="MODEL") as server:
        status, said = play(server, "number.yaml")
    assert status == 0, said
    # Numbers below 8 that are even are test tasks; halving finds 4 at once, 2 and 6 at the second.
    episodes = played(here)
    guesses = {task_id: [step.action for step in e.steps] for task_id, e in episodes.items()}
    assert guesses == {
        "number 2": ["guess 4", "guess 2"],
        "number 4": ["guess 4"],
        "number 6": ["guess 4", "guess 6"],
    }
    assert all(e.success for e in episodes.values())
    second = episodes["number 2"].steps[1]
    assert second.observation == "The number is at least 1. The number is at most 3."


def clerk(request: Request, index: int) -> str:
    """Looks A7 up, then pays back what was asked for; its second sample always only speaks."""
    if index:
        return "Which order do you mean?"
    task, *later = [m["content"] for m in request.messages[1:]]
    if not later:
        call, why = {"name": "look_up", "arguments": {"order": "A7"}}, "I look at the first."
    else:
        order = "A7" if later[-1].split(" is ")[1].rstrip(".") in task else "B2"
        call, why = {"name": "refund", "arguments": {"order": order}}, f"It is {order}."
    return json.dumps({"tool_calls": [call], "content": why})


@pytest.mark.part("tasks")
def test_the_example_with_tools_plays_as_it_stands(here):
    with ScriptedServer(clerk, model="MODEL") as server:
        status, said = play(server, "desk.yaml", "strategy=proposals", "candidates=2")
    assert status == 0, said
    episodes = played(here)
    actions = {task_id: [step.action for step in e.steps] for task_id, e in episodes.items()}
    assert actions == {
        "A7": ['look_up({"order": "A7"})', 'refund({"order": "A7"})'],
        "B2": ['look_up({"order": "A7"})', 'refund({"order": "B2"})'],
    }
    assert [e.success for e in episodes.values()] == [True, True]
    first = episodes["B2"].steps[0]
    assert [(c.thought, c.action) for c in first.candidates] == [
        ("I look at the first.", 'look_up({"order": "A7"})'),
        ("Which order do you mean?", "Which order do you mean?"),
    ]
    # What the model is asked with at the second step: its own call, and what it brought.
    system, task, *rest = server.calls[-1].request.messages
    assert system["role"] == "system" and "calling tools" in system["content"]
    assert task["content"].endswith("What you know now:\nThe orders are A7, B2.")
    called = {"name": "look_up", "arguments": '{"order": "A7"}'}
    assert rest == [
        {
            "role": "assistant",
            "content": "I look at the first.",
            "tool_calls": [{"id": "call_0", "type": "function", "function": called}],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "A7 is the lamp."},
    ]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("strategy=refine", "choose react, proposals or best-of-n"),
        ("answers=choice", "leave answers=choice out"),
    ],
)
@pytest.mark.part("tasks")
def test_what_does_not_go_with_tools_is_said_before_any_call(here, option, sentence):
    with ScriptedServer(clerk, model="MODEL") as server:
        status, said = play(server, "desk.yaml", option)
    assert status != 0 and sentence in said and not server.calls
