"""Which of the proposed candidates is taken: the arms of a comparison, as functions of scores.

``score_N`` are one number a candidate, higher is better: Q of the goal, or a weighted mean over
goals. Every arm is given the same repeat penalty, so that an arm is never better for it alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pgv_jax.errors import PgvError

REPEAT_PENALTY = 0.5
"""A plain argmax loops: a note that does not change gets the same action again."""


class Scorer(Protocol):
    """What ``ValueFunction.q`` is: texts in, float [N, G] out."""

    def __call__(
        self, task: str, observation: str, thoughts: list[str], goals: list[str]
    ) -> np.ndarray:
        """Score N thoughts against G goals."""
        ...


@dataclass(frozen=True, slots=True)
class Ballot:
    """All that a selector may look at. Oracle scores come from a simulator, if there is one."""

    count: int
    score_N: np.ndarray | None = None
    oracle_N: np.ndarray | None = None
    seed: int = 0
    votes_N: np.ndarray | None = None
    """How many of the model's samples have the candidate's action."""


class Selector(Protocol):
    """A pure function: one preference a candidate, higher is better, [N]."""

    def __call__(self, ballot: Ballot) -> np.ndarray:
        """Rank the candidates of ``ballot``."""
        ...


def _given(values_N: np.ndarray | None, ballot: Ballot, who: str, what: str) -> np.ndarray:
    if values_N is None:
        raise PgvError(f"Selector '{who}' needs {what}, and none are given here.")
    values_N = np.asarray(values_N, np.float64)
    if values_N.shape != (ballot.count,):
        raise PgvError(
            f"Selector '{who}' got {what} of shape {values_N.shape} for {ballot.count} candidates; "
            "give one number a candidate."
        )
    return values_N


def first(ballot: Ballot) -> np.ndarray:
    """Take the first proposal: the model without a critic (ties go to the first)."""
    return np.ones(ballot.count)


def critic(ballot: Ballot) -> np.ndarray:
    """Take the candidate with the highest score."""
    return _given(ballot.score_N, ballot, "critic", "scores of the critic")


def shuffled(ballot: Ballot) -> np.ndarray:
    """The control: the critic's own scores, dealt to the candidates at random (seeded)."""
    score_N = _given(ballot.score_N, ballot, "shuffled", "scores of the critic")
    order = list(range(ballot.count))
    random.Random(f"shuffled/{ballot.seed}").shuffle(order)
    return score_N[order]


def majority(ballot: Ballot) -> np.ndarray:
    """Self-consistency (Wang et al. 2022, arXiv:2203.11171): the action of most samples."""
    return _given(ballot.votes_N, ballot, "majority", "votes of the samples")


def oracle(ballot: Ballot) -> np.ndarray:
    """The bound: what the simulator itself prefers. Not a method; never reported as one."""
    return _given(ballot.oracle_N, ballot, "oracle", "a simulator's preferences")


SELECTORS: dict[str, Selector] = {
    "first": first,
    "critic": critic,
    "shuffled": shuffled,
    "majority": majority,
    "oracle": oracle,
}
"""Name of an arm -> its selector."""

NEEDS_SCORES = ("critic", "shuffled")


def utility(score_NG: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """One score a candidate from scores against G goals: ``score_NG @ weights``.

    Without weights the first goal decides (asking for success less failure ranked worse).
    """
    score_NG = np.asarray(score_NG, np.float64)
    if weights is None:
        return score_NG[:, 0]
    if len(weights) != score_NG.shape[1]:
        raise PgvError(f"{len(weights)} weights for {score_NG.shape[1]} goals; give one a goal.")
    return score_NG @ np.asarray(weights, np.float64)


def penalise(preference_N: np.ndarray, times_N: Sequence[int], factor: float) -> np.ndarray:
    """``preference * factor^times``: times = how often the action was chosen at this observation.

    A negative preference (a critic with a linear head) is divided instead, so that a repeat always
    lowers it.
    """
    if not 0 < factor <= 1:
        raise PgvError(f"The repeat penalty is {factor}; it multiplies scores, so use 0 < f <= 1.")
    if not any(times_N):
        return preference_N
    scale_N = factor ** np.asarray(times_N, np.float64)
    return np.where(preference_N >= 0, preference_N * scale_N, preference_N / scale_N)


def choose(
    selector: Selector,
    ballot: Ballot,
    times_N: Sequence[int],
    factor: float = REPEAT_PENALTY,
) -> tuple[int, np.ndarray]:
    """(index of the candidate taken, penalised preferences [N]); ties go to the first."""
    preference_N = penalise(selector(ballot), times_N, factor)
    if np.isnan(preference_N).any():
        raise PgvError("A candidate's score is not a number; the critic's artifact is damaged.")
    return int(np.argmax(preference_N)), preference_N


Oracle = Callable[[Sequence[str]], Sequence[float] | None]
"""A simulator's preferences for actions, such as ``TextEnv.preferences``."""
