"""Reasons for actions in Avalon: truthful sentences from what a seat may know and the action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pgv_jax.tasks.avalon.game_table import Answer
from pgv_jax.tasks.avalon.rules import REJECTIONS, TO_WIN, Phase, Role
from pgv_jax.tasks.avalon.talk import Claim
from pgv_jax.tasks.avalon.words import NAMES, View, listed, understand


def thought(view: View, action: str) -> str:
    """A sentence that says why one would do ``action`` here."""
    answer = understand(view, action)
    if answer is None:
        return f"I choose to {' '.join(action.split())}."
    return _RULES[view.phase](view, answer)


def _names(seats: Sequence[int]) -> str:
    return listed([NAMES[seat] for seat in seats])


def _is(seats: Sequence[int]) -> str:
    return "is" if len(seats) == 1 else "are"


def about_team(view: View, team: Sequence[int]) -> tuple[str, bool]:
    """What is known of a team, and whether that speaks for it, seen from the seat's side."""
    evil, members = view.evil_on(team), set(team)
    if view.role.evil:
        mine = [*evil, view.seat] if view.seat in members else evil
        need = view.setup.fails_needed(min(view.quest, 4))
        if len(mine) >= need:
            return "Evil is on this team and can fail the quest", True
        return "Evil cannot fail the quest with this team", False
    if evil:
        return f"{_names(evil)} {_is(evil)} evil and on the team", False
    if view.role is Role.MERLIN:
        return "Nobody on this team is evil", True
    failed = sorted(view.failed() & members)
    if failed:
        return f"{_names(failed)} went on a quest that failed", False
    succeeded = {seat for quest in view.quests if quest.success for seat in quest.team}
    proven = sorted((members & succeeded) - {view.seat})
    if proven:
        return f"{_names(proven)} went on a quest that succeeded", True
    return "Nothing is known against this team", True


def _propose(view: View, answer: Answer) -> str:
    team = cast("tuple[int, ...]", answer)
    fact, speaks_for = about_team(view, team)
    without = "" if view.seat in team else " without me"
    return f"{fact}, {'so' if speaks_for else 'but'} I propose it{without}."


def _vote(view: View, answer: Answer) -> str:
    fact, speaks_for = about_team(view, view.team)
    deed = "I approve it" if answer else "I reject it"
    if view.attempt == REJECTIONS - 1:
        word = "but" if bool(answer) == view.role.evil else "so"
        return f"Evil wins if a fifth team is rejected, {word} {deed}."
    return f"{fact}, {'so' if bool(answer) == speaks_for else 'but'} {deed}."


def _talk(view: View, answer: Answer) -> str:
    assert isinstance(answer, Claim)
    if answer.about < 0:
        if view.role is Role.MERLIN:
            return "The assassin listens for what Merlin knows, so I say nothing of it."
        return "There is nothing that I want to give away, so I accuse nobody."
    name, known = NAMES[answer.about], answer.about in view.known.evil
    deed = f"I speak {'against' if answer.against else 'for'} {name}"
    if known:
        side = answer.against != view.role.evil
        return f"{name} is evil, {'so' if side else 'but'} {deed}."
    if view.role is Role.MERLIN or view.role.evil:
        side = answer.against == view.role.evil
        return f"{name} is good, {'so' if side else 'but'} {deed}."
    if answer.about in view.known.maybe_merlin:
        return f"{name} may be Merlin, {'but' if answer.against else 'so'} {deed}."
    if answer.about in view.failed():
        return f"{name} went on a quest that failed, {'so' if answer.against else 'but'} {deed}."
    return f"Nothing is known against {name}, {'but' if answer.against else 'so'} {deed}."


def _quest(view: View, answer: Answer) -> str:
    if answer:
        return "A success card keeps me hidden, so I play success."
    missing = TO_WIN - view.wins(False)
    if missing == 1:
        return "Evil needs one more failed quest to win, so I play fail."
    return "A failed quest brings evil nearer to winning, so I play fail."


def _name(view: View, answer: Answer) -> str:
    """What the named player did that only somebody who knows evil would do."""
    assert isinstance(answer, int)
    evil, name = {*view.known.evil, view.seat}, NAMES[answer]
    told = [c for c in view.claims if c.speaker == answer and c.against and c.about in evil]
    if told:
        who = sorted({claim.about for claim in told})
        against = listed([view.name(seat) if seat != view.seat else "me" for seat in who])
        return f"{name} spoke against {against}, so I name {name}."
    early = [p for p in view.proposals if p.attempt < REJECTIONS - 1 and evil & set(p.team)]
    against_us = sum(not p.votes[answer] for p in early)
    if early and 2 * against_us > len(early):
        return f"{name} rejected most of the teams with evil on them, so I name {name}."
    return f"{name} did not stand out as somebody who knew, but I name {name}."


_RULES = {
    Phase.PROPOSE: _propose,
    Phase.TALK: _talk,
    Phase.VOTE: _vote,
    Phase.QUEST: _quest,
    Phase.ASSASSINATE: _name,
}
