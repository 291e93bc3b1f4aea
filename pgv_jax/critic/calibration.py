"""From scores to likelihoods: how the calibration of an artifact's manifest is read.

``manifest["calibration"]`` is ``{"outcomes": {goal sentence: C}, "states": C}``: one calibrator for
each outcome sentence, one for all other goals; either may be missing. A calibrator C is

``{"kind": "temperature", "temperature": T}``   p = sigmoid(logit(q) / T)  (Guo et al. 2017)
``{"kind": "platt", "slope": a, "offset": b}``  p = sigmoid(a logit(q) + b)  (Platt 1999)
``{"kind": "isotonic", "x": [...], "y": [...]}``  linear between the points, level outside
``{"kind": "constant", "rate": r}``             p = r: held-out tasks showed no evidence

and beside it ``fitted_on`` (split, tasks, rows), ``mean`` of the target, and ``skill``, the
cross-fitted Brier skill over that mean (None, without a mean, where the score is a chance by
itself). q is clipped to [1e-6, 1 - 1e-6] before its logit. The
target of an outcome is whether it came about; of a state goal, gamma^(steps until it holds).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pgv_jax.errors import PgvError

EDGE = 1e-6
"""Scores are kept so far from 0 and 1 before their logit is taken."""


def logit(scores: ArrayLike) -> np.ndarray:
    """log(q / (1 - q)) of scores clipped to [EDGE, 1 - EDGE]: float64, any shape."""
    q = np.clip(np.asarray(scores, np.float64), EDGE, 1 - EDGE)
    return np.log(q) - np.log1p(-q)


def apply(calibrator: Mapping[str, Any], scores: ArrayLike) -> np.ndarray:
    """Likelihoods of scores by one calibrator: float64, the scores' shape.

    An unknown kind or a missing constant is a PgvError.
    """
    scores = np.asarray(scores, np.float64)
    try:
        kind = calibrator["kind"]
        if kind == "temperature":
            return _sigmoid(logit(scores) / calibrator["temperature"])
        if kind == "platt":
            return _sigmoid(calibrator["slope"] * logit(scores) + calibrator["offset"])
        if kind == "isotonic":
            return np.interp(scores, calibrator["x"], calibrator["y"])
        if kind == "constant":
            return np.full_like(scores, calibrator["rate"])
    except (KeyError, TypeError, ValueError) as error:
        raise PgvError(
            f"The artifact's calibration is damaged ({type(error).__name__}: {error}); fit it "
            "again with `pgv evaluate`."
        ) from None
    raise PgvError(
        f"The artifact's calibration is of kind '{kind}'; this release knows temperature, platt, "
        "isotonic and constant."
    )


def calibrator_of(manifest: Mapping[str, Any], goal: str) -> Mapping[str, Any] | None:
    """The calibrator that an artifact's manifest has for a goal's sentence, or None."""
    known: Mapping[str, Any] = manifest.get("calibration") or {}
    found: Mapping[str, Any] | None = known.get("outcomes", {}).get(goal) or known.get("states")
    return found


def likelihoods(
    manifest: Mapping[str, Any], scores_NG: ArrayLike, goals: Sequence[str]
) -> np.ndarray:
    """Calibrated likelihoods of scores [..., G], the last axis over ``goals``: float64 [..., G].

    A goal that the manifest has no calibrator for is a PgvError.
    """
    if isinstance(goals, str):
        raise PgvError(f"goals is one text, '{goals[:60]}', where a list of texts belongs.")
    scores_NG = np.asarray(scores_NG, np.float64)
    if scores_NG.shape[-1:] != (len(goals),):
        raise PgvError(
            f"Scores of shape {scores_NG.shape} do not belong to {len(goals)} goals; the last axis "
            "must be the goals'."
        )
    out = np.empty_like(scores_NG)
    for g, goal in enumerate(goals):
        calibrator = calibrator_of(manifest, goal)
        if calibrator is None:
            raise PgvError(
                f"The artifact has no calibration for the goal '{goal}'; fit one with `pgv "
                "evaluate ARTIFACT --dataset D`, or show raw numbers or ranks."
            )
        out[..., g] = apply(calibrator, scores_NG[..., g])
    return out


def known_likelihoods(
    values: np.ndarray,
    goals: Sequence[str],
    known: Callable[[str], bool],
    apply: Callable[[np.ndarray, Sequence[str]], np.ndarray],
) -> np.ndarray:
    """``apply(values, goals)`` for the goals that have a calibration, NaN for others: [..., G]."""
    out = np.full(values.shape, np.nan)
    for g, goal in enumerate(goals):
        if known(goal):
            out[..., g] = apply(values[..., g : g + 1], [goal])[..., 0]
    return out


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
