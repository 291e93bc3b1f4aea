"""Objectives: ``objective(predictions, batch) -> (loss, metrics)``, arrays only.

A new method is one file, one row of ``OBJECTIVES``, one config and one test. ``heads`` names what
an objective trains; the optimizer is masked to them and scoring with another is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgv_jax.objectives.agent_prm import agent_prm
from pgv_jax.objectives.inverse_prm import inverse_prm
from pgv_jax.objectives.iql import gc_iql
from pgv_jax.objectives.lookahead import lookahead
from pgv_jax.objectives.monte_carlo import monte_carlo


@dataclass(frozen=True)
class Objective:
    """A named loss, the configuration keys that it takes and the heads that it trains.

    ``other`` says where the second thought of an example is asked: at the step ("now"), at the one
    after it ("next") or nowhere ("").
    """

    loss: Callable
    options: tuple[str, ...]
    heads: tuple[str, ...]
    other: str = ""


OBJECTIVES = {
    "gc_iql": Objective(gc_iql, ("expectile", "head", "reduce"), ("q", "v")),
    "monte_carlo": Objective(monte_carlo, ("head",), ("q", "v")),
    "agent_prm": Objective(agent_prm, ("head", "form"), ("q", "v"), "now"),
    "inverse_prm": Objective(inverse_prm, ("gamma",), ("q",), "next"),
    "lookahead": Objective(lookahead, ("head",), ("q", "v")),
}
