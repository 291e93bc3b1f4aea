from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.critic.calibration import apply, calibrator_of, likelihoods, logit
from pgv_jax.errors import PgvError

PLATT = {"kind": "platt", "slope": 2.0, "offset": -1.0}
STATES = {"kind": "temperature", "temperature": 2.0}
MANIFEST = {"calibration": {"outcomes": {"Done.": PLATT}, "states": STATES}}


def test_the_formulas_by_hand():
    q = np.array([0.2, 0.5, 0.9])
    odds = q / (1 - q)
    assert apply(PLATT, q) == pytest.approx(1 / (1 + np.e * odds**-2.0))
    assert apply(STATES, q) == pytest.approx(np.sqrt(odds) / (1 + np.sqrt(odds)))
    steps = {"kind": "isotonic", "x": [0.2, 0.4], "y": [0.1, 0.3]}
    assert apply(steps, [0.0, 0.3, 1.0]) == pytest.approx([0.1, 0.2, 0.3])
    assert apply({"kind": "constant", "rate": 0.3}, q).tolist() == [0.3] * 3


def test_scores_outside_of_the_unit_interval_have_a_logit_too():
    assert np.isfinite(logit([-1.0, 0.0, 1.0, 7.0])).all()
    assert np.all(np.diff(apply(PLATT, [-1.0, 0.5, 7.0])) > 0)


def test_each_goal_meets_its_own_calibrator():
    found = likelihoods(MANIFEST, np.full((2, 3), 0.8), ["Done.", "The door is open.", "Done."])
    assert found.shape == (2, 3)
    done, open_ = float(apply(PLATT, 0.8)), float(apply(STATES, 0.8))
    assert found[0] == pytest.approx([done, open_, done])
    assert calibrator_of({}, "Done.") is None


@pytest.mark.parametrize(
    ("manifest", "scores", "message"),
    [
        ({}, [0.5], "no calibration for the goal 'Done.'"),
        ({"calibration": {"outcomes": {"Done.": {"kind": "beta"}}}}, [0.5], "kind 'beta'"),
        ({"calibration": {"outcomes": {"Done.": {"kind": "platt"}}}}, [0.5], "damaged"),
        (MANIFEST, [0.5, 0.5], "do not belong to 1 goals"),
    ],
)
def test_what_cannot_be_calibrated_is_an_error(manifest, scores, message):
    with pytest.raises(PgvError, match=message):
        likelihoods(manifest, np.array(scores), ["Done."])
