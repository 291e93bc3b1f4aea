"""What a guide answers: which candidate, by which values, and how sure it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Doubt:
    """Two signs that the critic is asked beyond what it knows.

    ``disagreement`` is the standard deviation of the chosen candidate's utility over the members
    of the ensemble; None where the critic shows no members (an exported one).
    ``distance`` is how far the observation is from the nearest training text, as a multiple of
    what is usual between training texts of different tasks (their 95th percentile): above 1 is
    unusual. None where the artifact holds no support (``pgv evaluate`` adds it).
    """

    disagreement: float | None
    distance: float | None


@dataclass(frozen=True)
class Choice:
    """The answer to "which of these?".

    ``candidate`` is the chosen one as it was given. ``values`` [N, G] are the critic's,
    ``likelihoods`` [N, G] calibrated, NaN for a goal without a calibration; ``utility`` [N] is what
    was compared: the first goal's values, or the weighted sum over goals.
    """

    index: int
    candidate: Any
    goals: tuple[str, ...]
    values: np.ndarray
    likelihoods: np.ndarray
    utility: np.ndarray
    doubt: Doubt

    @property
    def order(self) -> list[int]:
        """The candidates' numbers, best first; ties in their own order."""
        order: list[int] = (-self.utility).argsort(kind="stable").tolist()
        return order

    def to_json(self) -> dict[str, Any]:
        """Everything but the candidate, as JSON values."""
        return {
            "index": self.index,
            "goals": list(self.goals),
            "values": _rounded(self.values.tolist()),
            "likelihoods": _rounded(self.likelihoods.tolist()),
            "utility": _rounded(self.utility.tolist()),
            "doubt": {
                "disagreement": _number(self.doubt.disagreement),
                "distance": _number(self.doubt.distance),
            },
        }


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 6)


def _rounded(values: Any) -> Any:
    """Numbers, and lists of lists of them, rounded; NaN is None."""
    return [_rounded(row) for row in values] if isinstance(values, list) else _number(values)
