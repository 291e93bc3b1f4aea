"""A persuasion talk in words: the note of what was said, and reasons for the next remark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgv_jax.tasks.persuasion.moves import DONE, END, kind_of
from pgv_jax.tasks.persuasion.persuadee import Reply
from pgv_jax.texts.sentences import sentences

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

TASK = (
    "Persuade the other person to give a part of their two dollars to a children's charity. "
    "The talk has at most {rounds} rounds."
)

REMEMBERED = 3
"""So many earlier answers stand in a note."""

DEEDS = {
    "chat": "make friendly talk",
    "question": "ask about them",
    "facts": "give facts",
    "feeling": "appeal to their feelings",
    "trust": "speak of the charity's record",
    "story": "tell a story",
    "example": "speak of a gift of my own",
    "how": "explain how the donation works",
    "small": "suggest a small gift",
    "ask": "ask for a donation",
    "pressure": "put pressure on them",
}

CONCERNS = {
    "worry-trust": "asked whether the money arrives",
    "worry-facts": "doubt that a small gift changes anything",
    "worry-small": "say that money is tight",
    "worry-how": "do not know the charity",
}
"""What a scripted persuadee's worry is called."""


@dataclass(frozen=True, slots=True)
class Turns:
    """What both have said: the remarks so far and the answers, the greeting first."""

    rounds: int
    said: tuple[str, ...]
    replies: tuple[Reply, ...]
    over: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the remarks."""
        return tuple(kind_of(remark) for remark in self.said)


def number(count: int) -> str:
    """five, or 12"""
    return COUNTS[count] if count < len(COUNTS) else str(count)


def note(turns: Turns) -> str:
    """The progress note: the round, their words, and what was tried; one fact a sentence."""
    if turns.over:
        lines = ["The talk is over."]
    else:
        lines = [f"This is round {number(len(turns.said) + 1)} of {number(turns.rounds)}."]
    lines += [f"They say: {words}" for words in sentences(turns.replies[-1].text)]
    counts = {kind: turns.kinds.count(kind) for kind in DONE if kind in turns.kinds}
    for kind, times in counts.items():
        lines.append(f"You have {DONE[kind]}{'' if times == 1 else ' more than once'}.")
    for reply in turns.replies[-1 - REMEMBERED : -1]:
        lines += [f"They have said: {words}" for words in sentences(reply.text)]
    return " ".join(dict.fromkeys(lines))


def open_worry(replies: Sequence[Reply]) -> str | None:
    """The worry that was spoken of and not settled since."""
    worry = None
    for reply in replies:
        for act in reply.acts:
            worry = act if act in CONCERNS else None if act == "settled" else worry
    return worry


def thought(turns: Turns, action: str) -> str:
    """Why one would say ``action`` now: from what both have said, and the kind of remark it is."""
    last = turns.replies[-1].acts
    if " ".join(action.split()).lower().rstrip(".") == END:
        if len(turns.said) >= turns.rounds - 2:
            return "The talk is nearly over, so I end it."
        return "There are rounds left to talk, but I end it."
    kind = kind_of(action)
    deed, times = f"I {DEEDS[kind]}", turns.kinds.count(kind)
    worry = open_worry(turns.replies)
    if worry is not None and worry.removeprefix("worry-") == kind:
        return f"They {CONCERNS[worry]}, so {deed}."
    if kind == "pressure":
        return f"Pressure may make them give or leave, but {deed}."
    if kind == "ask":
        return _ask(turns, deed)
    if times > 1:
        return f"I have done that {number(times)} times, but {deed} again."
    if times == 1:
        answer = turns.replies[turns.kinds.index(kind) + 1].acts
        if "moved" in answer:
            return f"They liked it before, so {deed} again."
        return f"I have done that before, but {deed} again."
    if "cold" in last:
        return f"They did not like what I said last, so {deed} instead."
    if kind in ("chat", "question") and not turns.said:
        return f"We do not know each other yet, so {deed}."
    if worry is not None:
        return f"They {CONCERNS[worry]}, but {deed}."
    return f"I have not done that yet, so {deed}."


def _ask(turns: Turns, deed: str) -> str:
    acts = {act for reply in turns.replies[-2:] for act in reply.acts}
    if acts & {"moved", "settled", "willing"} and "unwilling" not in acts:
        return f"They sound open to it, so {deed}."
    if len(turns.said) >= turns.rounds - 2:
        return f"The talk is nearly over, so {deed}."
    if "unwilling" in acts or "annoyed" in acts:
        return f"They do not want to give yet, but {deed}."
    return f"They have not said that they would give, but {deed}."
