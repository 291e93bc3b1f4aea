import asyncio
from dataclasses import replace

import numpy as np
import pytest

from pgv_jax.agents.agent import Agent, View
from pgv_jax.agents.explore import RandomMoves
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ScriptedClient
from pgv_jax.texts.templates import SUCCESS
from tests.agents.toy import ACTIONS, Corridor, says

VIEW = View("Reach the last room.", "You are in room 0.", "scored text", ACTIONS, seed=3)


def prefers(action, low=0.1, high=0.9):
    """A critic that likes thoughts about ``action``."""

    def scorer(task, observation, thoughts, goals):
        return np.array([[high if action in t else low for _ in goals] for t in thoughts])

    return scorer


def decide(agent, view=VIEW):
    return asyncio.run(agent.decide(view))


def test_a_majority_of_the_samples_is_taken_and_those_without_an_action_have_no_vote():
    def policy(request, index):
        return ["Hm.", "Action: go left", "Action: wait", "Hm.", "Hm.", "Action: wait"][index]

    agent = Agent(ScriptedClient(policy), "majority", candidates=6)
    decision = decide(agent)
    assert [c.action for c in decision.candidates] == ["go left", "wait", ""]
    assert decision.chosen.action == "wait"


def test_random_moves_are_uniform_marked_and_ask_nobody():
    agent = Agent(says("go left"), candidates=1)
    explored = RandomMoves(agent, 0.5)
    found = [decide(explored, replace(VIEW, seed=seed)) for seed in range(900)]
    drawn = [d.chosen.action for d in found if d.metadata.get("random")]
    asked = [d for d in found if not d.metadata.get("random")]
    assert len(drawn) + len(asked) == 900 and 400 < len(drawn) < 500
    assert all(120 < drawn.count(action) < 180 for action in ACTIONS)
    assert {d.chosen.action for d in asked} == {"go left"}
    assert not any(d.completions for d in found if d.metadata.get("random"))
    again = decide(explored, replace(VIEW, seed=7))
    assert (again.chosen, again.metadata) == (found[7].chosen, found[7].metadata)
    nothing = replace(VIEW, admissible=())
    assert not decide(RandomMoves(agent, 1.0), nothing).metadata


def test_the_critic_chooses_and_its_scores_are_recorded():
    agent = Agent(says(*ACTIONS), "critic", prefers("wait"), candidates=3)
    decision = decide(agent)
    assert decision.chosen.action == "wait"
    assert [c.scores for c in decision.candidates] == [{SUCCESS: s} for s in (0.1, 0.1, 0.9)]
    assert [c.correct for c in decision.candidates] == [None] * 3


@pytest.mark.parametrize("selector", ["critic", "first", "shuffled"])
def test_a_proposal_without_an_action_is_never_chosen_before_one_with_it(selector):
    def policy(request, index):
        return ["Hm, splendid.", "Thought: poor\nAction: wait", "So splendid."][index]

    agent = Agent(ScriptedClient(policy), selector, prefers("splendid"), candidates=3)
    decision = decide(agent)
    assert [c.action for c in decision.candidates] == ["wait", "", ""]
    assert [c.scores[SUCCESS] for c in decision.candidates] == [0.1, 0.9, 0.9]
    assert decision.chosen.action == "wait"
    assert decision.proposals == {"read": 3, "unusable": 2, "inadmissible": 0, "repeated": 0}
    nothing = Agent(ScriptedClient(lambda r, i: "Hm."), selector, prefers("x"), candidates=2)
    assert decide(nothing).chosen.action == ""


def test_the_critic_is_asked_about_the_scored_observation_and_all_goals():
    asked = []

    def scorer(task, observation, thoughts, goals):
        asked.append((task, observation, thoughts, goals))
        return np.zeros((len(thoughts), len(goals)))

    goals = ("You are in room 2.", SUCCESS)
    decision = decide(Agent(says("wait"), "critic", scorer, goals))
    assert asked == [(VIEW.task, "scored text", ["I would wait."], list(goals))]
    assert decision.chosen.scores == {goal: 0.0 for goal in goals}


def test_the_first_goal_decides_unless_there_are_weights():
    def scorer(task, observation, thoughts, goals):
        return np.array([[0.9, 0.8], [0.1, 0.0], [0.5, 0.1]])

    goals = (SUCCESS, "The task has failed.")
    assert decide(Agent(says(*ACTIONS), "critic", scorer, goals, candidates=3)).index == 0
    weighted = Agent(says(*ACTIONS), "critic", scorer, goals, (1.0, -1.0), candidates=3)
    assert decide(weighted).index == 2


def test_an_action_is_worth_half_when_it_comes_again_at_the_same_observation():
    agent = Agent(says("wait", "go right"), "critic", prefers("wait", 0.5, 0.9), candidates=2)
    elsewhere = View("t", "You are in room 1.", "s", ACTIONS)
    taken = [decide(agent).chosen.action for _ in range(3)]
    assert taken == ["wait", "go right", "wait"]  # .9 | .45 < .5 | .45 > .25
    assert decide(agent, elsewhere).chosen.action == "wait"


def test_the_oracle_is_asked_by_the_oracle_alone():
    env = Corridor()
    asked = []

    def preferences(actions):
        asked.append(actions)
        return env.preferences(actions)

    oracle = Agent(says(*ACTIONS), "oracle", candidates=3, oracle=preferences, correct=env.correct)
    decision = decide(oracle)
    assert decision.chosen.action == "go right"
    assert [c.correct for c in decision.candidates] == [False, True, False]
    decide(Agent(says(*ACTIONS), "first", candidates=3, oracle=preferences))
    assert asked == [ACTIONS]


def test_a_model_without_an_answer_still_decides():
    decision = decide(Agent(says(""), "critic", prefers("wait"), candidates=2))
    assert decision.chosen.action == ""


def test_what_is_missing_or_wrong_is_named():
    with pytest.raises(PgvError, match="'best' is unknown; use one of: first, critic"):
        Agent(says("wait"), "best")
    with pytest.raises(PgvError, match="'shuffled' needs a critic"):
        Agent(says("wait"), "shuffled")
    with pytest.raises(PgvError, match="0 candidates"):
        Agent(says("wait"), candidates=0)
    wrong = Agent(says("wait"), "critic", lambda *a: np.zeros((2, 1)))
    with pytest.raises(PgvError, match=r"shape \(2, 1\); \(1, 1\)"):
        decide(wrong)
