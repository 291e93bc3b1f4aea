"""Persuasion as a text environment: talk a partner into giving to a charity.

The paper's task (Hong et al. 2025, arXiv:2505.18098) after Persuasion for Good (Wang et al. 2019,
arXiv:1906.06725): at most ten rounds, a donation of 0 to 2 dollars. The persuadee is a model
(``voice``) or, offline, a scripted one that tests the machinery and says nothing about people.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv
from pgv_jax.tasks.persuasion.moves import END, sayings
from pgv_jax.tasks.persuasion.persuadee import (
    MOST,
    ModelPartner,
    Partner,
    ScriptedPartner,
    gift,
)
from pgv_jax.tasks.persuasion.words import TASK, Turns, note, number, thought
from pgv_jax.tasks.voice import Voice, plain

LONGEST = 600
"""Characters of a remark; what is beyond is not heard."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """All that a step changes; also what a snapshot holds."""

    task_id: str
    seed: int
    turns: Turns
    steps: int = 0
    misunderstood: bool = False
    donation: float | None = None
    truncated: bool = False

    @property
    def talk(self) -> list[tuple[str, str]]:
        """(remark, answer) of every round."""
        answers = (reply.text for reply in self.turns.replies[1:])
        return list(zip(self.turns.said, answers, strict=True))


class PersuasionEnv(TextEnv):
    """A talk; see ``pgv_jax.tasks.base`` for the conventions.

    An action is what the persuader says: any words. Offered are remarks of every kind, and "end the
    talk"; ``offer=False`` offers nothing, for agents with words of their own. A task is a scripted
    persuadee's character; with a ``voice`` a model plays the persuadee and the task is only a
    number. The score is the donation over two dollars, paid as reward at the end; success is any
    donation. An empty remark is not understood; ``2 * rounds`` steps truncate.
    """

    name: ClassVar[str] = "persuasion"

    def __init__(
        self,
        rounds: int = 10,
        train: int = 500,
        test: int = 100,
        offer: bool = True,
        voice: Voice | None = None,
        prompts: Path | str | None = None,
    ):
        super().__init__()
        if rounds < 1:
            raise PgvError(f"A talk of {rounds} rounds was asked for; it needs at least 1.")
        self.rounds, self.offer, self.voice, self.prompts = rounds, offer, voice, prompts
        self.waits = voice is not None
        self._ids = {
            split: tuple(f"persuadee-{split}-{i:04d}" for i in range(count))
            for split, count in (("train", train), ("test", test))
        }
        self._partner: Partner | None = None
        self._moment: _Moment | None = None
        self.unreadable = 0
        """Donations that a model did not name in a readable way; they count as 0."""

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of the persuadees of one split, or of both."""
        if split is not None and split not in self._ids:
            raise PgvError(f"Split '{split}' has no talks; use 'train' or 'test'.")
        return tuple(i for name in ([split] if split else self._ids) for i in self._ids[name])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Meet a persuadee: ``options={"task": ID}``; without an id the seed draws one."""
        super().reset(seed=seed)
        task_id = self._choose_task(options)
        start = int(self.np_random.integers(2**31))
        self._partner = self._meet(task_id, start)
        turns = Turns(self.rounds, (), (self._partner.greet(),))
        self._moment = _Moment(task_id, start, turns)
        return self._observation(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say something; the reward is the score, at the end."""
        partner, moment = self._here()
        if moment.turns.over or moment.truncated:
            raise PgvError("This talk is over; call reset before the next step.")
        said = plain(action, LONGEST)
        turns, steps = moment.turns, moment.steps + 1
        ends = said.lower().rstrip(".") == END
        if said and not ends:
            reply = partner.answer(moment.talk, said)
            turns = replace(turns, said=(*turns.said, said), replies=(*turns.replies, reply))
            ends = reply.leaves or len(turns.said) >= self.rounds
        turns = replace(turns, over=ends)
        moment = replace(moment, turns=turns, steps=steps, misunderstood=not said)
        if ends:
            moment = replace(moment, donation=self._donation(moment))
        truncated = not ends and steps >= 2 * self.rounds
        self._moment = replace(moment, truncated=truncated)
        info = self._info()
        return self._observation(), float(info["score"]) if ends else 0.0, ends, truncated, info

    def admissible_actions(self) -> list[str]:
        """One remark of every kind and the end of the talk, sorted; the wording changes by round.

        Nothing with ``offer=False``, and nothing when the talk is over.
        """
        moment = self._here()[1]
        if not self.offer or moment.turns.over:
            return []
        rng = random.Random(f"offer/{moment.task_id}/{len(moment.turns.said)}")
        return sorted([END, *(rng.choice(lines) for lines in sayings("moves").values())])

    def thought_for(self, action: str) -> str:
        """The reason for ``action`` in a sentence, from what both have said."""
        return thought(self._here()[1].turns, action)

    def preferences(self, actions: Sequence[str]) -> list[float] | None:
        """How well each remark leaves the scripted persuadee disposed, in [0, 1]; None for a model.

        It knows the persona and looks one remark ahead: a remark that ends the talk is worth the
        donation over two dollars, any other a mark made of will, warmth and strain.
        """
        partner, moment = self._here()
        if not isinstance(partner, ScriptedPartner):
            return None
        return [self._value(partner, moment, plain(action, LONGEST)) for action in actions]

    def expert_action(self) -> str | None:
        """The offered remark that ``preferences`` puts first; None for a model."""
        offered = self.admissible_actions()
        scores = self.preferences(offered)
        if not offered or scores is None:
            return None
        return offered[max(range(len(offered)), key=lambda i: (scores[i], offered[i]))]

    def correct(self, action: str) -> bool | None:
        """Whether a remark raises the scripted persuadee's will; None for a model."""
        partner, moment = self._here()
        said = plain(action, LONGEST)
        if not isinstance(partner, ScriptedPartner):
            return None
        if not said or said.lower().rstrip(".") == END or moment.turns.over:
            return False
        talk = moment.talk
        return partner.after(talk, said).will > partner.mind(talk).will

    def snapshot(self) -> Any:
        """The present moment."""
        return self._here()[1]

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of any talk of this environment."""
        assert isinstance(snapshot, _Moment)
        self._partner = self._meet(snapshot.task_id, snapshot.seed)
        self._moment = snapshot

    def _here(self) -> tuple[Partner, _Moment]:
        if self._partner is None or self._moment is None:
            raise PgvError("No talk has been started; call reset first.")
        return self._partner, self._moment

    def _meet(self, task_id: str, seed: int) -> Partner:
        if self.voice is None:
            return ScriptedPartner(task_id, seed)
        own = random.Random(f"{task_id}/{seed}").randrange(2**31)  # two tasks are two persuadees
        return ModelPartner(self.voice, own, self.rounds, self.prompts)

    def _donation(self, moment: _Moment) -> float:
        partner = self._here()[0]
        dollars = partner.donation(moment.talk)
        if isinstance(partner, ModelPartner):
            self.unreadable += partner.unreadable
        return dollars

    def _value(self, partner: ScriptedPartner, moment: _Moment, said: str) -> float:
        """The mark of a remark; see ``preferences``."""
        talk, persona = moment.talk, partner.persona
        if not said or said.lower().rstrip(".") == END:
            mind = partner.mind(talk)
            return gift(persona, mind) / MOST if said else 0.0
        mind = partner.after(talk, said)
        last = len(talk) + 1 >= self.rounds
        if last or "leaves" in mind.acts:
            return gift(persona, mind) / MOST
        # by hand: warmth makes later reasons count more, strain brings the end nearer
        above = (mind.will + 0.15 * mind.warmth + 0.02 * mind.asked + 0.5) / 2.0
        return max(0.0, min(1.0, above - 0.2 * (mind.strain > 0)))

    def _observation(self) -> str:
        moment = self._here()[1]
        text = note(moment.turns)
        return f"{text} {NOT_UNDERSTOOD}" if moment.misunderstood else text

    def _info(self) -> dict[str, Any]:
        moment = self._here()[1]
        dollars = moment.donation or 0.0
        return {
            "task_id": moment.task_id,
            "task": TASK.format(rounds=number(self.rounds)),
            "admissible_actions": self.admissible_actions(),
            "success": dollars > 0,
            "score": dollars / MOST,
        }
