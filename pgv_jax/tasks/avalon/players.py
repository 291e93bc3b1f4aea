"""Scripted players of Avalon of adjustable skill.

With probability ``skill`` a player does what its rules say, else anything that the rules of the
game allow. Its rules see what its seat may see: public events and what its role knows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from pgv_jax.tasks.avalon.game_table import Answer, Table
from pgv_jax.tasks.avalon.rules import REJECTIONS, TO_WIN, Phase, Role, knowledge
from pgv_jax.tasks.avalon.talk import Claim

MARGIN = 0.35
"""A good player approves a team that is this much (in expected evil players) above its best."""

SLACK = 3.0
"""Merlin hides while the others' lead in seeming to know is smaller than this."""

PIVOT = 1.5
"""Merlin's vote may decide while the others' likely votes are this near to a tie."""

BLUFF = 0.35
"""Chance that a hiding Merlin votes against the truth where its vote may decide, too."""

SURE = 0.55
"""Suspicion from which on a player speaks against somebody."""


@dataclass(slots=True)
class Player:
    """A scripted player; ``Player(...)(table, seat)`` is its decision."""

    skill: float = 1.0
    rng: random.Random = field(default_factory=random.Random)

    def __call__(self, table: Table, seat: int) -> Answer:
        """Decide for ``seat``, which has to be one of those that are asked."""
        if self.skill < 1.0 and self.rng.random() >= self.skill:
            return _anything(table, seat, self.rng)
        return _RULES[table.phase](table, seat, self.rng)


def legal(table: Table, seat: int) -> list[Answer]:
    """Everything that the rules allow ``seat`` to answer now."""
    game, players = table.game, table.game.setup.players
    if table.phase is Phase.PROPOSE:
        return list(combinations(range(players), game.size))
    if table.phase is Phase.TALK:
        others = [about for about in range(players) if about != seat]
        claims = [Claim(seat, about, against) for about in others for against in (False, True)]
        return [Claim(seat), *claims]
    if table.phase is Phase.ASSASSINATE:
        return [target for target in range(players) if not game.roles[target].evil]
    return [True, False]


def _anything(table: Table, seat: int, rng: random.Random) -> Answer:
    """One of ``legal``, each as likely."""
    if table.phase is Phase.PROPOSE:
        return tuple(sorted(rng.sample(range(table.game.setup.players), table.game.size)))
    return rng.choice(legal(table, seat))


def _allies(table: Table, seat: int) -> set[int]:
    """The evil players, as an evil player knows them."""
    return {seat, *knowledge(table.game.roles, seat).evil}


def _least(scores: Sequence[float], seats: list[int], count: int, rng: random.Random) -> list[int]:
    """The ``count`` seats with the lowest scores; ties by chance."""
    if not count:
        return []
    chance = rng.random
    return sorted(seats, key=lambda seat: (round(scores[seat], 9), chance()))[:count]


def _most(scores: Sequence[float], seats: list[int], rng: random.Random) -> int:
    """The seat with the highest score; ties by chance."""
    return _least([-score for score in scores], seats, 1, rng)[0]


def _propose(table: Table, seat: int, rng: random.Random) -> Answer:
    """Oneself and those whom one trusts; evil brings just as many of its own as it needs."""
    game, suspicion = table.game, table.evidence.suspicion()
    others = [other for other in range(game.setup.players) if other != seat]
    if not game.roles[seat].evil:
        chosen = _least(suspicion[seat], others, game.size - 1, rng)
    else:
        allies, need = _allies(table, seat), game.setup.fails_needed(game.quest) - 1
        mates = _least(suspicion[-1], [o for o in others if o in allies], need, rng)
        rest = [o for o in others if o not in allies]
        chosen = mates + _least(suspicion[-1], rest, game.size - 1 - len(mates), rng)
    return tuple(sorted([seat, *chosen]))


def _vote(table: Table, seat: int, rng: random.Random) -> Answer:
    game = table.game
    last = game.attempt == REJECTIONS - 1
    if game.roles[seat].evil:
        if last:
            return False
        allies = _allies(table, seat)
        can_fail = len(allies & set(game.team)) >= game.setup.fails_needed(game.quest)
        return can_fail or (game.quest == 0 and rng.random() < 0.5)
    if last:
        return True
    if game.roles[seat] is Role.MERLIN:
        return _merlin_votes(table, seat, rng)
    return _approves(table, seat, table.evidence.suspicion()[seat])


def _approves(table: Table, seat: int, suspicion: Sequence[float]) -> bool:
    """Whether the team is about as good as one that ``seat`` would choose."""
    row = list(suspicion)
    row[seat] = 0.0
    best = sum(sorted(row)[: table.game.size])
    return sum(row[member] for member in table.game.team) <= best + MARGIN


def _merlin_votes(table: Table, seat: int, rng: random.Random) -> bool:
    """The truth where it decides, and against it where Merlin would be found and it does not."""
    game, public = table.game, table.evidence.suspicion()[-1]
    evil = set(knowledge(game.roles, seat).evil)
    can_fail = len(evil & set(game.team)) >= game.setup.fails_needed(game.quest)
    if not _hides(table, seat):
        return not can_fail
    others = [other for other in range(game.setup.players) if other != seat]
    likely = sum(can_fail if o in evil else _approves(table, o, public) for o in others)
    decides = abs(likely - game.setup.players / 2 + 0.5) < PIVOT
    return not can_fail if decides and rng.random() >= BLUFF else can_fail


def _quest(table: Table, seat: int, rng: random.Random) -> Answer:
    """Evil fails with as few cards as it takes, and sometimes hides on the first quest."""
    game = table.game
    need = game.setup.fails_needed(game.quest)
    evil = sorted(_allies(table, seat) & set(game.team))
    if len(evil) < need or seat not in evil[:need]:
        return True
    decisive = TO_WIN - 1 in (game.wins(True), game.wins(False))
    return not decisive and game.quest == 0 and rng.random() < 0.5


def exposure(table: Table, evil: set[int]) -> list[float]:
    """By seat, how much its votes, teams and words agreed with who is evil: public but for that."""
    knew = [0.0] * table.game.setup.players
    for proposal in table.game.proposals:
        bad = bool(evil & set(proposal.team))
        if proposal.attempt < REJECTIONS - 1:
            for seat, vote in enumerate(proposal.votes):
                knew[seat] += 1.0 if vote != bad else -1.0
        knew[proposal.leader] += -2.0 if bad else 1.0
    for claim in table.claims:
        right = claim.against == (claim.about in evil)
        knew[claim.speaker] += (1.5 if claim.against else 0.5) * (1.0 if right else -1.0)
    return knew


def _hides(table: Table, seat: int) -> bool:
    """Whether Merlin had better act like somebody who knows nothing: it would be found, as it is.

    On the first quest always; never when one more failed quest loses the game.
    """
    game = table.game
    if game.roles[seat] is not Role.MERLIN or game.wins(False) == TO_WIN - 1:
        return False
    evil = set(knowledge(game.roles, seat).evil)
    knew = exposure(table, evil)
    others = [knew[o] for o in range(game.setup.players) if o != seat and o not in evil]
    return game.quest == 0 or knew[seat] >= max(others) - SLACK


def _assassinate(table: Table, seat: int, rng: random.Random) -> Answer:
    """Name the good player whose votes, teams and words knew most."""
    allies = _allies(table, seat)
    good = [other for other in range(table.game.setup.players) if other not in allies]
    return _most(exposure(table, allies), good, rng)


def _talk(table: Table, seat: int, rng: random.Random) -> Answer:
    """Good says what it has come to believe; evil sows doubt. Merlin speaks as the others would."""
    game, suspicion = table.game, table.evidence.suspicion()
    others = [other for other in range(game.setup.players) if other != seat]
    if game.roles[seat].evil:
        allies, chance = _allies(table, seat), rng.random()
        if chance < 0.4:
            good = [other for other in others if other not in allies]
            return Claim(seat, _most(suspicion[-1], good, rng), against=True)
        mates = [ally for ally in sorted(allies - {seat}) if ally in game.team]
        return Claim(seat, rng.choice(mates)) if mates and chance < 0.6 else Claim(seat)
    row = suspicion[seat]
    if _hides(table, seat):
        row = suspicion[-1]
    elif game.roles[seat] is Role.MERLIN:
        # what it knows, where the others begin to see it themselves
        public = suspicion[-1]
        usual = sum(public) / len(public) + 0.1
        row = [mine if seen > usual else 0.5 for mine, seen in zip(row, public, strict=True)]
    worst = _most(row, others, rng)
    if row[worst] >= SURE:
        return Claim(seat, worst, against=True)
    best = _least(row, others, 1, rng)[0]
    return Claim(seat, best) if row[best] <= 1 - SURE - 0.2 else Claim(seat)


_RULES = {
    Phase.PROPOSE: _propose,
    Phase.TALK: _talk,
    Phase.VOTE: _vote,
    Phase.QUEST: _quest,
    Phase.ASSASSINATE: _assassinate,
}
