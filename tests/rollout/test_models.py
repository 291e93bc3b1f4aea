"""Scripted models by their spec."""

from __future__ import annotations

import asyncio

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request
from pgv_jax.rollout.models import ScriptedModel


class Choice:
    """Ten actions, of which one is right."""

    def admissible_actions(self):
        return [f"take {i}" for i in range(10)]

    def expert_action(self):
        return "take 7"

    def thought_for(self, action):
        return f"I {action}."


def shares(spec, draws=400, count=5):
    """How often each action is among the ``count`` samples of a request."""
    client = ScriptedModel(spec, count).client(Choice(), None)
    seen = dict.fromkeys(Choice().admissible_actions(), 0)
    for seed in range(draws):
        samples = asyncio.run(client.complete(Request([], n=count, seed=seed)))
        for sample in samples:
            seen[sample.text.rsplit("Action: ", 1)[1]] += 1
    return {action: number / draws for action, number in seen.items()}


def test_a_proposer_plants_a_right_action_as_often_as_it_is_told_and_none_draws_evenly():
    assert shares("scripted:proposer:0")["take 7"] == 0
    assert shares("scripted:proposer:1")["take 7"] == 1
    evenly = shares("scripted:proposer:none")
    assert all(0.4 < share < 0.6 for share in evenly.values())  # 5 of 10; four standard errors


@pytest.mark.parametrize("spec", ["scripted:player:none", "scripted:proposer:some"])
def test_other_words_than_none_of_a_proposer_are_no_number(spec):
    with pytest.raises(PgvError, match="where a number belongs"):
        ScriptedModel(spec, 5)
