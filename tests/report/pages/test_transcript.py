from __future__ import annotations

import pytest

from pgv_jax.report.pages.transcript import pick_story, score_for, tell
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step


def episode(*steps, success=True, game="g", **metadata):
    return Episode(
        f"{game}{metadata}", game, "Cook.", steps, "The end.", success, metadata=metadata
    )


def step(*candidates, thought="t1", action="a1"):
    return Step("seen", thought, action, candidates=candidates)


def test_the_chosen_and_the_right_candidate_are_marked():
    told = tell(
        episode(
            step(
                Candidate("t0", "a0", {SUCCESS: 0.4}, True),
                Candidate("t1", "a1", {SUCCESS: 0.8}, False),
                Candidate("t2", "a1", {SUCCESS: 0.1}),
            )
        )
    )
    options = told.scenes[0].options
    assert [o.chosen for o in options] == [False, True, False]
    assert [o.correct for o in options] == [True, False, None]
    assert [o.share for o in options] == [0.4, 0.8, 0.1]
    assert told.scale == 1.0


def test_small_values_fill_the_bar_of_the_largest():
    told = tell(
        episode(
            step(Candidate("t1", "a1", {SUCCESS: 0.05})), step(Candidate("x", "", {SUCCESS: 0.02}))
        )
    )
    assert told.scale == 0.05
    assert told.scenes[0].options[0].share == 1.0
    assert told.scenes[1].options[0].share == pytest.approx(0.4)


def test_a_linear_head_below_zero_has_an_empty_bar_and_keeps_its_number():
    option = tell(episode(step(Candidate("t1", "a1", {SUCCESS: -0.3})))).scenes[0].options[0]
    assert (option.value, option.share) == (-0.3, 0.0)


def test_the_score_shown_is_that_of_the_goal_asked():
    candidate = Candidate("t", scores={SUCCESS: 0.1, "The fridge is open.": 0.7})
    assert score_for(candidate, "The fridge is open.") == 0.7
    assert score_for(candidate, "Unknown goal.") == 0.1
    assert score_for(Candidate("t", scores={"only": 0.3}), SUCCESS) == 0.3
    assert score_for(Candidate("t"), SUCCESS) is None
    told = tell(episode(step(candidate, thought="t", action=""), goal="The fridge is open."))
    assert told.scenes[0].options[0].value == 0.7


def test_steps_without_candidates_are_told_too():
    told = tell(episode(step()))
    assert told.scenes[0].options == ()
    assert told.scenes[0].thought == "t1"


def test_the_story_is_one_that_the_critic_won_and_the_first_proposal_lost():
    def arm(results, length):
        return [
            episode(*[step()] * length(i), success=won, game=f"g{i}", seed=0)
            for i, won in enumerate(results)
        ]

    critic = arm([True, True, False, True], lambda i: i + 2)
    first = arm([True, False, False, False], lambda i: 9)
    picked = pick_story({"critic": critic, "first": first})
    assert picked is not None
    assert picked.task_id == "g3"
    assert pick_story({"critic": critic}) in critic
    lost = arm([False], lambda i: 1)
    assert pick_story({"critic": lost, "first": lost}) == lost[0]
    assert pick_story({"first": first}) is None
