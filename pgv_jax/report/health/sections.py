"""What every section of a health report shares: how much data it needs, and "not testable"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pgv_jax.errors import PgvError

CRITIC = "critic"
OUTCOMES, CANDIDATES = "known outcomes", "right and wrong candidates"
"""What tests need tasks with."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How much data a test needs before it prints a number."""

    tasks: int = 5
    episodes_per_class: int = 10
    pairs: int = 50


def few(n_tasks: int, what: str, limits: Thresholds) -> dict[str, Any] | None:
    """The section that says that too few tasks have ``what``; None where there are enough."""
    if n_tasks >= limits.tasks:
        return None
    tasks = f"{n_tasks} held-out task{'' if n_tasks == 1 else 's'}"
    return not_testable(f"{tasks} with {what}; at least {limits.tasks} are needed")


def not_testable(why: str) -> dict[str, Any]:
    """A section without figures."""
    return {"testable": False, "why": why}


def finite(name: str, scores: np.ndarray) -> np.ndarray:
    """The scores as float64; one that is no number is a PgvError."""
    scores = np.asarray(scores, np.float64)
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise PgvError(
            f"{bad} of {len(scores)} scores of '{name}' are not finite numbers; the artifact is "
            "damaged or its training diverged. Train it again with a smaller train.lr."
        )
    return scores
