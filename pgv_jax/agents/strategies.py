"""The strategies by name: what picks among the proposals, and whether the pick is refined.

``GuidedAgent`` wraps an ``Agent`` and is used in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pgv_jax.agents.agent import Agent, Decision, View
from pgv_jax.agents.refine import Refiner
from pgv_jax.errors import PgvError


class Strategy(NamedTuple):
    """``selector`` picks among the candidates (``select.SELECTORS``); ``refined``: then refine.

    ``search`` names an algorithm of ``search.tree.ALGORITHMS`` that looks ahead instead.
    """

    selector: str
    several: bool
    refined: bool
    search: str = ""


STRATEGIES: dict[str, Strategy] = {
    "react": Strategy("first", several=False, refined=False),
    "proposals": Strategy("first", several=True, refined=False),
    "best-of-n": Strategy("critic", several=True, refined=False),
    "refine": Strategy("first", several=False, refined=True),
    "propose-and-refine": Strategy("critic", several=True, refined=True),
    "greedy-search": Strategy("critic", several=True, refined=False, search="greedy"),
    "bfs": Strategy("critic", several=True, refined=False, search="bfs"),
    "mcts": Strategy("critic", several=True, refined=False, search="mcts"),
}
"""Name in a config -> what it does. Controls are options of these, not strategies of their own."""


def strategy(name: str) -> Strategy:
    """The strategy of that name."""
    if name not in STRATEGIES:
        raise PgvError(f"Strategy '{name}' is unknown; use one of: {', '.join(STRATEGIES)}.")
    return STRATEGIES[name]


@dataclass(slots=True)
class GuidedAgent:
    """An agent whose choice is refined before it acts; all candidates stay in the record."""

    agent: Agent
    refiner: Refiner
    decisions: int = field(default=0)

    async def decide(self, view: View) -> Decision:
        """Propose, select, refine; a rewritten thought joins the candidates as the chosen one."""
        decision = await self.agent.decide(view)
        if decision.error:  # nothing came that could be refined
            return decision
        refinement = await self.refiner.refine(view, decision.chosen)
        self.decisions += 1
        candidates, index = decision.candidates, decision.index
        if refinement.outcome == "rewritten":
            correct = self.agent.correct
            refined = refinement.candidate
            if correct is not None:
                refined = replace(refined, correct=correct(refined.action))
            candidates, index = (*candidates, refined), len(candidates)
        completions = (*decision.completions, *refinement.completions)
        about = {**decision.metadata, "refinement": refinement.to_json()}
        return Decision(candidates, index, completions, decision.error, about, decision.proposals)
