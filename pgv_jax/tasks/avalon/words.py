"""Avalon in words: what a seat may know (``View``), its note, its actions, and reasons for them.

A view is made of public events and of what the role is shown, and everything here is made from a
view: what is hidden from a seat cannot get into its text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import combinations

from pgv_jax.tasks.avalon.game_table import Answer, Table
from pgv_jax.tasks.avalon.rules import (
    EVIL,
    Knowledge,
    Phase,
    Proposal,
    Quest,
    Role,
    Setup,
    knowledge,
)
from pgv_jax.tasks.avalon.talk import Claim

NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gwen", "Hugo", "Iris", "Jack")
"""Names by seat."""

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("first", "second", "third", "fourth", "fifth")

DOUBTS = re.compile(
    r"\b(not|never|don't|doubt\w*|suspect\w*|suspicious|against|evil|bad|minion|assassin|lying|"
    r"lies|liar|spy|reject|distrust|wary|shady|fail\w*)\b",
    re.IGNORECASE,
)
"""Words that make a remark about somebody one against them."""

REMEMBERED = 8
"""So many earlier remarks stand in a note."""


@dataclass(frozen=True, slots=True)
class View:
    """What one seat may know."""

    setup: Setup
    seat: int
    role: Role
    known: Knowledge
    phase: Phase
    leader: int
    attempt: int
    team: tuple[int, ...]
    quests: tuple[Quest, ...]
    proposals: tuple[Proposal, ...]
    said: tuple[Claim, ...]
    claims: tuple[Claim, ...]
    named: int | None

    @property
    def others(self) -> list[int]:
        """The other seats, in order."""
        return [seat for seat in range(self.setup.players) if seat != self.seat]

    @property
    def quest(self) -> int:
        """The quest that is being decided, from 0."""
        return len(self.quests)

    @property
    def size(self) -> int:
        """The size that the team has to have."""
        return self.setup.sizes[min(self.quest, 4)]

    def wins(self, good: bool) -> int:
        """Quests that a side has won."""
        return sum(quest.success == good for quest in self.quests)

    def evil_on(self, team: Sequence[int]) -> list[int]:
        """Others on a team who are known to be evil."""
        return [seat for seat in team if seat in self.known.evil]

    def failed(self) -> set[int]:
        """Others who were on a quest that failed."""
        return {s for q in self.quests if not q.success for s in q.team if s != self.seat}

    def name(self, seat: int) -> str:
        """How a text for this seat calls a player: its own is "you"."""
        return "you" if seat == self.seat else NAMES[seat]

    def subject(self, seat: int) -> str:
        """``name`` at the start of a sentence."""
        return "You" if seat == self.seat else NAMES[seat]


def view_of(table: Table, seat: int) -> View:
    """What ``seat`` may know of the table."""
    game = table.game
    return View(
        setup=game.setup,
        seat=seat,
        role=game.roles[seat],
        known=knowledge(game.roles, seat),
        phase=table.phase,
        leader=game.leader,
        attempt=game.attempt,
        team=game.team if table.phase in (Phase.TALK, Phase.VOTE, Phase.QUEST) else (),
        quests=tuple(game.quests),
        proposals=tuple(game.proposals),
        said=tuple(table.said),
        claims=tuple(table.claims),
        named=game.named,
    )


def listed(words: Sequence[str]) -> str:
    """Ann, Bob and Cleo"""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def task_text(view: View) -> str:
    """The goal in words."""
    good = (
        "You have to help good win three quests, and the assassin must not name Merlin at the end."
    )
    evil = (
        "You have to help evil fail three quests, get five teams in a row rejected, or find Merlin."
    )
    players = COUNTS[view.setup.players]
    bad = COUNTS[EVIL[view.setup.players]]
    return (
        f"You are {view.role} in a game of Avalon with {players} players, {bad} of them evil. "
        f"{evil if view.role.evil else good}"
    )


_WAITS = {
    Phase.PROPOSE: "You have to propose a team of {size}.",
    Phase.TALK: "You have to speak about the team.",
    Phase.VOTE: "You have to vote on the team.",
    Phase.QUEST: "You have to play a quest card.",
    Phase.ASSASSINATE: "You have to name Merlin.",
    Phase.OVER: "The game is over.",
}


def note(view: View) -> str:
    """The progress note: one fact a sentence; what decides comes first."""
    name, subject = view.name, view.subject
    lines = [f"You are {view.role}.", _WAITS[view.phase].format(size=COUNTS[view.size])]
    lines += [f"{NAMES[seat]} is evil." for seat in view.known.evil]
    sure = "is" if len(view.known.maybe_merlin) == 1 else "may be"  # alone, it is not Morgana
    lines += [f"{NAMES[seat]} {sure} Merlin." for seat in view.known.maybe_merlin]
    for side, good in (("Good", True), ("Evil", False)):
        won = view.wins(good)
        lines.append(f"{side} has won {COUNTS[won]} quest{'' if won == 1 else 's'}.")
    if view.team:
        lines.append(f"The team is {listed([name(s) for s in view.team])}.")
    if view.phase is not Phase.OVER:
        if view.phase is not Phase.ASSASSINATE:
            lines.append("You lead." if view.leader == view.seat else f"{name(view.leader)} leads.")
        if view.attempt:
            were = "team was" if view.attempt == 1 else "teams were"
            lines.append(f"{COUNTS[view.attempt].capitalize()} {were} rejected in a row.")
        if view.quest < 5 and view.setup.fails_needed(view.quest) == 2:
            lines.append("This quest fails with two fail cards.")
    if view.named is not None:
        lines.append(f"The assassin named {name(view.named)}.")
    lines += [_spoken(view, claim) for claim in view.said if claim.words]
    for number, quest in enumerate(view.quests):
        which = f"The {ORDINALS[number]} quest"
        lines.append(f"{which} {'succeeded' if quest.success else 'failed'}.")
        lines.append(f"{which} had {listed([name(s) for s in quest.team])}.")
        if quest.fails:
            cards = "fail card" if quest.fails == 1 else "fail cards"
            lines.append(f"{which} had {COUNTS[quest.fails]} {cards}.")
    if view.proposals:
        last = view.proposals[-1]
        lines.append(f"The last team was {listed([name(s) for s in last.team])}.")
        for seat, vote in enumerate(last.votes):
            lines.append(f"{subject(seat)} {'approved' if vote else 'rejected'} the last team.")
    for claim in view.claims[-REMEMBERED:]:
        has = "have" if claim.speaker == view.seat else "has"
        side = "against" if claim.against else "for"
        lines.append(f"{subject(claim.speaker)} {has} spoken {side} {name(claim.about)}.")
    return " ".join(dict.fromkeys(lines))


def _spoken(view: View, claim: Claim) -> str:
    """Bob says: I do not trust you."""
    words = claim.words
    if claim.about == view.seat:
        words = re.sub(rf"\b{NAMES[view.seat]}\b is\b", "you are", words)
        words = re.sub(rf"\b{NAMES[view.seat]}\b has\b", "you have", words)
        words = re.sub(rf"\b{NAMES[view.seat]}\b", "you", words)
    verb = "say" if claim.speaker == view.seat else "says"
    return f"{view.subject(claim.speaker)} {verb}: {words[:1].upper()}{words[1:]}"


@lru_cache(maxsize=2)
def _templates(kind: str) -> tuple[str, ...]:
    text = files("pgv_jax.tasks.avalon").joinpath(f"data/{kind}.txt").read_text("utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def in_words(claim: Claim, rng: random.Random) -> Claim:
    """The claim with words from the templates, where it claims something and has none."""
    if claim.words or claim.about < 0:
        return claim
    words = rng.choice(_templates("against" if claim.against else "for"))
    return claim._replace(words=words.format(name=NAMES[claim.about]))


def hear(speaker: int, words: str, players: int) -> Claim:
    """What a free remark claims: the first player it names, for or against; its words are kept."""
    for clause in re.split(r"[.;!?]|\bbut\b", words):
        for about, name in enumerate(NAMES[:players]):
            if about != speaker and re.search(rf"\b{name}\b", clause, re.IGNORECASE):
                return Claim(speaker, about, bool(DOUBTS.search(clause)), words)
    return Claim(speaker, words=words)


def actions(view: View) -> dict[str, Answer]:
    """The actions that are offered to the seat, and what each means; empty where it has none."""
    if view.phase is Phase.PROPOSE:
        teams = combinations(range(view.setup.players), view.size)
        return {f"propose {listed([_me(view, s) for s in team])}": team for team in teams}
    if view.phase is Phase.TALK:
        offered: dict[str, Answer] = {"say nothing": Claim(view.seat)}
        for seat in view.others:
            offered[f"speak for {NAMES[seat]}"] = Claim(view.seat, seat)
            offered[f"speak against {NAMES[seat]}"] = Claim(view.seat, seat, against=True)
        return offered
    if view.phase is Phase.VOTE:
        return {"approve": True, "reject": False}
    if view.phase is Phase.QUEST:
        return {"play success": True, "play fail": False}
    if view.phase is Phase.ASSASSINATE:
        return {f"name {NAMES[s]}": s for s in view.others if s not in view.known.evil}
    return {}


def _me(view: View, seat: int) -> str:
    return "me" if seat == view.seat else NAMES[seat]


def understand(view: View, action: str) -> Answer | None:
    """What an action's text means: an offered one in any case, a team in any order, a remark."""
    words = " ".join(action.split())
    lower = words.lower().rstrip(".!")
    offered = {text.lower(): answer for text, answer in actions(view).items()}
    if lower in offered:
        return offered[lower]
    if view.phase is Phase.TALK and lower.startswith("say ") and len(lower) > 4:
        return hear(view.seat, words[4:].strip(" \"'"), view.setup.players)
    if view.phase is Phase.PROPOSE and lower.startswith("propose "):
        seats = {name.lower(): seat for seat, name in enumerate(NAMES[: view.setup.players])}
        seats |= {"me": view.seat, "you": view.seat, "myself": view.seat}
        named = [w for w in re.findall(r"[a-z]+", lower.removeprefix("propose ")) if w in seats]
        team = tuple(sorted({seats[word] for word in named}))
        return team if len(team) == len(named) == view.size else None
    return None
