"""The model foresees a note, V values it: by hand."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.agents.agent import Agent, Decision, View
from pgv_jax.agents.foresight import Foreseen, Foresight, read_note
from pgv_jax.config import load_config
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError, Completion, Request, ScriptedClient, schema_of
from pgv_jax.llm.scripted.server import ScriptedServer
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.tasks.base import TASKS
from pgv_jax.texts.templates import FAILURE, SUCCESS

GOAL = "You have the key."
VIEW = View("Get out.", "You are in room 0.", "scored: room 0", ("go", "take", "wait"), seed=3)
V = {"Room 1.": 0.6, "You have the key. Room 0.": 0.8, "scored: room 0": 0.2}
GAMMA = 0.5


def values(tasks, observations, goals):
    assert set(tasks) == {"Get out."}
    return np.asarray([V[seen] for seen in observations])


def answer(note: str, end: str = "none") -> str:
    return json.dumps({"note": note, "end": end})


def decide(notes: dict[str, str], goals=(SUCCESS,), view=VIEW, selector="critic") -> Decision:
    """``notes``: what the model says of each action; proposals are these actions."""

    def policy(request: Request, index: int) -> str:
        if schema_of(request) is None:
            return f"Thought: so\nAction: {list(notes)[index]}"
        said = request.messages[1]["content"]
        assert said.startswith("Task: Get out.") and "You are in room 0." in said
        return notes[said.rsplit("\n", 1)[1].removeprefix("Action: ")]

    client = ScriptedClient(policy)
    foresight = Foresight(client, values, lambda goal: GAMMA)
    agent = Agent(client, selector, goals=goals, candidates=len(notes), rater=foresight)
    return asyncio.run(agent.decide(view))


def scores(decision: Decision, goal: str = SUCCESS) -> list[float]:
    return [round(c.scores[goal], 6) for c in decision.candidates]


def test_what_the_model_foresees_is_worth_what_v_says_a_step_later():
    notes = {"go": answer("Room 1."), "take": answer("You have the key. Room 0.")}
    decision = decide(notes)
    assert scores(decision) == [0.3, 0.4]
    assert decision.chosen.action == "take"
    assert decision.metadata["foresight"] == {
        "notes": [
            {"note": "Room 1.", "end": "none"},
            {"note": "You have the key. Room 0.", "end": "none"},
        ],
        "malformed": 0,
    }
    assert len(decision.completions) == 2 + 2


def test_an_end_decides_the_outcomes_and_a_sentence_of_the_note_its_goal():
    notes = {
        "go": answer("Room 1.", "success"),
        "take": answer("You have the key. Room 0.", "failure"),
        "wait": answer("Room 1."),
    }
    decision = decide(notes, (SUCCESS, FAILURE, GOAL))
    assert scores(decision, SUCCESS) == [1, 0, 0.3]
    assert scores(decision, FAILURE) == [0, 1, 0.3]
    assert scores(decision, GOAL) == [0, 1, 0.3]


def test_a_malformed_note_is_asked_for_again_and_then_nothing_is_known_of_it():
    decision = decide({"go": "I go.", "take": answer("You have the key. Room 0.")})
    assert scores(decision) == [0.1, 0.4]
    assert decision.metadata["foresight"]["notes"][0] is None
    assert decision.metadata["foresight"]["malformed"] == 2
    assert len(decision.completions) == 2 + 3


def test_the_critics_field_after_the_step_is_what_v_reads():
    seen = []

    def after(candidate, note):
        seen.append((candidate.action, note))
        return "Room 1."

    view = replace(VIEW, after=after)
    assert scores(decide({"go": answer("Elsewhere.")}, view=view)) == [0.3]
    assert seen == [("go", "Elsewhere.")]


def test_one_refusal_costs_that_note_and_a_missing_key_the_run():
    def foresee(kind: str) -> list[float]:
        class Refuses:
            model = "m"

            async def complete(self, request: Request) -> list[Completion]:
                if schema_of(request) is None:
                    return [Completion("Thought: so\nAction: go")]
                raise ClientError(kind, "No.")

        client = Refuses()
        foresight = Foresight(client, values, lambda goal: GAMMA)
        agent = Agent(client, "critic", rater=foresight)
        return scores(asyncio.run(agent.decide(VIEW)))

    assert foresee("refusal") == [0.1]
    with pytest.raises(ClientError):
        foresee("key")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (answer(" Room 1. "), Foreseen("Room 1.", "none")),
        ('```json\n{"note": "a", "end": "success"}\n```', Foreseen("a", "success")),
        ('{"note": "a"}', None),
        ('{"note": "a", "end": "soon"}', None),
        ('{"note": "", "end": "none"}', None),
        ('{"note": ["a"], "end": "none"}', None),
        ("[1]", None),
        ("{", None),
        ("", None),
    ],
)
def test_what_counts_as_a_note(text, note):
    assert read_note(text) == note


def model(request: Request, index: int) -> str:
    """Goes right or waits; foresees the next room for the one and nothing for the other."""
    form = schema_of(request)
    if form is None or form[0] != "next_note":
        return json.dumps({"thought": "So.", "action": ["wait", "go right"][index % 2]})
    right = "Action: go right" in request.messages[1]["content"]
    return answer("You are in room 1.", "success" if right else "none")


@pytest.mark.parametrize("scores", ["foreseen", "foreseen-shuffled"])
def test_a_rollout_by_what_the_model_foresees(tmp_path: Path, toy_critic, monkeypatch, scores):
    monkeypatch.setitem(TASKS, "corridor", "tests.agents.toy:Corridor")
    with ScriptedServer(model, model="m") as server:
        words = [
            *("task.name=corridor", "task.args={last: 1, max_steps: 3}", "client=openai:m"),
            *(f"api.base_url={server.url}/v1", "api.key_env=none", f"artifact={toy_critic}"),
            *("strategy=best-of-n", f"scores={scores}", "candidates=2", "rounds=0"),
        ]
        episodes = Rollout(load_config(None, words, RolloutConfig), tmp_path).run()
    first = episodes[0].steps[0]
    assert [c.action for c in first.candidates] == ["wait", "go right"]
    assert first.candidates[1].scores[SUCCESS] == 1 > first.candidates[0].scores[SUCCESS]
    assert first.metadata["foresight"]["malformed"] == 0
    if scores == "foreseen":
        assert {step.action for e in episodes for step in e.steps} == {"go right"}
    record = json.loads((tmp_path / "run.json").read_text())
    assert "next_note" in record["prompts"]


def test_it_belongs_to_best_of_n(tmp_path: Path):
    with pytest.raises(PgvError, match="scores=foreseen picks in best-of-n alone, not refine"):
        load_config(None, ["strategy=refine", "scores=foreseen"], RolloutConfig)
