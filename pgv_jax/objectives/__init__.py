"""Objectives: ``objective(predictions, batch) -> (loss, metrics)``, arrays only.

A new method is one file, one row of ``OBJECTIVES``, one config and one test. ``heads`` names what
an objective trains; the optimizer is masked to them and scoring with another is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgv_jax.objectives.iql import gc_iql
from pgv_jax.objectives.monte_carlo import monte_carlo


@dataclass(frozen=True)
class Objective:
    """A named loss, the configuration keys that it takes and the heads that it trains."""

    loss: Callable
    options: tuple[str, ...]
    heads: tuple[str, ...]


OBJECTIVES = {
    "gc_iql": Objective(gc_iql, ("expectile", "head", "reduce"), ("q", "v")),
    "monte_carlo": Objective(monte_carlo, ("head",), ("q", "v")),
}
