from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.critic.calibration import apply
from pgv_jax.report.health.calibrators import fit_calibration, fit_calibrator
from pgv_jax.report.wording import calibrator as in_words
from pgv_jax.texts.templates import FAILURE, SUCCESS
from tests.report.demo import KnowingScorer, make_logs


def drawn(n=6000, tasks=60, slope=0.5, offset=-1.0, seed=0):
    """Scores that are too sure of themselves by a known amount, and what came of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, n)
    p = 1 / (1 + np.exp(-(slope * x + offset)))
    outcomes = (rng.random(n) < p).astype(float)
    return 1 / (1 + np.exp(-x)), outcomes, [f"t{i % tasks}" for i in range(n)], p


def test_platt_finds_what_was_planted():
    scores, outcomes, tasks, p = drawn()
    fitted = fit_calibrator(scores, outcomes, tasks, kind="platt")
    assert fitted["slope"] == pytest.approx(0.5, abs=0.05)
    assert fitted["offset"] == pytest.approx(-1.0, abs=0.1)
    assert np.abs(apply(fitted, scores) - p).max() < 0.03
    assert fitted["skill"] > 0.1
    assert fitted["fitted_on"] == {"tasks": 60, "rows": 6000}


def test_temperature_has_no_offset_and_isotonic_no_formula():
    scores, outcomes, tasks, _ = drawn(offset=0.0)
    assert fit_calibrator(scores, outcomes, tasks, kind="temperature")["temperature"] == (
        pytest.approx(2.0, abs=0.2)
    )
    steps = fit_calibrator(scores, outcomes, tasks, kind="isotonic")
    assert np.all(np.diff(steps["y"]) >= 0)
    assert in_words({**steps, "fitted_on": {**steps["fitted_on"], "split": "val"}}).startswith(
        "isotonic, fitted on 60 tasks of split val"
    )


def test_targets_in_between_count_in_shares():
    x = np.linspace(-3, 3, 400)
    targets = 1 / (1 + np.exp(-(0.7 * x + 0.2)))
    fitted = fit_calibrator(
        1 / (1 + np.exp(-x)), targets, [str(i % 40) for i in range(400)], kind="platt"
    )
    assert (fitted["slope"], fitted["offset"]) == pytest.approx((0.7, 0.2), abs=0.01)


@pytest.mark.parametrize("kind", ["auto", "temperature", "platt"])
def test_without_evidence_the_mean_is_all_that_is_said(kind):
    scores, outcomes, tasks, _ = drawn(n=600)
    upside_down = fit_calibrator(1 - scores, outcomes, tasks, kind=kind)
    assert upside_down["kind"] == "constant"
    assert upside_down["rate"] == pytest.approx(outcomes.mean())
    assert upside_down["skill"] <= 0
    assert "no evidence" in in_words(
        {**upside_down, "fitted_on": {**upside_down["fitted_on"], "split": "val"}}
    )


def test_isotonic_is_not_chosen_with_few_tasks():
    rng = np.random.default_rng(0)
    scores = rng.random(4000)
    outcomes = ((scores > 0.3) & (scores < 0.9)).astype(float) * (scores > 0.5) + 0.0
    many = [str(i % 200) for i in range(4000)]
    assert fit_calibrator(scores, outcomes, many)["kind"] == "isotonic"
    few = [str(i % 20) for i in range(4000)]
    assert fit_calibrator(scores, outcomes, few)["kind"] != "isotonic"


def test_outcomes_and_state_goals_are_fitted_each_on_their_own():
    logs = make_logs(20, 4)
    scorer = KnowingScorer(logs, 0.3)
    fitted, missing = fit_calibration(scorer, logs, split="val", gamma=0.97)
    assert missing == []
    assert set(fitted["outcomes"]) == {SUCCESS, FAILURE}
    assert fitted["outcomes"][SUCCESS]["skill"] > 0.3
    assert fitted["states"]["fitted_on"]["split"] == "val"


def test_a_few_tasks_do_not_tell_the_rate_of_success():
    logs = make_logs(19, 4)
    fitted, missing = fit_calibration(KnowingScorer(logs, 0.3), logs, split="val", gamma=0.97)
    assert set(fitted) == {"states"}
    assert "19 tasks of known outcome, and 20 are needed" in missing[0]


def test_a_recipes_chances_are_not_fitted_again_on_tasks_that_it_learned_from():
    logs = make_logs(30, 4)
    scorer = KnowingScorer(logs, 0.3)
    recipe = {"chosen": "probe", "tasks": 90, "steps": 500}
    fitted, missing = fit_calibration(scorer, logs, split="val", gamma=0.97, recipe=recipe)
    kept = fitted["outcomes"][SUCCESS]
    assert missing == [] and kept == fitted["outcomes"][FAILURE]
    np.testing.assert_allclose(apply(kept, [0.0, 0.3, 1.0]), [0, 0.3, 1], atol=1e-5)
    assert "90 tasks of split train and val" in in_words(kept)
    assert fitted["states"]["fitted_on"]["split"] == "val"
    as_td, _ = fit_calibration(scorer, logs, split="val", gamma=0.97, recipe={"chosen": "td"})
    assert as_td["outcomes"][SUCCESS]["skill"] is not None
