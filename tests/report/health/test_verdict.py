"""The verdict in words, of figures given by hand."""

from __future__ import annotations

import pytest

from pgv_jax.report.health.verdict import verdict

NONE = {"testable": False, "why": "no data"}


def report(gain, low, high):
    """A critic of AUC .7 whose task-only baselines are ``gain`` and .2 below it."""

    def scorer(mean, ci95):
        minus = {"difference": 0.7 - mean, "ci95": ci95}
        return {"mean": mean, "ci95": [0.6, 0.8], "critic_minus": minus}

    scorers = {
        "critic": scorer(0.7, [0.0, 0.0]),
        "task_only": scorer(0.5, [0.1, 0.3]),
        "tf_idf_task": scorer(0.7 - gain, [low, high]),
    }
    auc = {"testable": True, "scorers": scorers}
    return {"auc": auc, "top1": NONE, "calibration": NONE, "goals": NONE}


@pytest.mark.parametrize(("gain", "low", "high"), [(-0.04, -0.1, 0.02), (0.02, -0.01, 0.05)])
def test_a_critic_not_above_the_task_alone_has_shown_nothing_about_steps(gain, low, high):
    found = verdict(report(gain, low, high))
    assert found["adds"] == "no" and found["reasons"][0]["baseline"] == "tf_idf_task"
    assert "It is not shown to know more than which tasks are easy: " in found["text"]
    assert f"words of the task alone, which reads no step, has an auc of {0.7 - gain:.2f}" in (
        found["text"].lower()
    )


def test_one_that_is_above_it_is_not_told_so():
    assert "which tasks are easy" not in verdict(report(0.1, 0.04, 0.16))["text"]
