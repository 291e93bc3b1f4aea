from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.report.health.reliability import calibration, ece_values
from pgv_jax.report.health.trust import Limits
from pgv_jax.report.stats import cluster_interval


def run(scores, outcomes, clusters=None, constant=0.5, **options):
    clusters = list(range(len(scores))) if clusters is None else clusters
    return calibration(
        np.array(scores, float),
        np.array(outcomes, float),
        clusters,
        constant=constant,
        **options,
    )


def test_the_figures_by_hand():
    found = run([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1], constant=0.75)
    assert found["brier"]["value"] == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert found["skill"]["value"] == pytest.approx(1 - 0.21 / (3 / 16), abs=1e-6)
    assert found["ece"] == pytest.approx(0.5 * abs(0.1 - 0.5) + 0.5 * abs(0.9 - 1.0))
    assert [(b["low"], b["count"], b["score"], b["outcome"]) for b in found["bins"]] == [
        (0.1, 2, 0.1, 0.5),
        (0.9, 2, 0.9, 1.0),
    ]


def test_the_truth_has_no_error_and_the_constant_no_skill():
    outcomes = [0, 1, 1, 0, 1]
    truth = run(outcomes, outcomes, constant=0.6)
    assert truth["ece"] == 0
    assert truth["skill"] == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert run([0.6] * 5, outcomes, constant=0.6)["skill"]["value"] == 0


def test_fractional_outcomes_and_scores_outside_of_the_unit_interval():
    found = run([-0.2, 0.5, 1.4], [0.0, 0.5, 0.8])
    assert found["outside"] == pytest.approx(2 / 3, abs=1e-6)
    assert [b["count"] for b in found["bins"]] == [1, 1, 1]
    assert found["brier"]["value"] == pytest.approx((0.04 + 0 + 0.36) / 3, abs=1e-6)


def test_one_game_is_one_vote_in_the_interval():
    scores, outcomes = [0.5] * 40, [1] * 20 + [0] * 20
    wide = run(scores, outcomes, clusters=["a"] * 20 + ["b"] * 20)["bins"][0]
    narrow = run(scores, outcomes)["bins"][0]
    assert wide["ci95"][0] < 0.01 and wide["ci95"][1] > 0.99
    assert narrow["ci95"][0] > 0.25
    assert (wide["tasks"], narrow["tasks"]) == (2, 40)


def test_outcomes_that_never_vary_have_no_skill_to_speak_of():
    assert run([0.2, 0.3], [0, 0], constant=0.0)["skill"]["value"] is None


def test_the_calibration_error_has_the_interval_that_its_jackknife_gives():
    # Bins .1 and .9 with gaps -.8 and .2 of the tasks 0 to 3; without a task in turn.
    scores, outcomes = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0.0, 1, 1, 1])
    found = ece_values(scores, outcomes, np.arange(4))
    # The gaps are .1 and -.9 in the first bin, -.1 and -.1 in the second.
    assert found == pytest.approx(
        [(0.8 + 0.2) / 4, (0.9 + 0.2) / 3, (0.1 + 0.2) / 3, (0.8 + 0.1) / 3, (0.8 + 0.1) / 3]
    )
    told = run(scores, outcomes)
    assert told["ece_ci95"] == pytest.approx(cluster_interval(found, "share")[1:], abs=1e-6)


def test_few_tasks_do_not_show_that_perfect_likelihoods_are_near():
    """The estimate is above .1 in most draws of 12 tasks; 200 tasks show it within .1."""
    rng = np.random.default_rng(0)
    above, within = 0, []
    for tasks in (12, 200):
        codes = np.repeat(np.arange(tasks), 4).tolist()
        for _ in range(25):
            p = np.repeat(rng.beta(1.5, 1.5, tasks), 4)
            found = run(p, rng.random(len(p)) < p, codes)
            above += tasks == 12 and found["ece"] > Limits().ece
            within.append(found["ece_ci95"][1] <= Limits().ece)
    assert above > 12
    assert not any(within[:25]) and all(within[25:])
