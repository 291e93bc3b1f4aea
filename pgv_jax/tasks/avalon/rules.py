"""The rules of The Resistance: Avalon, for 5 to 10 players, without words and without players.

Good wins when three quests succeed and the assassin does not name Merlin; evil wins when three
quests fail, when five teams in a row are rejected, or when the assassin names Merlin. Team sizes
and the two-fail rule are the published table (D. Eskridge, Indie Boards & Cards, 2012).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from pgv_jax.errors import PgvError

EVIL = {5: 2, 6: 2, 7: 3, 8: 3, 9: 3, 10: 4}
"""Players -> how many of them are evil."""

TEAM_SIZES = {
    5: (2, 3, 2, 3, 3),
    6: (2, 3, 4, 3, 4),
    7: (2, 3, 3, 4, 4),
    8: (3, 4, 4, 5, 5),
    9: (3, 4, 4, 5, 5),
    10: (3, 4, 4, 5, 5),
}
"""Players -> the size of the team of each quest."""

REJECTIONS = 5
"""So many teams rejected in a row lose the game for good."""

TO_WIN = 3
"""So many quests decide the game (good still has to survive the assassin)."""


class Role(StrEnum):
    """Who a player is."""

    MERLIN = "Merlin"
    PERCIVAL = "Percival"
    SERVANT = "Servant"
    ASSASSIN = "Assassin"
    MORGANA = "Morgana"
    MINION = "Minion"

    evil: bool
    """Whether the role is on the side of evil."""

    def __init__(self, word: str):
        self.evil = word in ("Assassin", "Morgana", "Minion")


class Phase(StrEnum):
    """What the players decide next. Talk is not part of the rules; a table adds it."""

    PROPOSE = "propose"
    TALK = "talk"
    VOTE = "vote"
    QUEST = "quest"
    ASSASSINATE = "assassinate"
    OVER = "over"


class Proposal(NamedTuple):
    """A team that was voted on; all of it is public."""

    quest: int
    attempt: int
    leader: int
    team: tuple[int, ...]
    votes: tuple[bool, ...]
    approved: bool


class Quest(NamedTuple):
    """A quest that was gone on; who played which card stays secret."""

    team: tuple[int, ...]
    fails: int
    success: bool


class Knowledge(NamedTuple):
    """What a role knows of the others at the start."""

    evil: tuple[int, ...] = ()
    maybe_merlin: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """How many play, and with which special roles."""

    players: int = 5
    percival: bool = False
    morgana: bool = False

    def __post_init__(self) -> None:
        if self.players not in EVIL:
            raise PgvError(f"Avalon is played by 5 to 10; {self.players} players were asked for.")

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles in play, good ones first."""
        evil = EVIL[self.players]
        good = [Role.MERLIN] + [Role.PERCIVAL] * self.percival
        good += [Role.SERVANT] * (self.players - evil - len(good))
        bad = [Role.ASSASSIN] + [Role.MORGANA] * self.morgana
        return (*good, *bad, *[Role.MINION] * (evil - len(bad)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The team size of each quest."""
        return TEAM_SIZES[self.players]

    def fails_needed(self, quest: int) -> int:
        """Fail cards that make quest ``quest`` (0 to 4) fail: two on the fourth with 7 or more."""
        return 2 if quest == 3 and self.players >= 7 else 1

    def deal(self, rng: random.Random) -> tuple[Role, ...]:
        """The roles by seat, shuffled."""
        roles = list(self.roles)
        rng.shuffle(roles)
        return tuple(roles)


def knowledge(roles: Sequence[Role], seat: int) -> Knowledge:
    """What the player at ``seat`` is shown: Merlin and evil see evil, Percival sees Merlin.

    Percival sees Merlin and Morgana without telling them apart.
    """
    return _knowledge(tuple(roles), seat)


@lru_cache(maxsize=4096)
def _knowledge(roles: tuple[Role, ...], seat: int) -> Knowledge:
    mine = roles[seat]
    if mine is Role.MERLIN or mine.evil:
        return Knowledge(evil=tuple(i for i, r in enumerate(roles) if r.evil and i != seat))
    if mine is Role.PERCIVAL:
        merlins = (Role.MERLIN, Role.MORGANA)
        return Knowledge(maybe_merlin=tuple(i for i, r in enumerate(roles) if r in merlins))
    return Knowledge()


class Game:
    """One game; each method is one joint move and raises PgvError where the rules forbid it."""

    __slots__ = (
        "attempt",
        "leader",
        "named",
        "phase",
        "proposals",
        "quests",
        "roles",
        "setup",
        "team",
        "won",
    )

    def __init__(self, setup: Setup, roles: Sequence[Role], leader: int = 0):
        if sorted(roles) != sorted(setup.roles):
            raise PgvError("The roles that were dealt are not those of the setup; use Setup.deal.")
        self.setup = setup
        self.roles = tuple(roles)
        self.leader = leader % setup.players
        self.phase = Phase.PROPOSE
        self.team: tuple[int, ...] = ()
        self.proposals: list[Proposal] = []
        self.quests: list[Quest] = []
        self.attempt = 0
        """How many teams of this quest were rejected."""
        self.named: int | None = None
        """Whom the assassin named."""
        self.won: bool | None = None
        """Whether good has won; None while the game lasts."""

    def copy(self) -> Game:
        """A copy that can be played on by itself."""
        new = Game.__new__(Game)
        for name in Game.__slots__:
            setattr(new, name, getattr(self, name))
        new.proposals, new.quests = list(self.proposals), list(self.quests)
        return new

    @property
    def quest(self) -> int:
        """The quest that is being decided, from 0."""
        return len(self.quests)

    @property
    def size(self) -> int:
        """The size that the team of this quest has to have."""
        return self.setup.sizes[self.quest]

    def wins(self, good: bool) -> int:
        """Quests that a side has won."""
        return sum(quest.success == good for quest in self.quests)

    def propose(self, team: Sequence[int]) -> None:
        """The leader names a team."""
        self._in(Phase.PROPOSE)
        chosen = tuple(sorted(set(team)))
        if len(chosen) != len(team) or len(chosen) != self.size:
            raise PgvError(f"A team of {self.size} different players is needed, not {list(team)}.")
        if not all(0 <= seat < self.setup.players for seat in chosen):
            raise PgvError(f"Team {list(team)} names a seat that nobody has.")
        self.team, self.phase = chosen, Phase.VOTE

    def vote(self, votes: Sequence[bool]) -> None:
        """All vote at once; a team needs more than half of the votes."""
        self._in(Phase.VOTE)
        if len(votes) != self.setup.players:
            raise PgvError(f"{len(votes)} votes were cast by {self.setup.players} players.")
        approved = 2 * sum(votes) > len(votes)
        self.proposals.append(
            Proposal(self.quest, self.attempt, self.leader, self.team, tuple(votes), approved)
        )
        self.leader = (self.leader + 1) % self.setup.players
        self.attempt = 0 if approved else self.attempt + 1
        if approved:
            self.phase = Phase.QUEST
        elif self.attempt == REJECTIONS:
            self._end(False)
        else:
            self.phase = Phase.PROPOSE

    def play(self, cards: Sequence[bool]) -> None:
        """The team plays its cards, in the order of ``team``; True is success."""
        self._in(Phase.QUEST)
        if len(cards) != len(self.team):
            raise PgvError(f"{len(cards)} cards were played by a team of {len(self.team)}.")
        for seat, card in zip(self.team, cards, strict=True):
            if not card and not self.roles[seat].evil:
                raise PgvError(f"Player {seat} is good and cannot play a fail card.")
        fails = len(cards) - sum(cards)
        success = fails < self.setup.fails_needed(self.quest)
        self.quests.append(Quest(self.team, fails, success))
        if self.wins(True) == TO_WIN:
            self.phase = Phase.ASSASSINATE
        elif self.wins(False) == TO_WIN:
            self._end(False)
        else:
            self.phase = Phase.PROPOSE

    def assassinate(self, target: int) -> None:
        """The assassin names whom it takes for Merlin."""
        self._in(Phase.ASSASSINATE)
        if not 0 <= target < self.setup.players or self.roles[target].evil:
            raise PgvError(f"Player {target} cannot be named; the assassin names a good player.")
        self.named = target
        self._end(self.roles[target] is not Role.MERLIN)

    def _in(self, phase: Phase) -> None:
        if self.phase is not phase:
            raise PgvError(f"The game is at '{self.phase}'; '{phase}' is not possible now.")

    def _end(self, good: bool) -> None:
        self.won, self.phase = good, Phase.OVER
