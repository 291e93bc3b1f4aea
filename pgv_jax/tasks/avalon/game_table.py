"""A table where Avalon is played: the rules, the talk, and what all have seen.

``Table.asked`` says whose decision is awaited; ``Table.answer`` takes it. Votes and cards are given
one by one and laid open together. ``play_out`` lets scripted players finish a game.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import cast

from pgv_jax.errors import PgvError
from pgv_jax.tasks.avalon.belief import Evidence
from pgv_jax.tasks.avalon.rules import Game, Phase, Role, Setup
from pgv_jax.tasks.avalon.talk import Claim

Answer = tuple[int, ...] | Claim | bool | int
"""A team, a claim, a vote or card, a seat: by the phase."""

Decide = Callable[["Table", int], Answer]
"""Who decides for a seat."""


class Table:
    """A game under way, with talk before each vote where ``talk`` is on."""

    __slots__ = ("_given", "_waiting", "claims", "evidence", "game", "phase", "said", "talk")

    def __init__(self, game: Game, talk: bool = True):
        self.game = game
        self.talk = talk
        self.evidence = Evidence(game.roles)
        self.said: list[Claim] = []
        """The talk about the present team."""
        self.claims: list[Claim] = []
        """What was said before, without what said nothing."""
        self.phase = Phase.PROPOSE
        self._given: dict[int, Answer] = {}
        self._waiting: list[int] = [game.leader]

    def copy(self) -> Table:
        """A copy that can be played on by itself."""
        new = Table.__new__(Table)
        new.game, new.evidence = self.game.copy(), self.evidence.copy()
        new.talk, new.phase = self.talk, self.phase
        new.said, new.claims = list(self.said), list(self.claims)
        new._given, new._waiting = dict(self._given), list(self._waiting)
        return new

    @property
    def asked(self) -> tuple[int, ...]:
        """The seats that decide now, in any order; in talk one after the other. () at the end."""
        return tuple(self._waiting[:1] if self.phase is Phase.TALK else self._waiting)

    def answer(self, seat: int, answer: Answer) -> None:
        """Take the decision of one of the seats that are asked."""
        if seat not in self.asked:
            raise PgvError(f"Player {seat} is not asked now; asked are {list(self.asked)}.")
        game = self.game
        if self.phase is Phase.PROPOSE:
            game.propose(cast("tuple[int, ...]", answer))
            self._begin(Phase.TALK if self.talk else Phase.VOTE)
            return
        if self.phase is Phase.ASSASSINATE:
            game.assassinate(cast(int, answer))
            self._begin(Phase.OVER)
            return
        if self.phase is Phase.TALK:
            self.said.append(cast(Claim, answer))
        if self.phase is Phase.QUEST and not answer and not game.roles[seat].evil:
            raise PgvError(f"Player {seat} is good and cannot play a fail card.")
        self._given[seat] = answer
        self._waiting.remove(seat)
        if not self._waiting:
            self._close()

    def _close(self) -> None:
        """All have answered: lay it open and go on."""
        game, given = self.game, self._given
        if self.phase is Phase.TALK:
            told = tuple(claim for claim in self.said if claim.about >= 0)
            if told:
                self.evidence.see(told)
            self._begin(Phase.VOTE)
        elif self.phase is Phase.VOTE:
            game.vote([bool(given[seat]) for seat in range(game.setup.players)])
            self.evidence.see((game.setup, game.proposals[-1]))
            self.claims += [claim for claim in self.said if claim.about >= 0]
            self.said = []
            self._begin(game.phase)
        else:
            game.play([bool(given.get(seat, True)) for seat in game.team])
            self.evidence.see(game.quests[-1])
            self._begin(game.phase)

    def _begin(self, phase: Phase) -> None:
        game, players = self.game, self.game.setup.players
        self.phase, self._given = phase, {}
        if phase is Phase.PROPOSE:
            self._waiting = [game.leader]
        elif phase is Phase.TALK:  # the leader speaks first
            self._waiting = [(game.leader + i) % players for i in range(players)]
        elif phase is Phase.VOTE:
            self._waiting = list(range(players))
        elif phase is Phase.QUEST:  # good has no choice
            self._waiting = [seat for seat in game.team if game.roles[seat].evil]
            if not self._waiting:
                self._close()
        elif phase is Phase.ASSASSINATE:
            self._waiting = [game.roles.index(Role.ASSASSIN)]
        else:
            self._waiting = []


def play_out(table: Table, decide: Decide | Sequence[Decide]) -> Table:
    """Let ``decide`` (one for all, or one a seat) answer until the game is over."""
    while table.asked:
        for seat in table.asked:
            chosen = decide if callable(decide) else decide[seat]
            table.answer(seat, chosen(table, seat))
    return table


def new_table(setup: Setup, rng: random.Random, talk: bool = True) -> Table:
    """A table with roles and the first leader drawn."""
    return Table(Game(setup, setup.deal(rng), rng.randrange(setup.players)), talk)
