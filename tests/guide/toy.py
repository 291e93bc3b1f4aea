"""A critic in a few lines, so that what stands around one is tested without loading any."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pgv_jax.errors import PgvError


class WordCritic:
    """Values a thought by the first decimal number in it: "walk 0.7" is worth 0.7 to every goal.

    A member less and a member more by ``spread``; ``asked`` keeps what it was asked.
    """

    name, history, step, has_members = "words", 0, "both", True
    folder = Path("nowhere")

    def __init__(self, spread: float = 0.0):
        self.reset(spread)

    def reset(self, spread: float = 0.0) -> None:
        """As new."""
        self.spread = spread
        self.asked: list[tuple[str, str, list[str], list[str]]] = []
        self.lookups = (0, 0)
        self.fails: Exception | None = None
        self.wait = lambda: None

    def members(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        self.asked.append((task, observation, list(thoughts), list(goals)))
        self.wait()
        if self.fails is not None:
            raise self.fails
        self.lookups = (self.lookups[0] + len(thoughts), self.lookups[1])
        value_N = np.array([_number(thought) for thought in thoughts])
        value_NG = np.tile(value_N[:, None], (1, len(goals)))
        return np.stack([value_NG - self.spread, value_NG + self.spread])

    def v(self, task: str, observation: str, goals: Sequence[str]) -> np.ndarray:
        return np.full(len(goals), _number(observation))

    def likelihoods(self, values: np.ndarray, goals: Sequence[str]) -> np.ndarray:
        return np.full(values.shape, np.nan)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "far" not in text else [0.0, 1.0] for text in texts])

    def warm_up(self, thoughts: int, goals: int) -> None:
        if thoughts < 1:
            raise PgvError("nothing to warm up for")


def _number(text: str) -> float:
    found = re.search(r"\d\.\d+", text)
    return float(found.group()) if found else 0.0
