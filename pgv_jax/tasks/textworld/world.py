"""A cooking game as plain data: the house that stays, and the situation that changes.

Both are read from TextWorld's logical facts. Names are the player's words ("red potato"), which
are unique within a game. The simple model of the commands in ``after`` is what the planner looks
ahead with; TextWorld itself stays the referee, and a test holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

HELD = "you"
"""The place of things that the player holds."""

DIRECTIONS = ("north", "east", "south", "west")
CUTTINGS = {"chop": "chopped", "slice": "sliced", "dice": "diced"}
APPLIANCES = {"stove": "fried", "oven": "roasted", "toaster": "grilled"}
"""TextWorld's type of an appliance -> what it makes of food."""

_TAKE = re.compile(r"take (.+?)(?: from (.+))?")
_COOK = re.compile(r"cook (.+) with (.+)")
_CUT = re.compile(r"(chop|slice|dice) (.+) with (.+)")
_PUT = re.compile(r"(?:put (.+) on|insert (.+) into) (.+)")


@dataclass(frozen=True, slots=True)
class Exit:
    """A way out of a room: where it leads, and the door in it ("" where there is none)."""

    direction: str
    room: str
    door: str


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A line of the recipe; ``cooking`` is "" for raw and ``cutting`` is "" for uncut."""

    name: str
    cooking: str
    cutting: str


@dataclass(frozen=True, slots=True)
class House:
    """What does not change in a game."""

    exits: Mapping[str, tuple[Exit, ...]]
    """Room -> its exits, north, east, south, west."""
    doors: Mapping[str, tuple[str, str]]
    """Door -> the two rooms that it joins."""
    containers: Mapping[str, str]
    """Container -> its room (an oven is one)."""
    holders: Mapping[str, str]
    """Container or supporter -> its room."""
    appliances: Mapping[str, tuple[str, str]]
    """Appliance -> (what it makes of food, its room)."""
    kitchen: str
    recipe: tuple[Ingredient, ...]
    knife: str
    """The sharp thing; "" where there is none."""
    foods: tuple[str, ...]
    """Foods that can be both cut and cooked, and are raw and uncut at the start."""

    def ingredient(self, name: str) -> Ingredient | None:
        """The recipe's line for ``name``, if there is one."""
        return next((i for i in self.recipe if i.name == name), None)

    def room_of(self, place: str) -> str:
        """The room of a holder, or the room itself."""
        return self.holders.get(place, place)


@dataclass(frozen=True, slots=True)
class Situation:
    """What changes in a game. Things that were eaten or used up have no place."""

    room: str
    open: frozenset[str]
    """Doors and containers that are open."""
    place: Mapping[str, str]
    """Thing -> a container, a supporter, a room (its floor) or ``HELD``."""
    cooking: Mapping[str, str]
    """Food that was cooked -> fried, roasted, grilled or burned."""
    cutting: Mapping[str, str]
    """Food that was cut -> chopped, sliced or diced."""
    prepared: bool = False
    eaten: bool = False

    def held(self, thing: str) -> bool:
        """Whether the player holds ``thing``."""
        return self.place.get(thing) == HELD


def _index(facts: Iterable[Any], names: Mapping[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    """Facts by predicate: each a tuple of (player's word, TextWorld type)."""
    table: dict[str, list[tuple[Any, ...]]] = {}
    for fact in facts:
        arguments = tuple((names.get(a.name) or a.name, a.type) for a in fact.arguments)
        table.setdefault(fact.name, []).append(arguments)
    return table


def read_house(
    facts: Iterable[Any], names: Mapping[str, str], ingredients: Iterable[Iterable[str]]
) -> House:
    """Read the house from the first facts; ``ingredients`` are (name, cooking, cutting)."""
    table = _index(facts, names)
    door_of = {(a[0], b[0]): d[0] for a, d, b in table.get("link", [])}
    kitchen = table["cooking_location"][0][0][0]
    exits: dict[str, list[Exit]] = {kitchen: []}  # a house of one room has no way out of it
    for direction in DIRECTIONS:
        for (there, _), (here, _) in table.get(f"{direction}_of", []):
            exits.setdefault(here, []).append(
                Exit(direction, there, door_of.get((here, there), ""))
            )
    holders, containers, appliances = {}, {}, {}
    for (thing, kind), (room, _) in table["at"]:
        if kind in ("s", "stove", "c", "oven", "toaster"):
            holders[thing] = room
        if kind in ("c", "oven", "toaster"):
            containers[thing] = room
        if kind in APPLIANCES:
            appliances[thing] = (APPLIANCES[kind], room)
    recipe = tuple(
        Ingredient(name, "" if cooking == "raw" else cooking, "" if cutting == "uncut" else cutting)
        for name, cooking, cutting in ingredients
    )
    foods = {food for (food, kind), *_ in table.get("uncut", []) if kind == "f"}
    for allowed in (("cuttable",), ("cookable",), ("raw", "needs_cooking")):
        foods &= {fact[0][0] for name in allowed for fact in table.get(name, [])}
    return House(
        exits={room: tuple(ways) for room, ways in sorted(exits.items())},
        doors={d: (a, b) for (a, b), d in sorted(door_of.items(), reverse=True)},
        containers=dict(sorted(containers.items())),
        holders=dict(sorted(holders.items())),
        appliances=dict(sorted(appliances.items())),
        kitchen=kitchen,
        recipe=recipe,
        knife=next((sharp[0][0] for sharp in table.get("sharp", [])), ""),
        foods=tuple(sorted(foods)),
    )


def read_situation(facts: Iterable[Any], names: Mapping[str, str]) -> Situation:
    """Read the situation from TextWorld's present facts."""
    table = _index(facts, names)
    room = next(place[0] for who, place in table["at"] if who[1] == "P")
    place = {t: r for (t, kind), (r, _) in table["at"] if kind in ("o", "f", "meal")}
    for (thing, kind), (holder, holder_kind) in table.get("in", []) + table.get("on", []):
        if kind in ("o", "f", "meal"):
            place[thing] = HELD if holder_kind == "I" else holder
    cooking = {
        food: state
        for state in ("fried", "roasted", "grilled", "burned")
        for (food, kind), *_ in table.get(state, [])
        if kind in ("f", "meal")
    }
    cutting = {
        food: state
        for state in CUTTINGS.values()
        for (food, kind), *_ in table.get(state, [])
        if kind == "f"
    }
    eaten = any(kind == "meal" for (_, kind), *_ in table.get("consumed", []))
    return Situation(
        room=room,
        open=frozenset(thing for (thing, _), *_ in table.get("open", [])),
        place=place,
        cooking=cooking,
        cutting=cutting,
        prepared=eaten or "meal" in place,
        eaten=eaten,
    )


def ready_to_prepare(house: House, now: Situation) -> bool:
    """Whether every ingredient is held and is as the recipe wants it."""
    return not now.prepared and all(
        now.held(wanted.name)
        and now.cooking.get(wanted.name, "") == wanted.cooking
        and now.cutting.get(wanted.name, "") == wanted.cutting
        for wanted in house.recipe
    )


def after(house: House, now: Situation, command: str) -> Situation:
    """The situation after an admissible ``command``; the same one where nothing changes."""
    verb, _, rest = command.partition(" ")
    if verb == "go":
        for way in house.exits[now.room]:
            if way.direction == rest:
                return replace(now, room=way.room)
    elif verb == "open":
        return replace(now, open=now.open | {rest})
    elif verb == "close":
        return replace(now, open=now.open - {rest})
    elif verb == "drop":
        return replace(now, place={**now.place, rest: now.room})
    elif verb in ("eat", "drink"):
        place = {thing: at for thing, at in now.place.items() if thing != rest}
        return replace(now, place=place, eaten=now.eaten or rest == "meal")
    elif command == "prepare meal":
        used = {i.name for i in house.recipe}
        place = {thing: at for thing, at in now.place.items() if thing not in used}
        return replace(now, place={**place, "meal": HELD}, prepared=True)
    elif match := _TAKE.fullmatch(command):
        return replace(now, place={**now.place, match[1]: HELD})
    elif match := _COOK.fullmatch(command):
        state = "burned" if match[1] in now.cooking else house.appliances[match[2]][0]
        return replace(now, cooking={**now.cooking, match[1]: state})
    elif match := _CUT.fullmatch(command):
        return replace(now, cutting={**now.cutting, match[2]: CUTTINGS[match[1]]})
    elif match := _PUT.fullmatch(command):
        return replace(now, place={**now.place, match[1] or match[2]: match[3]})
    return now
