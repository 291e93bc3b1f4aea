"""What the scripted players of Avalon make of what all have seen: weights on who is evil.

Every set of players that may be evil has a weight, from quests, votes and talk alike; a player's
view is the weights of the sets that agree with what its role knows. The likelihoods are rules of
thumb of ours; a fail card is proof, the rest is a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

from pgv_jax.tasks.avalon.rules import (
    EVIL,
    REJECTIONS,
    Proposal,
    Quest,
    Role,
    Setup,
    knowledge,
)
from pgv_jax.tasks.avalon.talk import Claim

HIDES = 0.3
"""Chance that evil on a quest plays success."""

APPROVES = {"good": (0.45, 0.65), "evil": (0.65, 0.45)}
"""Chance that a side approves a team that can fail the quest, and one that cannot."""

ACCUSES = 0.65
"""Chance that what a good player says of another is right; evil says anything."""


@lru_cache(maxsize=8)
def _sets(players: int) -> np.ndarray:
    """[sets, players] 1.0 where a player is evil."""
    rows = list(combinations(range(players), EVIL[players]))
    table = np.zeros((len(rows), players))
    for row, seats in zip(table, rows, strict=True):
        row[list(seats)] = 1.0
    return table


class Evidence:
    """Weights of the sets of evil players, and who can rule out which by knowledge.

    What was seen is only noted; it is weighed when somebody asks.
    """

    __slots__ = ("_allowed", "_members", "_new", "_views", "_weights")

    def __init__(self, roles: Sequence[Role]):
        self._members = _sets(len(roles))
        self._weights = np.full(len(self._members), 1.0 / len(self._members))
        self._allowed = _allowed(tuple(roles))
        self._new: list[tuple[Setup, Proposal] | Quest | tuple[Claim, ...]] = []
        self._views: list[list[float]] | None = None

    def copy(self) -> Evidence:
        """A copy that changes by itself."""
        new = Evidence.__new__(Evidence)
        new._members, new._allowed, new._weights = self._members, self._allowed, self._weights
        new._new, new._views = list(self._new), self._views
        return new

    def see(self, event: tuple[Setup, Proposal] | Quest | tuple[Claim, ...]) -> None:
        """Note votes (with the setup), a quest, or what was said about a team."""
        self._new.append(event)
        self._views = None

    def suspicion(self) -> list[list[float]]:
        """[players + 1][players] chance that a player (second) is evil, as each player sees it.

        The last row is what somebody would think who knows nothing.
        """
        if self._views is None:
            for event in self._new:
                if isinstance(event, Quest):
                    self._weights = self._weights * self._from_quest(event)
                elif isinstance(event[0], Setup):
                    self._weights = self._weights * self._from_votes(*event)
                else:
                    self._weights = self._weights * self._from_talk(event)
            self._new = []
            self._weights = self._weights / self._weights.sum()
            views = self._allowed * self._weights
            views /= views.sum(1, keepdims=True)
            self._views = (views @ self._members).tolist()
        return self._views

    def _from_quest(self, quest: Quest) -> np.ndarray:
        """Fail cards come from evil players; evil may also play success."""
        on_team = self._on(quest.team)
        if quest.fails == 0:
            return np.where(on_team > 0, HIDES, 1.0)
        return np.where(on_team >= quest.fails, 1.0, 0.0)

    def _from_votes(self, setup: Setup, proposal: Proposal) -> np.ndarray:
        """Evil likes teams that can fail; votes on the last chance say nothing."""
        if proposal.attempt == REJECTIONS - 1:
            return np.ones(len(self._members))
        can_fail = self._on(proposal.team) >= setup.fails_needed(proposal.quest)
        good, evil = (np.where(can_fail, *APPROVES[side])[:, None] for side in ("good", "evil"))
        approves = np.where(self._members > 0, evil, good)
        return np.where(np.asarray(proposal.votes), approves, 1.0 - approves).prod(1)

    def _from_talk(self, said: Sequence[Claim]) -> np.ndarray:
        """Good players are more often right than wrong."""
        speakers = self._members[:, [claim.speaker for claim in said]]
        about = self._members[:, [claim.about for claim in said]]
        right = about == np.asarray([float(claim.against) for claim in said])
        chance = np.where(right, ACCUSES, 1.0 - ACCUSES)
        return np.where(speakers > 0, 0.5, chance).prod(1)

    def _on(self, team: Sequence[int]) -> np.ndarray:
        """[sets] how many of the team are evil."""
        return self._members[:, list(team)].sum(1)


@lru_cache(maxsize=4096)
def _allowed(roles: tuple[Role, ...]) -> np.ndarray:
    """[players + 1, sets] 1.0 where a set agrees with what a player knows; the last knows nothing.

    The roles are used for nothing else: what a player believes beyond its knowledge is public.
    """
    members = _sets(len(roles))
    rows = [_consistent(members, roles, seat) for seat in range(len(roles))]
    return np.stack([*rows, np.ones(len(members))])


def _consistent(members: np.ndarray, roles: Sequence[Role], seat: int) -> np.ndarray:
    """[sets] 1.0 where a set agrees with what the player at ``seat`` knows."""
    known = knowledge(roles, seat)
    if roles[seat].evil or roles[seat] is Role.MERLIN:
        evil = [*known.evil, seat] if roles[seat].evil else list(known.evil)
        return np.asarray(members[:, evil].all(1), float)
    fits = members[:, seat] == 0
    if known.maybe_merlin:  # one of two is Morgana; alone it is Merlin
        fits &= members[:, list(known.maybe_merlin)].sum(1) == len(known.maybe_merlin) - 1
    return np.asarray(fits, float)
