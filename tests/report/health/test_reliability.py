from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.report.health.reliability import calibration
from pgv_jax.report.stats import cluster_weights


def run(scores, outcomes, clusters=None, constant=0.5, **options):
    clusters = list(range(len(scores))) if clusters is None else clusters
    weights = cluster_weights(len(set(clusters)), 200)
    return calibration(
        np.array(scores, float),
        np.array(outcomes, float),
        clusters,
        weights,
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
    assert wide["ci95"] == [0.0, 1.0]
    assert narrow["ci95"][0] > 0.25
    assert (wide["tasks"], narrow["tasks"]) == (2, 40)


def test_outcomes_that_never_vary_have_no_skill_to_speak_of():
    assert run([0.2, 0.3], [0, 0], constant=0.0)["skill"]["value"] is None
