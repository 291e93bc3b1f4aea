"""Goals at run time: sentences of a cooking game's notes that were never the task.

A goal is a sentence in the notes' own wording that is not true at the start of a game. Its kinds:
``open`` ("The fridge is open."), ``be in`` ("You are in the pantry."), ``have`` ("You have the
carrot."), ``cut`` ("The carrot is chopped.") and ``cook`` ("The carrot is fried.").
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pgv_jax.errors import PgvError
from pgv_jax.tasks.textworld.planner import Errand, distance
from pgv_jax.tasks.textworld.world import APPLIANCES, CUTTINGS, House, Situation

KINDS = ("open", "be in", "have", "cut", "cook")

_SENTENCE = re.compile(r"(?:You (are in|have) the (.+)|The (.+) is (\w+))\.")


@dataclass(frozen=True, slots=True)
class Goal:
    """A sentence to bring about in a game, and the least number of commands that do it."""

    task_id: str
    sentence: str
    kind: str
    steps: int


def kind_of(sentence: str) -> str:
    """The kind of a goal sentence; "" where it is none."""
    match = _SENTENCE.fullmatch(sentence)
    if match is None:
        return ""
    if match[1]:
        return "be in" if match[1] == "are in" else "have"
    if match[4] in CUTTINGS.values():
        return "cut"
    return "cook" if match[4] in APPLIANCES.values() else "open" if match[4] == "open" else ""


def errand_for(house: House, now: Situation, sentence: str) -> Errand:
    """What has to be done to make ``sentence`` true.

    Raises:
        PgvError: the sentence is not of a goal kind.
    """
    kind, match = kind_of(sentence), _SENTENCE.fullmatch(sentence)
    if not kind or match is None:
        raise PgvError(
            f"'{sentence}' is no goal of a cooking game; goals read like 'The fridge is open.', "
            "'You are in the pantry.', 'You have the carrot.' or 'The carrot is chopped.'."
        )
    if kind == "be in":
        return Errand(end=match[2])
    if kind == "have":
        return Errand(hold=frozenset([match[2]]))
    if kind == "open":
        return Errand(open=frozenset([match[3]]))
    return Errand(prepare=frozenset([(match[3], match[4])]))


def _sentences(house: House, now: Situation, rng: random.Random) -> Iterator[str]:
    """Candidates of every kind, in an order that the seed fixes."""
    things = sorted(thing for thing in now.place if not now.held(thing))
    openable = sorted((set(house.doors) | set(house.containers)) - now.open)
    rooms = sorted(set(house.exits) - {now.room})
    makes = sorted({state for state, _ in house.appliances.values()})
    for names in (things, openable, rooms):
        rng.shuffle(names)
    yield from (f"The {thing} is open." for thing in openable)
    yield from (f"You are in the {room}." for room in rooms)
    yield from (f"You have the {thing}." for thing in things)
    foods = sorted(house.foods)
    rng.shuffle(foods)
    for food in foods:
        wanted = house.ingredient(food)
        cuts = [wanted.cutting] if wanted and wanted.cutting else sorted(CUTTINGS.values())
        heats = [wanted.cooking] if wanted and wanted.cooking in makes else makes
        yield f"The {food} is {rng.choice(cuts)}."
        yield f"The {food} is {rng.choice(heats)}."


PER_KIND = {"open": 3, "be in": 4, "have": 4, "cut": 2, "cook": 2}
"""At most so many goals of a kind in a game."""


def game_goals(
    house: House,
    now: Situation,
    task_id: str,
    max_steps: int = 20,
    seed: int = 0,
) -> list[Goal]:
    """Goals of one game, reachable within ``max_steps`` from ``now`` and not true there.

    At most ``PER_KIND`` of a kind, drawn by ``seed``.
    """
    rng = random.Random(f"{seed}/{task_id}")
    goals: list[Goal] = []
    for sentence in _sentences(house, now, rng):
        kind = kind_of(sentence)
        if sum(goal.kind == kind for goal in goals) >= PER_KIND[kind]:
            continue
        steps = distance(house, now, errand_for(house, now, sentence))
        if steps is not None and 0 < steps <= max_steps:
            goals.append(Goal(task_id, sentence, kind, steps))
    return goals
