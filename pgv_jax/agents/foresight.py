"""The model foresees the next note of each candidate, and the critic's V says what that is worth.

Beside ``critic.q=imagined``, whose next note is learned from logs: this needs a head V and no
training. Likelihoods compose as there: Q(s, a, g) = P(g next) + gamma (1 - P(end)) V(next, g).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from pgv_jax.agents.prompt import Answer, Prompt, ask_unless_refused, object_in
from pgv_jax.agents.rating import Rating
from pgv_jax.agents.search.tree import Discount, StateValues
from pgv_jax.llm.client import Client, object_schema
from pgv_jax.texts.templates import FAILURE, SUCCESS, sentences, step_text
from pgv_jax.types import Candidate

if TYPE_CHECKING:
    from pgv_jax.agents.agent import View

PROMPT = "next_note"
ENDS = ("none", "success", "failure")
FORM = object_schema("next_note", {"note": {"type": "string"}, "end": {"enum": list(ENDS)}})


class Foreseen(NamedTuple):
    """A next note in the model's words, and how the step ends the task ("none": it goes on)."""

    note: str
    end: str


@dataclass(frozen=True, slots=True)
class Foresight:
    """``v`` and ``discount`` are those of a critic with a head V.

    A candidate whose note cannot be had (two malformed answers, a refusal) is worth what the
    present note is worth a step later: nothing is known of what it changes.
    """

    client: Client
    v: StateValues
    discount: Discount
    prompt: Prompt = field(default_factory=lambda: Prompt.load(PROMPT))
    temperature: float = 0.0
    max_tokens: int = 256
    name: ClassVar[str] = "foresight"

    async def rate(
        self, view: View, candidates: Sequence[Candidate], goals: Sequence[str]
    ) -> Rating:
        """Foresee every candidate, all at once, and score it for each goal.

        Raises ClientError for what would hit every request (key, budget, host).
        """
        answers = await asyncio.gather(*(self._foresee(view, c) for c in candidates))
        notes = [answer.value for answer in answers]
        score_NG = self._scores(view, candidates, notes, goals)
        scored = [
            replace(c, scores=dict(zip(goals, map(float, row), strict=True)))
            for c, row in zip(candidates, score_NG, strict=True)
        ]
        completions = tuple(done for answer in answers for done in answer.completions)
        about = {
            "notes": [None if note is None else note._asdict() for note in notes],
            "malformed": sum(answer.malformed for answer in answers),
        }
        return Rating(tuple(scored), score_NG, completions, about)

    async def _foresee(self, view: View, candidate: Candidate) -> Answer[Foreseen]:
        messages = self.prompt.messages(
            task=view.told,
            observation=view.observation,
            step=step_text(candidate.thought, candidate.action, "both"),
        )
        return await ask_unless_refused(
            self.client,
            messages,
            read_note,
            seed=view.seed,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            form=FORM,
        )

    def _scores(
        self,
        view: View,
        candidates: Sequence[Candidate],
        notes: Sequence[Foreseen | None],
        goals: Sequence[str],
    ) -> np.ndarray:
        """Likelihoods of the goals: float [N, G]."""
        seen = [
            view.scored_observation if n is None else view.after(c, n.note)
            for c, n in zip(candidates, notes, strict=True)
        ]
        tasks = [view.task] * (len(seen) * len(goals))
        repeated = [text for text in seen for _ in goals]
        v_NG = np.asarray(self.v(tasks, repeated, list(goals) * len(seen)))
        gamma_G = np.asarray([self.discount(goal) for goal in goals])
        score_NG = v_NG.reshape(len(seen), len(goals)) * gamma_G
        for i, note in enumerate(notes):
            for j, goal in enumerate(goals if note is not None else ()):
                assert note is not None
                if (known := _known(note, goal)) is not None:
                    score_NG[i, j] = known
        return score_NG


def _known(note: Foreseen, goal: str) -> float | None:
    """1 or 0 where the note itself decides the goal; None where V must say."""
    if goal in (SUCCESS, FAILURE):
        if note.end == "none":
            return None
        return float((note.end == "success") == (goal == SUCCESS))
    if goal in sentences(note.note):
        return 1.0
    return None if note.end == "none" else 0.0


def read_note(text: str) -> Foreseen | None:
    """The model's answer; None for what is no JSON object of that form."""
    found = object_in(text)
    if found is None:
        return None
    note, end = found.get("note"), found.get("end")
    if not isinstance(note, str) or not note.strip() or end not in ENDS:
        return None
    return Foreseen(note.strip(), end)
