"""How much a candidate's scores say about the outcome, beside how far the episode is.

    log P(success) = log sigmoid(a logit(score) + b log(1 + t) + c)

with a, b, c fitted on other tasks. A score need not be a likelihood for that: discounting and an
expectile above one half bend it, and Platt's map (Platt 1999) unbends it. The clock is there
because Q of a discounted goal follows it, and because what a clock knows is no merit of a critic.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from pgv_jax.recipe.probe import log_likelihood
from pgv_jax.report.health.baselines import task_folds
from pgv_jax.report.rows import Rows
from pgv_jax.report.stats import Interval, cluster_mean

LEVEL = 0.6827
"""Of the interval of a gain: one standard error on either side, for the rule of that name."""
LEAST_PENALTY = 100.0
ROUNDING = 1e-5
"""Nats a step: what float32 makes of no difference, as of a network that was stopped at step 0."""


def crossfitted(logit_B: np.ndarray | None, rows: Rows, seed: int) -> np.ndarray:
    """Log-likelihood of each step's outcome: float [B], NaN for steps in no fold; None: the clock.

    The map is fitted on the tasks of the other folds. A step without a score (NaN), whose own fold
    lacks an outcome, is neither fitted on nor judged.
    """
    columns = [np.log1p(rows.step_B)] + ([] if logit_B is None else [logit_B])
    x, success = np.stack(columns, axis=1), rows.success_B.astype(np.float64)
    out, scored = np.full(len(rows), np.nan), ~np.isnan(x).any(1)
    for fold in task_folds(rows, seed):
        fitted_on, held_out = (part[scored[part]] for part in fold)
        if len(np.unique(success[fitted_on])) < 2 or not len(held_out):
            continue
        model = LogisticRegression(C=LEAST_PENALTY).fit(x[fitted_on], success[fitted_on])
        logit = x[held_out] @ model.coef_[0] + model.intercept_[0]
        out[held_out] = log_likelihood(logit, success[held_out])
    return out


def gain(logit_B: np.ndarray | None, over_B: np.ndarray | None, rows: Rows, seed: int) -> Interval:
    """Mean gain in log-likelihood, in nats a step, of one score over another on the same steps.

    The interval is over tasks at ``LEVEL``; NaN where nothing can be judged.
    """
    difference = crossfitted(logit_B, rows, seed) - crossfitted(over_B, rows, seed)
    judged = np.flatnonzero(~np.isnan(difference))
    tasks = [rows.task_ids[i] for i in judged]
    return cluster_mean(difference[judged], tasks, level=LEVEL)


def wins(found: Interval) -> bool:
    """The one-standard-error rule: what is simpler stays unless the gain is above its error."""
    return bool(found.low > ROUNDING)
