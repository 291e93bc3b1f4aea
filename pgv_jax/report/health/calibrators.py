"""Fitting the calibrators of an artifact on held-out tasks: temperature, Platt, isotonic.

A calibrator must earn its place: it is cross-fitted over tasks, and where its Brier score is not
better than that of the mean, the mean itself is what may be said. ``critic.calibration`` reads
the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from pgv_jax.critic.calibration import apply, logit
from pgv_jax.report.health.sections import CRITIC, Thresholds, finite
from pgv_jax.report.health.state_goals import goal_rows, q_goals
from pgv_jax.report.rows import Scorer, step_rows
from pgv_jax.report.stats import rounded
from pgv_jax.texts.templates import FAILURE, SUCCESS, History
from pgv_jax.types import Episode

KINDS = ("temperature", "platt", "isotonic")
ISOTONIC_TASKS = 100
"""With fewer tasks isotonic regression follows the noise."""
OUTCOME_TASKS = 20
"""Fewer tasks do not tell the rate of success: on 8, calibrated likelihoods were worse than raw."""
STEEPNESS = 1e4
"""Inverse strength of the penalty on slopes: nearly none, but a perfect separation stays finite."""


def fit_calibrator(
    scores: np.ndarray,
    targets: np.ndarray,
    task_ids: Sequence[str],
    *,
    kind: str = "auto",
    seed: int = 0,
    folds: int = 5,
) -> dict[str, Any]:
    """Fit scores [B] to targets in [0, 1] [B]; a calibrator as ``critic.calibration`` reads it.

    ``kind``: one of ``KINDS``, or ``auto``, the one with the least cross-fitted Brier score
    (isotonic only with 100 tasks). ``skill`` = 1 - Brier / Brier(mean), both cross-fitted over
    folds of tasks; without skill above 0 the kind is ``constant``. Needs two tasks.
    """
    n_tasks = len(set(task_ids))
    kinds = [kind] if kind != "auto" else list(KINDS[: 3 if n_tasks >= ISOTONIC_TASKS else 2])
    splitter = GroupKFold(min(folds, n_tasks), shuffle=True, random_state=seed)
    crossed = {name: np.empty(len(scores)) for name in (*kinds, "constant")}
    for fitted_on, rest in splitter.split(scores, targets, task_ids):
        for name, guess in crossed.items():
            calibrator = _fit(name, scores[fitted_on], targets[fitted_on])
            guess[rest] = apply(calibrator, scores[rest])
    brier = {name: float(((guess - targets) ** 2).mean()) for name, guess in crossed.items()}
    base = brier.pop("constant")
    best = min(brier, key=lambda name: brier[name])
    skill = 1 - brier[best] / base if base > 0 else 0.0
    fitted = _fit(best if skill > 0 else "constant", scores, targets)
    if fitted["kind"] == "constant":
        skill = min(skill, 0.0)
    return {
        **fitted,
        "mean": rounded(float(targets.mean())),
        "skill": rounded(skill),
        "fitted_on": {"tasks": n_tasks, "rows": len(scores)},
    }


def fit_calibration(
    scorer: Scorer,
    episodes: Iterable[Episode],
    *,
    split: str,
    history: History = 0,
    gamma: float | None = None,
    kind: str = "auto",
    recipe: Mapping[str, Any] | None = None,
    thresholds: Thresholds | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Fit what ``manifest["calibration"]`` holds, on episodes that were not trained on.

    Outcomes on every step of known outcome, state goals (where ``gamma`` is known) as
    ``goal_rows`` draws them. Where the manifest's ``recipe`` chose a probe or a network, outcomes
    keep their scores: these are chances, and this split's tasks were learned from, too. Returns it
    and a sentence for each part that could not be fitted.
    """
    needs, episodes = thresholds or Thresholds(), list(episodes)
    rows = step_rows(episodes, history)
    fitted: dict[str, Any] = {}
    missing = []
    n_tasks = len(set(rows.task_ids))
    both = min(int(rows.success_B.sum()), int((~rows.success_B).sum())) if len(rows) else 0
    if recipe and recipe.get("chosen", "td") != "td":
        fitted["outcomes"] = dict.fromkeys((SUCCESS, FAILURE), _chance(recipe))
    elif n_tasks < OUTCOME_TASKS or not both:
        why = "; all succeed, or all fail" if n_tasks >= OUTCOME_TASKS else ""
        missing.append(
            f"outcomes are not calibrated: split {split} has {n_tasks} tasks of known outcome, "
            f"and {OUTCOME_TASKS} are needed{why}"
        )
    else:
        fitted["outcomes"] = {}
        for goal, target_B in ((SUCCESS, rows.success_B), (FAILURE, ~rows.success_B)):
            asked = (rows.tasks, rows.observations, rows.thoughts, [goal] * len(rows))
            q = finite(CRITIC, scorer.q_pairs(*asked))
            target = target_B.astype(np.float64)
            fitted["outcomes"][goal] = fit_calibrator(
                q, target, rows.task_ids, kind=kind, seed=seed
            )
    goals = goal_rows(episodes, history, seed=seed)
    if gamma is not None and len(set(goals.rows.task_ids)) >= needs.tasks:
        fitted["states"] = fit_calibrator(
            q_goals(scorer, goals),
            goals.discounted(gamma),
            goals.rows.task_ids,
            kind=kind,
            seed=seed,
        )
    for part in (*fitted.get("outcomes", {}).values(), fitted.get("states")):
        if part is not None:
            part["fitted_on"] = {"split": split, **part["fitted_on"]}
    return fitted, missing


def _chance(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The calibrator of a score that the recipe fitted as a chance: the score itself."""
    known = {"split": "train and val", "tasks": recipe["tasks"], "rows": recipe["steps"]}
    return {"kind": "temperature", "temperature": 1.0, "skill": None, "fitted_on": known}


def _fit(kind: str, scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    mean = float(targets.mean())
    constant = {"kind": "constant", "rate": mean}
    if kind == "constant" or not 0 < mean < 1:
        return constant
    if kind == "isotonic":
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, targets)
        points = zip(model.X_thresholds_, model.y_thresholds_, strict=True)
        x, y = zip(*((round(float(a), 9), round(float(b), 6)) for a, b in points), strict=True)
        return {"kind": kind, "x": list(x), "y": list(y)}
    slope, offset = _logistic(logit(scores), targets, offset=kind == "platt")
    if slope <= 0:  # higher scores mean less: no calibration makes that a likelihood
        return constant
    if kind == "temperature":
        return {"kind": kind, "temperature": 1 / slope}
    return {"kind": kind, "slope": slope, "offset": offset}


def _logistic(x: np.ndarray, targets: np.ndarray, offset: bool) -> tuple[float, float]:
    """Slope and offset by maximum likelihood; a target in between counts as both, in shares."""
    model = LogisticRegression(C=STEEPNESS, fit_intercept=offset, max_iter=1000)
    both = np.concatenate([x, x])[:, None]
    labels = np.repeat([1, 0], len(x))
    model.fit(both, labels, sample_weight=np.concatenate([targets, 1 - targets]))
    return float(model.coef_[0, 0]), float(model.intercept_[0]) if offset else 0.0
