"""The Resistance: Avalon as a text environment: one seat is the agent's, the others are played.

The paper's setting (Hong et al. 2025, arXiv:2505.18098) is five players with the agent as Merlin.
The others are scripted players of adjustable skill, or a model (``voice``). What the agent's seat
may not know is in no observation, action, thought or info.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pgv_jax.errors import PgvError
from pgv_jax.tasks.avalon.game_table import Answer, Table, play_out
from pgv_jax.tasks.avalon.players import Player
from pgv_jax.tasks.avalon.rules import TO_WIN, Game, Phase, Setup
from pgv_jax.tasks.avalon.talk import Claim
from pgv_jax.tasks.avalon.thoughts import thought
from pgv_jax.tasks.avalon.words import (
    View,
    actions,
    in_words,
    note,
    task_text,
    understand,
    view_of,
)
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv
from pgv_jax.tasks.voice import Sheet, Voice, plain

ROLLOUTS = 24
"""Games that are played out for each action that the oracle is asked about."""


class AvalonEnv(TextEnv):
    """One seat at a table of Avalon; see ``pgv_jax.tasks.base`` for the conventions.

    A task fixes who has which role and who leads first; the seed of ``reset`` fixes the others'
    chance. ``role`` is a role's name or "any" (drawn a task). ``skill`` is the others' share of
    reasoned decisions. With a ``voice`` a model plays the others; an answer that cannot be read
    twice is decided by the script (``unreadable`` counts them). Success is that the agent's side
    wins; the score is 1 then, and else half the share of three quests that its side has won.
    """

    name: ClassVar[str] = "avalon"

    def __init__(
        self,
        players: int = 5,
        role: str = "merlin",
        percival: bool = False,
        morgana: bool = False,
        seat: int = 0,
        skill: float = 0.8,
        talk: bool = True,
        train: int = 500,
        test: int = 100,
        max_steps: int = 100,
        voice: Voice | None = None,
        prompts: Path | str | None = None,
    ):
        super().__init__()
        self.setup = Setup(players, percival, morgana)
        names = {str(r).lower(): r for r in self.setup.roles}
        if role.lower() not in {"any", *names}:
            raise PgvError(
                f"Role '{role}' is not in this game; use any or one of: {', '.join(names)}."
            )
        if not 0 <= seat < players:
            raise PgvError(f"Seat {seat} is not one of the {players} seats, 0 to {players - 1}.")
        if not 0.0 <= skill <= 1.0:
            raise PgvError(f"The others' skill is {skill}; it is a share from 0 to 1.")
        self.seat, self.skill, self.talk, self.max_steps = seat, skill, talk, max_steps
        self.role = names.get(role.lower())
        flags = "".join("+" + f for f, on in (("percival", percival), ("morgana", morgana)) if on)
        self._ids = {
            split: tuple(f"{players}p{flags}-{role.lower()}-{split}-{i:04d}" for i in range(count))
            for split, count in (("train", train), ("test", test))
        }
        self.voice, self.waits = voice, voice is not None
        self.unreadable = 0
        self._sheet = Sheet("avalon", "player", prompts) if voice else None
        self._table: Table | None = None
        self._task_id = ""
        self._start = 0
        self._rng = random.Random()
        self._steps = 0
        self._misunderstood = False
        self._over = False

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of the deals of one split, or of both."""
        if split is not None and split not in self._ids:
            raise PgvError(f"Split '{split}' has no games; use 'train' or 'test'.")
        return tuple(i for name in ([split] if split else self._ids) for i in self._ids[name])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Deal: ``options={"task": ID}``; without an id the seed draws one."""
        super().reset(seed=seed)
        self._task_id = self._choose_task(options)
        self._start = int(self.np_random.integers(2**31))
        self._rng = random.Random(f"avalon/{self._task_id}/{self._start}")
        self._table = Table(self._deal(), self.talk)
        self._steps, self._misunderstood, self._over = 0, False, False
        self._others()
        return self._observation(), self._info()

    def _deal(self) -> Game:
        """The roles and the first leader of the task, from its id alone."""
        rng = random.Random(f"avalon/{self._task_id}")
        roles = list(self.setup.roles)
        rng.shuffle(roles)
        if self.role is not None:
            roles.remove(self.role)
            roles.insert(self.seat, self.role)
        return Game(self.setup, roles, rng.randrange(self.setup.players))

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Decide for the agent's seat; the others then play until it is asked again.

        The reward is the gain in score, in [0, 1].
        """
        table = self._here()
        if self._over:
            raise PgvError("This game is over; call reset before the next step.")
        before, view = self._score(), view_of(table, self.seat)
        answer = understand(view, action)
        self._misunderstood = answer is None
        if answer is not None:
            if isinstance(answer, Claim):
                spoken = answer._replace(words=plain(answer.words, 200))
                answer = in_words(spoken, self._rng)
            table.answer(self.seat, answer)
            self._others()
        self._steps += 1
        ended = table.phase is Phase.OVER
        truncated = not ended and 0 < self.max_steps <= self._steps
        self._over = ended or truncated
        return self._observation(), self._score() - before, ended, truncated, self._info()

    def admissible_actions(self) -> list[str]:
        """What the agent's seat can decide, sorted. In talk, ``say WORDS`` is understood, too."""
        return sorted(actions(view_of(self._here(), self.seat)))

    def thought_for(self, action: str) -> str:
        """The reason for ``action`` in a sentence, from what the agent's seat may know."""
        return thought(view_of(self._here(), self.seat), action)

    def expert_action(self) -> str | None:
        """What a scripted player of skill 1 does here: good play, and not known to be the best."""
        table = self._here()
        if table.phase is Phase.OVER:
            return None
        rng = random.Random(f"expert/{self._task_id}/{self._start}/{self._steps}")
        answer = Player(1.0, rng)(table, self.seat)
        offered = actions(view_of(table, self.seat))
        return next(text for text, meaning in offered.items() if meaning == answer)

    def preferences(self, actions: Sequence[str]) -> list[float]:
        """Share of games won when scripted players finish them after each action: an oracle.

        It knows the hidden roles. All actions meet the same chance.
        """
        return [self._played_out(action) for action in actions]

    def snapshot(self) -> Any:
        """The present moment, with the others' chance."""
        state = (self._steps, self._misunderstood, self._over, self._start)
        return (self._task_id, self._here().copy(), self._rng.getstate(), state)

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of any game of this environment."""
        self._task_id, table, chance, state = snapshot
        self._table = table.copy()
        self._rng.setstate(chance)
        self._steps, self._misunderstood, self._over, self._start = state

    def _here(self) -> Table:
        if self._table is None:
            raise PgvError("No game has been started; call reset first.")
        return self._table

    def _others(self) -> None:
        """Let the others decide until the agent's seat is asked or the game is over."""
        table = self._here()
        while others := [seat for seat in table.asked if seat != self.seat]:
            table.answer(others[0], self._decide(table, others[0]))

    def _decide(self, table: Table, seat: int) -> Answer:
        answer = self._asked_of_model(table, seat) if self.voice else None
        if answer is None:
            answer = Player(self.skill, self._rng)(table, seat)
        return in_words(answer, self._rng) if isinstance(answer, Claim) else answer

    def _asked_of_model(self, table: Table, seat: int) -> Answer | None:
        """The model's decision for a seat, from that seat's own view; None if it is unreadable."""
        assert self.voice is not None and self._sheet is not None
        view = view_of(table, seat)
        messages = self._sheet.messages(
            task=task_text(view), note=note(view), actions="\n".join(sorted(actions(view)))
        )
        for _ in range(2):
            answer = understand(view, _action(self.voice(messages, self._rng.randrange(2**31))))
            if answer is not None:
                return answer
        self.unreadable += 1
        return None

    def _played_out(self, action: str) -> float:
        table = self._here()
        answer = understand(view_of(table, self.seat), action)
        if answer is None or table.phase is Phase.OVER:
            return 0.0
        won = 0
        for number in range(ROLLOUTS):
            rng = random.Random(f"oracle/{self._start}/{number}")
            copy = table.copy()
            copy.answer(self.seat, answer)
            play_out(copy, Player(self.skill, rng))
            won += copy.game.won is not view_of(copy, self.seat).role.evil
        return won / ROLLOUTS

    def _score(self) -> float:
        game = self._here().game
        good = not game.roles[self.seat].evil
        if game.won is not None and game.won == good:
            return 1.0
        return game.wins(good) / (2 * TO_WIN)

    def _observation(self) -> str:
        text = note(view_of(self._here(), self.seat))
        return f"{text} {NOT_UNDERSTOOD}" if self._misunderstood else text

    def _info(self) -> dict[str, Any]:
        view: View = view_of(self._here(), self.seat)
        score = self._score()
        return {
            "task_id": self._task_id,
            "task": task_text(view),
            "admissible_actions": sorted(actions(view)),
            "success": score == 1.0,
            "score": score,
        }


def _action(text: str) -> str:
    """The action in a model's answer: what follows the last "Action:", else its last line."""
    found = re.findall(r"(?im)^[\s*_>-]*action[\s*_]*:\s*(.+?)\s*$", text)
    lines = [line for line in text.splitlines() if line.strip()]
    return plain(str(found[-1] if found else lines[-1] if lines else ""), 250).strip("*_`\"' ")
