"""The anchor: a logistic probe for success, one member a fold of tasks.

Member k is fitted on all tasks but those of fold k, under the L2 penalty whose cross-fitted
log-likelihood is best. Of a task in fold k member k alone has seen nothing, so the cross-fitted
logits judge the probe honestly. What is published is refitted on all tasks.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pgv_jax.recipe.outcomes import Components, Outcomes

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Inverse strengths of the penalty. The least leaves hardly more than the base rate."""


@dataclass(frozen=True)
class Probe:
    """M members on components: ``weight_MR``, ``bias_M``, and each step's logit by each member.

    ``crossfit_B`` holds each step's logit by the member that has not seen its task, NaN for steps
    in no fold. ``c`` is the penalty's inverse strength.
    """

    weight_MR: np.ndarray
    bias_M: np.ndarray
    crossfit_B: np.ndarray
    c: float


def fit_probe(outcomes: Outcomes, components: Components) -> Probe:
    """Fit the members under each penalty and keep the best penalty's."""
    fits = [_members(outcomes, components, c) for c in C_GRID]
    judged = ~np.isnan(fits[0].crossfit_B)
    success = outcomes.success_B[judged]
    return max(fits, key=lambda probe: log_likelihood(probe.crossfit_B[judged], success).mean())


def log_likelihood(logit: np.ndarray, success: np.ndarray) -> np.ndarray:
    """y log sigmoid(x) + (1 - y) log(1 - sigmoid(x)), elementwise."""
    return np.asarray(success * logit - np.logaddexp(0, logit))


def fit_without(
    outcomes: Outcomes, components: Components, held_out: np.ndarray, c: float
) -> tuple[np.ndarray, float]:
    """The probe of all steps but ``held_out``: weights [R] and bias."""
    fitted_on = np.setdiff1d(np.arange(len(outcomes.rows)), held_out)
    return _fit(components.x_BR[fitted_on], outcomes.success_B[fitted_on], c)


def refitted(probe: Probe, outcomes: Outcomes, components: Components) -> Probe:
    """The members moved together, so that their mean logit is the probe of all tasks.

    Each was fitted on four fifths of the tasks, and so ranks a little worse than all of them allow;
    how far the members lie apart is kept. ``crossfit_B`` stays what was judged.
    """
    weight_R, bias = fit_without(outcomes, components, np.zeros(0, np.int64), probe.c)
    return replace(
        probe,
        weight_MR=probe.weight_MR + (weight_R - probe.weight_MR.mean(0)),
        bias_M=probe.bias_M + (bias - probe.bias_M.mean()),
    )


def _members(outcomes: Outcomes, components: Components, c: float) -> Probe:
    crossfit_B = np.full(len(outcomes.rows), np.nan)
    weights, biases = [], []
    for fitted_on, held_out in outcomes.folds:
        weight, bias = _fit(components.x_BR[fitted_on], outcomes.success_B[fitted_on], c)
        crossfit_B[held_out] = components.x_BR[held_out] @ weight + bias
        weights.append(weight)
        biases.append(bias)
    return Probe(np.stack(weights), np.asarray(biases), crossfit_B, c)


def _fit(x: np.ndarray, success: np.ndarray, c: float) -> tuple[np.ndarray, float]:
    # Small solves gain nothing from threads, and on a busy machine waiting for them costs most.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # judged by its likelihood as well
        model = LogisticRegression(C=c, max_iter=200).fit(x, success)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])
