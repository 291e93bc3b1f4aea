from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pgv_jax.errors import PgvError
from pgv_jax.report.health.baselines import fit_baselines
from pgv_jax.report.health.calibrators import fit_calibration
from pgv_jax.report.health.evaluation import Reference, judge
from pgv_jax.report.health.trust import (
    DO_NOT_USE,
    LEVELS,
    RANKING,
    TRUST,
    Limits,
    enough,
    limits_of,
)
from pgv_jax.texts.templates import SUCCESS
from tests.report.demo import embed, make_logs, unit


class Planted:
    """Scores by a function of (observation, thought); the rest goes to failure."""

    def __init__(self, value):
        self.value = value

    def q_pairs(self, tasks, observations, thoughts, goals):
        rows = zip(observations, thoughts, goals, strict=True)
        return np.array([abs((g != SUCCESS) - self.value(o, t)) for o, t, g in rows])

    def v_pairs(self, tasks, observations, goals):
        return self.q_pairs(tasks, observations, [""] * len(tasks), goals)


def numbered(episodes):
    """Without candidates, and with an observation of its own at every step."""
    return [
        replace(
            e,
            steps=tuple(
                replace(s, observation=f"{s.observation}\nNote {e.episode_id} {t}.", candidates=())
                for t, s in enumerate(e.steps)
            ),
        )
        for e in episodes
    ]


def knowing(episodes, sure=0.99):
    won = {s.observation: e.success for e in episodes for s in e.steps}
    return Planted(lambda o, t: sure if won[o] else 1 - sure)


@pytest.fixture(scope="module")
def logs():
    return numbered(make_logs(60, 2))


@pytest.fixture(scope="module")
def baselines():
    return fit_baselines(numbered(make_logs(12, 4, first=100)), embed)[0]


def level(logs, scorer, baselines, **options):
    return judge(logs, scorer, baselines=baselines, **options)["verdict"]


def test_a_critic_that_knows_is_trusted(logs, baselines):
    found = level(logs, knowing(logs), baselines)
    assert found["level"] == TRUST
    assert found["said"].startswith("Trust: it ranks")
    assert found["said"].endswith("No test shows that it ranks thoughts and not only states.")
    assert all(check["passed"] is not False for check in found["checks"])


def test_few_tasks_do_not_show_that_likelihoods_are_right(logs, baselines):
    few = logs[:40]  # 20 tasks: one in ten more might be wrong
    found = level(few, knowing(logs), baselines)
    assert found["level"] == RANKING
    assert "the calibration error of its raw scores, 0.010 [" in found["said"]
    assert "does not end within 0.1" in found["said"]


def test_one_that_ranks_with_scores_that_are_no_likelihoods_is_for_ranking(logs, baselines):
    won = {s.observation: e.success for e in logs for s in e.steps}
    low = Planted(lambda o, t: 0.02 if won[o] else 0.01)
    found = level(logs, low, baselines)
    assert found["level"] == RANKING
    assert "Brier skill" in found["said"]
    calibration, _ = fit_calibration(low, logs, split="val")
    mended = level(logs, low, baselines, reference=Reference(calibration=calibration))
    assert mended["level"] == TRUST


@pytest.mark.slow
def test_useless_critics_are_not_used_in_19_of_20_seeds(logs, baselines):
    refused = sum(
        level(logs, Planted(lambda o, t, s=s: unit(s, o, t)), baselines)["level"] == DO_NOT_USE
        for s in range(20)
    )
    assert refused >= 19


def test_a_leak_forbids_what_would_be_trusted(logs, baselines):
    told = [
        replace(
            e,
            steps=tuple(
                replace(s, observation=f"{s.observation}\nYour score: {float(e.success)}.")
                for s in e.steps
            ),
        )
        for e in logs
    ]
    found = level(told, knowing(told), baselines)
    assert found["level"] == DO_NOT_USE
    assert "give the outcome away" in found["said"]


def test_what_cannot_be_tested_is_not_used(logs):
    found = level(logs[:3], knowing(logs), [])
    assert found["level"] == DO_NOT_USE
    assert "no test of ranking had enough data" in found["said"]


def test_limits_are_named_numbers(logs, baselines):
    assert limits_of([]) == Limits()
    assert limits_of(["auc=0.6", "ece=1e-3"]) == Limits(auc=0.6, ece=0.001)
    strict = level(logs, knowing(logs, 0.7), baselines, limits=limits_of(["ece=0.001"]))
    assert strict["level"] == RANKING
    assert strict["limits"]["ece"] == 0.001
    for wrong in ("auc", "auc=high", "speed=1", "auc=nan"):
        with pytest.raises(PgvError, match="is not NAME=NUMBER with a name of auc, top1, worse"):
            limits_of([wrong])


def test_levels_are_ordered():
    assert [enough(level, RANKING) for level in LEVELS] == [False, True, True]
