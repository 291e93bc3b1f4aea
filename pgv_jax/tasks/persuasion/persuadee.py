"""Whom the persuader talks to: a scripted persuadee, or a model that plays one.

The scripted one is a toy with a will, a resistance, tastes and a worry, drawn for each task. It is
there to test the machinery; it says nothing about how people are persuaded.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pgv_jax.tasks.persuasion.moves import APPEALS, kind_of, sayings
from pgv_jax.tasks.voice import Message, Sheet, Voice, plain

MOST = 2.0
"""Dollars that a persuadee has."""

WORRIES = ("trust", "facts", "small", "how")
"""The kinds of moves that answer a worry; a persuadee has one of them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a persuadee answers; ``acts`` is what a scripted one expresses, in its words' order."""

    text: str
    acts: tuple[str, ...] = ()
    leaves: bool = False


Talk = Sequence[tuple[str, str]]
"""(what the persuader said, what the persuadee answered), from the beginning."""


class Partner(Protocol):
    """A persuadee. It keeps no memory: everything it has heard is in the talk."""

    def greet(self) -> Reply:
        """The persuadee's first words."""
        ...

    def answer(self, talk: Talk, said: str) -> Reply:
        """What it answers to ``said`` after ``talk``."""
        ...

    def donation(self, talk: Talk) -> float:
        """Dollars that it gives when the talk has ended, from 0 to 2."""
        ...


@dataclass(frozen=True, slots=True)
class Persona:
    """A scripted persuadee, as drawn for a task."""

    resistance: float
    taste: dict[str, float]
    """What each kind of appeal does to the will."""
    worry: str
    patience: int
    """So often it lets itself be asked too early or pressed before it leaves."""

    @classmethod
    def draw(cls, task_id: str) -> Persona:
        """The persona of a task."""
        rng = random.Random(f"persuadee/{task_id}")
        taste = {kind: rng.uniform(0.02, 0.12) for kind in APPEALS}
        likes, dislikes = rng.sample(APPEALS, 2)
        taste[likes], taste[dislikes] = rng.uniform(0.22, 0.32), rng.uniform(-0.12, -0.04)
        return cls(rng.uniform(0.25, 0.65), taste, rng.choice(WORRIES), rng.randint(1, 3))


@dataclass(frozen=True, slots=True)
class Mind:
    """What a scripted persuadee has come to think."""

    will: float = 0.0
    warmth: float = 0.0
    heard: tuple[str, ...] = ()
    worry: str = "unspoken"
    """unspoken, open or settled"""
    strain: int = 0
    asked: bool = False
    acts: tuple[str, ...] = field(default=("hello",))
    """What it expresses now."""


def react(persona: Persona, mind: Mind, move: str) -> Mind:
    """The mind after a move. Deterministic: chance is in the words alone."""
    times = mind.heard.count(move)
    will, warmth, strain, acts = mind.will, mind.warmth, mind.strain, []
    asked = mind.asked or move in ("ask", "small")
    if move in ("chat", "question"):
        gain = 0.25 * 0.4**times
        warmth, will = min(1.0, warmth + gain), will + 0.04 * 0.4**times
        acts.append("again" if times > 1 else "friendly" if move == "chat" else "answers")
    elif move in APPEALS:
        step = persona.taste[move] * (0.7 + 0.5 * warmth) * 0.45**times
        will += step - 0.03 * (times > 1)
        acts.append("again" if times > 1 else _felt(persona.taste[move]))
    elif move in ("how", "small"):
        will += 0.04 * 0.4**times
        acts.append("again" if times > 1 else "mild")
    elif move == "pressure" or (move == "ask" and will < persona.resistance):
        will -= 0.12 if move == "pressure" else 0.04
        strain += 1
        acts.append("annoyed" if move == "pressure" else "unwilling")
    else:
        will += 0.03 * 0.3**times
        acts.append("willing")
    worry = mind.worry
    if worry == "open":
        if move == persona.worry:
            will, worry = will + 0.15, "settled"
            acts = ["settled"]
        elif move not in ("chat", "question"):
            will -= 0.02
    elif worry == "unspoken" and len(mind.heard) >= 1:
        worry = "open"
        acts.append(f"worry-{persona.worry}")
    if strain > persona.patience:
        acts = ["annoyed", "leaves"]
    return Mind(
        max(-0.5, min(1.0, will)), warmth, (*mind.heard, move), worry, strain, asked, tuple(acts)
    )


def gift(persona: Persona, mind: Mind) -> float:
    """Dollars: what the will has above the resistance, to ten cents; half of it if never asked."""
    above = (mind.will - 0.6 * persona.resistance) / (1.0 - persona.resistance)
    dollars = MOST * max(0.0, min(1.0, above)) * (1.0 if mind.asked else 0.5)
    return round(dollars, 1)


def _felt(taste: float) -> str:
    return "moved" if taste > 0.15 else "cold" if taste < 0 else "mild"


class ScriptedPartner:
    """The scripted persuadee of a task; ``seed`` picks its words."""

    def __init__(self, task_id: str, seed: int):
        self.persona = Persona.draw(task_id)
        self._seed = f"{task_id}/{seed}"

    def mind(self, talk: Talk) -> Mind:
        """What it thinks after ``talk``."""
        mind = Mind()
        for said, _ in talk:
            mind = react(self.persona, mind, kind_of(said))
        return mind

    def after(self, talk: Talk, said: str) -> Mind:
        """What it would think after one more remark."""
        return react(self.persona, self.mind(talk), kind_of(said))

    def greet(self) -> Reply:
        """A sceptical hello."""
        return self._in_words(Mind(), 0)

    def answer(self, talk: Talk, said: str) -> Reply:
        """Words for what it now thinks."""
        return self._in_words(self.after(talk, said), len(talk) + 1)

    def donation(self, talk: Talk) -> float:
        """By its will and resistance."""
        return gift(self.persona, self.mind(talk))

    def _in_words(self, mind: Mind, turn: int) -> Reply:
        rng = random.Random(f"{self._seed}/{turn}")
        words = [rng.choice(sayings("replies")[act]) for act in mind.acts]
        return Reply(" ".join(words), mind.acts, "leaves" in mind.acts)


class ModelPartner:
    """A persuadee played by a model, by the prompts ``persuadee`` and ``donation``."""

    def __init__(self, voice: Voice, seed: int, rounds: int, prompts: Path | str | None = None):
        self._voice, self._seed = voice, seed
        self._role = Sheet("persuasion", "persuadee", prompts).messages(rounds=rounds)
        self._verdict = Sheet("persuasion", "donation", prompts).messages()
        self.unreadable = 0

    def greet(self) -> Reply:
        """The persuader speaks first; the first words are fixed."""
        return Reply("Hello. I have not decided anything yet.")

    def answer(self, talk: Talk, said: str) -> Reply:
        """The model's answer, in plain text."""
        messages = [*self._so_far(talk), {"role": "user", "content": said}]
        text = plain(self._voice(messages, self._seed + len(talk)))
        return Reply(text or "I have nothing to say to that.")

    def donation(self, talk: Talk) -> float:
        """The model's own decision; 0, and counted, where it cannot be read twice."""
        messages = [*self._so_far(talk), {"role": "user", "content": self._verdict[0]["content"]}]
        for attempt in range(2):
            amount = dollars(self._voice(messages, self._seed + 1000 + attempt))
            if amount is not None:
                return amount
        self.unreadable += 1
        return 0.0

    def _so_far(self, talk: Talk) -> list[Message]:
        messages: list[Message] = [
            {"role": "system", "content": self._role[0]["content"]},
            {"role": "assistant", "content": self.greet().text},
        ]
        for said, answered in talk:
            messages.append({"role": "user", "content": said})
            messages.append({"role": "assistant", "content": answered})
        return messages


def dollars(text: str) -> float | None:
    """The amount in "Donation: $1.50", from 0 to 2; None where there is none."""
    found = re.findall(r"(?i)donation[^0-9\n-]*(\d+(?:\.\d+)?)", text)
    if not found:
        found = re.findall(r"\$\s*(\d+(?:\.\d+)?)", text)
    if not found:
        return None
    amount = float(found[-1])
    return round(amount, 2) if 0.0 <= amount <= MOST else None
