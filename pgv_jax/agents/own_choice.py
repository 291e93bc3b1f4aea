"""The model's own judgement of its proposals, in one question: what a critic must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pgv_jax.agents.prompt import Answer, Prompt, ask_unless_refused, object_in
from pgv_jax.agents.rating import Rating
from pgv_jax.llm.client import Client, object_schema
from pgv_jax.types import Candidate

if TYPE_CHECKING:
    from pgv_jax.agents.agent import View

PROMPT = "own_choice"


@dataclass(frozen=True, slots=True)
class OwnChoice:
    """Asks which of the proposed actions is best; without a readable answer the first one is."""

    client: Client
    prompt: Prompt = field(default_factory=lambda: Prompt.load(PROMPT))
    temperature: float = 0.0
    max_tokens: int = 256
    name: ClassVar[str] = PROMPT

    async def rate(
        self, view: View, candidates: Sequence[Candidate], goals: Sequence[str]
    ) -> Rating:
        """1 for the candidate that the model names, 0 for the others, whatever the goals.

        Raises ClientError for what would hit every request (key, budget, host).
        """
        actions = list(dict.fromkeys(c.action or c.thought for c in candidates))
        one: Answer[str] = Answer(actions[0], (), 0)
        answer = await self._ask(view, actions) if len(actions) > 1 else one
        chosen = actions[0] if answer.value is None else answer.value
        said_N = np.asarray([float((c.action or c.thought) == chosen) for c in candidates])
        about = {"action": answer.value, "malformed": answer.malformed}
        return Rating(
            tuple(candidates), np.tile(said_N[:, None], len(goals)), answer.completions, about
        )

    async def _ask(self, view: View, actions: list[str]) -> Answer[str]:
        messages = self.prompt.messages(
            task=view.told,
            observation=view.observation,
            steps="\n".join(f"- {action}" for action in actions),
        )
        return await ask_unless_refused(
            self.client,
            messages,
            lambda text: read_choice(text, actions),
            seed=view.seed,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            form=object_schema("own_choice", {"action": {"type": "string", "enum": actions}}),
        )


def read_choice(text: str, actions: Sequence[str]) -> str | None:
    """The action that an answer names; None where it names none of them."""
    found = object_in(text)
    action = found.get("action") if found else None
    return action if action in actions else None
