"""Scripted models and the studies that are made of them."""

from collections import Counter

import numpy as np
import pytest

from pgv_jax.agents.propose import parse_answer
from pgv_jax.agents.scripted.policies import behaviour_policy, proposer_policy
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request
from pgv_jax.rollout.runner import run_episodes
from pgv_jax.rollout.studies import (
    SKILLS,
    Arm,
    arm_agents,
    behaviour_agents,
    collect_specs,
    compare_specs,
    goal_specs,
)
from pgv_jax.tasks.textworld.goals import Goal
from pgv_jax.texts.templates import SUCCESS
from tests.agents.toy import ACTIONS, Corridor


def answers(policy, seed, count):
    request = Request([], n=count, seed=seed)
    return [parse_answer(policy(request, i)).action for i in range(count)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_the_expert_is_proposed_as_often_as_asked_and_anywhere(share):
    policy = proposer_policy(Corridor(), share, count=2)
    drawn = [answers(policy, seed, 2) for seed in range(400)]
    assert all(len(set(actions)) == 2 for actions in drawn)
    planted = [actions for actions in drawn if "go right" in actions]
    assert abs(len(planted) / 400 - share) < 0.08
    if planted:
        firsts = sum(actions[0] == "go right" for actions in planted)
        assert abs(firsts / len(planted) - 0.5) < 0.12


def test_by_chance_each_action_is_proposed_alike():
    policy = proposer_policy(Corridor(), None, count=1)
    drawn = Counter(answers(policy, seed, 1)[0] for seed in range(600))
    assert set(drawn) == set(ACTIONS) and all(150 < n < 250 for n in drawn.values())


def test_the_only_action_is_proposed_even_if_it_is_the_experts():
    env = Corridor()
    env.admissible_actions = lambda: ["go right", "wait"]
    policy = proposer_policy(env, 0.0, count=2)
    assert all("go right" in answers(policy, seed, 2) for seed in range(20))


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0])
def test_a_player_follows_the_expert_as_often_as_its_skill_says(skill):
    policy = behaviour_policy(Corridor(), skill, count=3)
    drawn = [answers(policy, seed, 3) for seed in range(600)]
    expected = skill + (1 - skill) / 3  # a random move is the expert's one time in three
    assert abs(sum(actions[0] == "go right" for actions in drawn) / 600 - expected) < 0.06
    assert all(sorted(set(actions)) == sorted(dict.fromkeys(actions)) for actions in drawn)


def test_equal_requests_are_answered_equally():
    policy = behaviour_policy(Corridor(), 0.5, count=3)
    assert [answers(policy, seed, 3) for seed in range(20)] == [
        answers(behaviour_policy(Corridor(), 0.5, count=3), seed, 3) for seed in range(20)
    ]


def test_collection_gives_every_task_every_skill(tmp_path):
    specs = collect_specs(("north wing", "south wing"), "train", 20)
    pairs = Counter((spec.task_id, spec.metadata["skill"]) for spec in specs)
    assert set(pairs.values()) == {2} and len(pairs) == 2 * len(SKILLS)
    episodes = run_episodes(specs, Corridor, behaviour_agents(3), tmp_path / "e.jsonl")
    assert {episode.split for episode in episodes} == {"train"}
    for episode in episodes:
        for step in episode.steps:
            assert step.candidates[0].action == step.action
            assert all(c.correct == (c.action == "go right") for c in step.candidates)


def test_arms_meet_the_same_tasks_and_first_proposals(tmp_path):
    arms = [Arm("model", "first"), Arm("bound", "oracle"), Arm("critic", scorer=likes_right)]
    specs = compare_specs(("north wing", "south wing"), arms, repeats=2)
    episodes = run_episodes(specs, Corridor, arm_agents(arms, 0.9, 2), tmp_path / "e.jsonl")
    first_proposals = {}
    for episode in episodes:
        key = (episode.task_id, episode.metadata["seed"])
        actions = tuple(c.action for c in episode.steps[0].candidates)
        assert first_proposals.setdefault(key, actions) == actions
    won = Counter(e.metadata["arm"] for e in episodes if e.success)
    assert won["bound"] == won["critic"] == 4
    scored = next(e for e in episodes if e.metadata["arm"] == "critic")
    assert set(scored.steps[0].candidates[0].scores) == {SUCCESS}


def likes_right(task, observation, thoughts, goals):
    return np.array([[0.9 if "right" in thought else 0.1 for _ in goals] for thought in thoughts])


def test_a_goal_is_what_the_critic_is_asked_for_unless_the_arm_asks_otherwise(tmp_path):
    goal = Goal("north wing", "You are in room 2.", "be in", 2)
    arms = [
        Arm("goal", scorer=likes_right),
        Arm("success only", scorer=likes_right, goals=(SUCCESS,)),
    ]
    specs = goal_specs([goal], arms)
    episodes = run_episodes(specs, Corridor, arm_agents(arms, None, 3), tmp_path / "e.jsonl")
    asked = [set(e.steps[0].candidates[0].scores) for e in episodes]
    assert asked == [{"You are in room 2."}, {SUCCESS}]
    assert all(e.success and e.metadata["goal_kind"] == "be in" for e in episodes)


def test_arms_of_one_name_are_refused():
    with pytest.raises(PgvError, match="same name"):
        arm_agents([Arm("a"), Arm("a")], None)
