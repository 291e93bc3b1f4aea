"""Decisions again: which other thoughts a decision is held against, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.report.alternatives import ATTEMPT, DONE, OFFERED, SAME, compare
from pgv_jax.types import Candidate, Episode, Step

WORTH = {"bad": 0.1, "fair": 0.4, "good": 0.9}


class Worth:
    """A critic that knows what each thought is worth, and nothing of the state."""

    def q_pairs(self, tasks, observations, thoughts, goals):
        assert set(goals) == {"The task is done."}
        return np.asarray([WORTH[thought] for thought in thoughts])

    def v_pairs(self, tasks, observations, goals):
        return np.full(len(tasks), 0.5)


def episode(name: str, *steps: Step, task_id: str = "t", success: bool | None = None) -> Episode:
    return Episode(name, task_id, "Do it.", steps, final_observation="The end.", success=success)


def options(decision) -> list[tuple[str, str, bool | None]]:
    return [(o.thought, o.origin, o.success) for o in decision.options]


def test_what_another_attempt_thought_in_the_same_place_is_an_option():
    failed = episode("a", Step("door", "bad", "x"), Step("hall", "fair", "x"), success=False)
    won = episode("b", Step("door", "good", "y"), Step("yard", "fair", "y"), success=True)
    other = episode("c", Step("door", "good", "z"), task_id="another", success=True)
    found = compare([failed, won, other], Worth(), 0)
    assert (found.compared, found.differing) == (2, 1)  # the door, of both attempts
    assert (found.told, found.right, found.chance) == (2, 2, 1.0)
    (shown,) = found.shown
    assert (shown.episode.episode_id, shown.t) == ("a", 0)
    assert options(shown) == [("good", SAME, True), ("bad", DONE, False)]
    assert shown.done.thought == "bad" and shown.gap == pytest.approx(0.8)


def test_offered_thoughts_come_before_those_of_other_attempts():
    offered = (Candidate("fair", "x"), Candidate("good", "y"))
    one = episode("a", Step("door", "fair", "x", candidates=offered), success=False)
    two = episode("b", Step("door", "bad", "x"), success=True)
    found = compare([one, two], Worth(), 0)
    assert found.compared == 1 and found.told == 0
    assert options(found.shown[0]) == [("good", OFFERED, None), ("fair", DONE, False)]


def test_the_same_step_of_another_attempt_serves_where_nothing_nearer_is():
    one = episode("a", Step("door", "good", "x"), success=False)
    two = episode("b", Step("gate", "bad", "y"), success=True)
    found = compare([one, two], Worth(), 0)
    assert (found.compared, found.differing) == (2, 1)
    # Both times it takes "good", which failed: it is wrong in both.
    assert (found.told, found.right) == (2, 0)
    assert options(found.shown[0]) == [("good", ATTEMPT, False), ("bad", DONE, True)]


def test_without_any_other_thought_the_worst_steps_are_shown():
    first = episode("a", Step("door", "bad", "x"), Step("hall", "good", "x"), success=False)
    second = episode("b", Step("gate", "fair", "x"), task_id="u", success=True)
    found = compare([first, second], Worth(), 0)
    assert found.compared == 0
    assert [(d.episode.episode_id, d.done.q, d.v) for d in found.shown] == [
        ("a", 0.1, 0.5),
        ("b", 0.4, 0.5),
    ]
    assert compare([first, second], Worth(), 0, v_head=False).shown == ()


def test_the_widest_gaps_are_shown_one_an_episode_first():
    steps = [Step("door", "bad", "x"), Step("hall", "fair", "x")]
    best = [Step("door", "good", "x"), Step("hall", "good", "x")]
    log = [episode("a", *steps), episode("b", *best)]
    log += [episode("c", *steps, task_id="u"), episode("d", *best, task_id="u")]
    found = compare(log, Worth(), 0, shown=3)
    assert [(d.episode.episode_id, d.t) for d in found.shown] == [("a", 0), ("c", 0), ("a", 1)]
    assert found.told == 0  # no outcome is known


def test_a_decision_that_a_log_repeats_is_shown_once():
    bad, good = Step("door", "bad", "x"), Step("door", "good", "x")
    log = [episode("a", bad), episode("again", bad), episode("b", good)]
    found = compare(log, Worth(), 0)
    assert (found.compared, found.differing) == (3, 2)
    assert [d.episode.episode_id for d in found.shown] == ["a"]
