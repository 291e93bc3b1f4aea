from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.report.health import controls
from pgv_jax.report.health.sections import Thresholds
from pgv_jax.report.health.state_goals import (
    Popularity,
    goal_rows,
    judge_goals,
    q_goals,
    similarity,
)
from pgv_jax.types import Episode, Step
from tests.report.demo import embed

NEEDS = Thresholds(tasks=5, pairs=20)


def walk(i, length=6):
    """Room k is seen at step k, and a lamp that only this episode has at the last."""
    steps = tuple(Step(f"You are in room {k}.", f"I go to {k + 1}.", "go") for k in range(length))
    end = f"You are in room {length}.\nLamp {i} is on."
    return Episode(f"e{i}", f"t{i}", "Walk.", steps, end, True)


class Distance:
    """Knows how far a room is: gamma^steps ahead, 0 behind."""

    def __init__(self, gamma=0.9):
        self.gamma = gamma

    def q_pairs(self, tasks, observations, thoughts, goals):
        return np.array([self._one(o, g) for o, g in zip(observations, goals, strict=True)])

    def _one(self, observation, goal):
        if not goal.startswith("You are in room "):
            return 0.0
        ahead = int(goal[16:-1]) - int(observation[16:-1])
        return self.gamma**ahead if ahead > 0 else 0.0


@pytest.fixture(scope="module")
def asked():
    return goal_rows([walk(i) for i in range(30)], seed=3)


def test_goals_do_not_hold_now_and_steps_count_until_they_do(asked):
    assert len(asked) > 200
    for seen, goal, left in zip(asked.rows.observations, asked.goals, asked.steps_B, strict=True):
        assert goal != seen
        if goal.startswith("You are"):
            ahead = int(goal[16:-1]) - int(seen[16:-1])
            assert left == (ahead if ahead > 0 else np.inf)
    assert set(asked.discounted(0.9)[~asked.reached_B]) == {0.0}
    again = goal_rows([walk(i) for i in range(30)], seed=3)
    assert again.goals == asked.goals


def test_a_critic_that_knows_the_way_is_exact_and_its_controls_are_not(asked):
    scorer = Distance()
    q = q_goals(scorer, asked)
    rooms = np.array([g.startswith("You") for g in asked.goals])
    assert q[rooms] == pytest.approx(asked.discounted(0.9)[rooms])
    scores = {"critic": q, **controls.goal_controls(scorer, asked, 0)}
    scores["popularity"] = Popularity([walk(i) for i in range(10)]).score(asked)
    scores["similarity"] = similarity(embed, asked)
    found = judge_goals(asked, scores, NEEDS)["scorers"]
    assert found["critic"]["auc"] > 0.85
    assert found["shuffled_goals"]["auc"] == pytest.approx(0.5, abs=0.1)
    assert found["shuffled_states"]["critic_minus"]["ci95"][0] > 0
    assert found["popularity"]["critic_minus"]["difference"] > 0.1


def test_popularity_is_the_share_of_episodes(asked):
    share = Popularity([walk(0, 2), walk(1, 4)]).score(asked)
    at = {goal: float(x) for goal, x in zip(asked.goals, share, strict=True)}
    assert (at["You are in room 2."], at["You are in room 4."]) == (1.0, 0.5)


def test_too_few_goals_are_not_testable():
    few = goal_rows([walk(i) for i in range(6)])
    why = judge_goals(few, {"critic": np.zeros(len(few))}, Thresholds(pairs=10**6))
    assert "drawn goals come true" in why["why"]
    assert len(goal_rows([])) == 0


def test_sensitivity_is_one_for_the_text_that_decides_and_none_for_the_others(asked):
    class Goal:
        def q_pairs(self, tasks, observations, thoughts, goals):
            return np.array([len(g) % 7 / 7 for g in goals])

    scorer = Goal()
    found = controls.sensitivity(scorer, asked.rows, q_goals(scorer, asked), asked.goals, 0)
    assert found["fields"]["goal"]["share"] == pytest.approx(1.0, abs=0.15)
    assert found["fields"]["thought"]["share"] == 0.0
    assert "task" not in found["fields"]  # there is one task only
    level = controls.sensitivity(scorer, asked.rows, np.zeros(len(asked)), asked.goals, 0)
    assert not level["testable"]


def test_disagreement_warns_of_errors_where_it_does():
    rows = goal_rows([walk(i) for i in range(30)]).rows
    error = np.linspace(0, 1, len(rows))

    class Members:
        def __init__(self, spread):
            self.spread = spread

        def q_members(self, tasks, observations, thoughts, goals):
            return np.stack([0.5 - self.spread, 0.5 + self.spread])

    warned = controls.disagreement(Members(error / 4), rows, error)
    assert warned["rho"] == pytest.approx(1.0)
    blind = controls.disagreement(Members(np.full(len(rows), 0.1)), rows, error)
    assert blind["rho"] == 0.0
    assert not controls.disagreement(OneMember(), rows, error)["testable"]


class OneMember:
    def q_members(self, tasks, observations, thoughts, goals):
        return np.zeros((1, len(tasks)))


def test_texts_that_were_never_seen_are_far():
    train = goal_rows([walk(i) for i in range(10)]).rows
    error = np.zeros(len(train))
    near = controls.distance(embed, train, train, error, 0, 0)["fields"]["observation"]
    assert (near["median"], near["far"]) == (pytest.approx(0, abs=1e-6), 0.0)
    other = goal_rows([walk(i, 9) for i in range(10)]).rows
    strange = other.take(np.array([o[-2] in "678" for o in other.observations]))
    far = controls.distance(embed, train, strange, np.zeros(len(strange)), 0, 0)
    assert far["fields"]["observation"]["far"] > 0.5


def test_thoughts_are_exchanged_within_a_step():
    order = controls.exchange(100, 0, np.arange(100) % 5)
    assert sorted(order) == list(range(100))
    assert np.all(order % 5 == np.arange(100) % 5)
    assert np.any(order != np.arange(100))
