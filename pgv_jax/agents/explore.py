"""Random moves among a model's own: its logs then hold more than what it does anyway."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pgv_jax.agents.agent import Decider, Decision, View
from pgv_jax.types import Candidate


@dataclass(frozen=True, slots=True)
class RandomMoves:
    """An agent that is not asked at a ``share`` of the steps: an action that is offered is drawn.

    Uniform, and by the step's seed alone, so that the same episode is played again. Such a step's
    metadata say ``random: true``. Its thought is its action, since nobody thought anything.
    """

    agent: Decider
    share: float

    async def decide(self, view: View) -> Decision:
        """Draw first; where nothing is offered, the agent is asked."""
        draw = random.Random(f"random/{view.seed}")
        if not view.admissible or draw.random() >= self.share:
            return await self.agent.decide(view)
        action = draw.choice(sorted(view.admissible))
        return Decision((Candidate(thought=action, action=action),), 0, (), "", {"random": True})
