"""The gain: blind to a score's scale, deaf to a clock, and won only above its error."""

from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.recipe.gain import gain, wins
from pgv_jax.report.rows import step_rows
from pgv_jax.report.stats import Interval
from tests.recipe import logs


@pytest.fixture(scope="module")
def rows():
    return step_rows(logs.log(logs.linear))


def informed(rows) -> np.ndarray:
    return np.where([" -1 " in seen[:8] for seen in rows.observations], -1.0, 1.0)


def test_a_score_that_knows_gains_and_wins(rows):
    found = gain(informed(rows), None, rows, 0)
    assert 0.2 < found.value < np.log(2)  # nine signs in ten are right: .37 nats on average
    assert wins(found)


def test_scale_and_offset_do_not_matter(rows):
    found = gain(0.2 * informed(rows) - 3, informed(rows), rows, 0)
    assert abs(found.value) < 2e-3


def test_a_clock_gains_nothing_over_the_clock(rows):
    found = gain(np.log1p(rows.step_B), None, rows, 0)
    assert abs(found.value) < 1e-3


def test_noise_does_not_win(rows):
    noise = np.random.default_rng(0).standard_normal(len(rows))
    assert not wins(gain(noise, None, rows, 0))


@pytest.mark.parametrize(
    ("low", "won"),
    [(1e-4, True), (1e-6, False), (0.0, False), (-0.1, False), (float("nan"), False)],
)
def test_the_rule(low, won):
    """A gain of 1e-6 nats is what float32 made of a network that was stopped at step 0."""
    assert wins(Interval(0.1, low, 0.2)) is won


def test_steps_without_a_score_are_neither_fitted_on_nor_judged(rows):
    """Of a small log a fold may lack an outcome: its steps have no cross-fitted score."""
    tasks = sorted(set(rows.task_ids))
    without = np.asarray([task in tasks[:5] for task in rows.task_ids])
    scores = np.where(without, np.nan, informed(rows))
    found = gain(scores, None, rows, 0)
    assert 0.2 < found.value < np.log(2)
    assert np.isnan(gain(np.full(len(rows), np.nan), None, rows, 0).value)
