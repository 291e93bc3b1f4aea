"""Scores of candidates that a model has to be asked for, in place of a scorer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pgv_jax.llm.client import Completion
from pgv_jax.types import Candidate

if TYPE_CHECKING:
    from pgv_jax.agents.agent import View


@dataclass(frozen=True, slots=True)
class Rating:
    """``score_NG``: float [N, G], higher is better; ``about`` is for the step's record (JSON)."""

    candidates: tuple[Candidate, ...]
    score_NG: np.ndarray
    completions: tuple[Completion, ...]
    about: Mapping[str, Any] = field(default_factory=dict)


class Rater(Protocol):
    """Rates candidates by questions of its own; ``name`` is that of ``about`` in the record."""

    @property
    def name(self) -> str: ...

    async def rate(
        self, view: View, candidates: Sequence[Candidate], goals: Sequence[str]
    ) -> Rating:
        """Scores of N candidates for G goals."""
        ...
