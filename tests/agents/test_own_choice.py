"""The model's own judgement of its proposals."""

from __future__ import annotations

import asyncio

import pytest

from pgv_jax.agents.agent import Agent, Decision, View
from pgv_jax.agents.own_choice import OwnChoice, read_choice
from pgv_jax.config import load_config
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request, ScriptedClient, schema_of
from pgv_jax.rollout.settings import RolloutConfig

VIEW = View("Get out.", "You are in room 0.", "scored", ("go", "take", "wait"), seed=3)


def decide(proposed: list[str], choice: str) -> tuple[Decision, list[Request]]:
    asked: list[Request] = []

    def policy(request: Request, index: int) -> str:
        if schema_of(request) is None:
            return f"Thought: so\nAction: {proposed[index]}"
        asked.append(request)
        return choice

    client = ScriptedClient(policy)
    agent = Agent(client, "critic", candidates=len(proposed), rater=OwnChoice(client))
    return asyncio.run(agent.decide(VIEW)), asked


def test_the_action_that_the_model_names_is_taken():
    decision, asked = decide(["go", "take", "wait"], '{"action": "take"}')
    assert decision.chosen.action == "take"
    assert decision.metadata["own_choice"] == {"action": "take", "malformed": 0}
    assert all(not c.scores for c in decision.candidates)  # no critic's, and not called one's
    (request,) = asked
    form = schema_of(request)
    assert form is not None and form[1]["properties"]["action"]["enum"] == ["go", "take", "wait"]
    assert request.messages[1]["content"] == (
        "Task: Get out.\n\nWhat you know now:\nYou are in room 0.\n\n"
        "The steps:\n- go\n- take\n- wait"
    )


def test_nothing_readable_leaves_the_first_and_is_counted():
    decision, asked = decide(["go", "take"], '{"action": "fly"}')
    assert decision.chosen.action == "go" and len(asked) == 2
    assert decision.metadata["own_choice"] == {"action": None, "malformed": 2}


def test_one_action_alone_is_not_asked_about():
    decision, asked = decide(["go", "go"], "")
    assert decision.chosen.action == "go" and not asked


@pytest.mark.parametrize("text", ["", "take", "[]", '{"action": ["take"]}', '{"action": "no"}'])
def test_what_names_no_action(text):
    assert read_choice(text, ["take"]) is None


def test_it_belongs_to_best_of_n_and_needs_no_critic():
    settings: RolloutConfig = load_config(None, ["strategy=best-of-n", "scores=own"], RolloutConfig)
    assert not settings.needs_critic and settings.arm == "best-of-n-own"
    with pytest.raises(PgvError, match="scores=own picks in best-of-n alone, not refine"):
        load_config(None, ["strategy=refine", "scores=own"], RolloutConfig)
