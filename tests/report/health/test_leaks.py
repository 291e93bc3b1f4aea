from __future__ import annotations

from dataclasses import replace

from pgv_jax.report.health.leaks import scan
from tests.report.demo import make_logs


def told(episodes, where, text):
    """The episodes with ``text(success)`` added to the observation of step ``where``."""
    out = []
    for e in episodes:
        steps = list(e.steps)
        step = steps[where]
        steps[where] = replace(step, observation=f"{step.observation}\n{text(e.success)}")
        out.append(replace(e, steps=tuple(steps)))
    return out


def test_plain_logs_are_not_flagged():
    found = scan(make_logs(20, 6))
    assert not found["flagged"]
    assert (found["episodes"], found["steps_naming"]) == (120, 0)


def test_a_result_that_an_observation_names_is_flagged():
    logs = told(make_logs(20, 6), -1, lambda won: f"Your score: {float(won)}.")
    found = scan(logs)
    assert found["flagged"]
    assert {leak["outcome"] for leak in found["leaks"]} == {"success", "failure"}
    assert found["steps_naming"] == 120
    assert {leak["share"] for leak in found["leaks"]} == {1.0}


def test_words_that_could_name_a_result_but_do_not_go_with_it_are_counted_only():
    found = scan(told(make_logs(20, 6), 2, lambda won: "Reward: 0.1."))
    assert (found["flagged"], found["steps_naming"]) == (False, 120)


def test_any_sentence_of_the_first_observation_that_splits_the_outcomes_is_flagged():
    logs = told(make_logs(20, 6), 0, lambda won: "The sky is blue." if won else "It rains.")
    found = scan(logs)
    assert [leak["where"] for leak in found["leaks"]] == ["first observation"] * 2


def test_a_later_sentence_that_goes_with_success_is_a_suspect_and_may_be_progress():
    logs = told(make_logs(20, 6), 5, lambda won: "You have the meal." if won else "")
    found = scan(logs)
    assert not found["flagged"]
    assert found["suspects"][0]["text"] == "You have the meal."


def test_nothing_is_scanned_without_outcomes():
    assert not scan([replace(e, success=None) for e in make_logs(2, 2)])["flagged"]
    assert not scan([])["flagged"]
