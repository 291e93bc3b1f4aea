"""Cooking games in words: the task, the progress note and the reasons for commands.

Everything here is a fixed, hand-written wording of facts, truthful by construction. A note is a
list of independent simple sentences: what is in this room and in the player's hands, where things
of the recipe were seen, and what of the recipe is still to do. The plan of the house is known (an
exit names the room behind it); what a closed container or a room that was not entered holds is
not. A reason depends on the note's knowledge and on the command alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgv_jax.tasks.textworld.world import (
    CUTTINGS,
    HELD,
    Exit,
    House,
    Ingredient,
    Situation,
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the player remembers: where things were seen last, and what was looked into."""

    seen: tuple[tuple[str, str], ...] = ()
    """(thing of the recipe or the knife, its place), sorted."""
    searched: frozenset[str] = frozenset()
    """Rooms that were entered and containers that were seen open."""


def visible(house: House, now: Situation) -> list[tuple[str, str]]:
    """(thing, place) of all things in sight in this room, sorted; not what the player holds."""
    found = []
    for thing, place in sorted(now.place.items()):
        hidden = place in house.containers and place not in now.open
        if place != HELD and house.room_of(place) == now.room and not hidden:
            found.append((thing, place))
    return found


def remember(house: House, now: Situation, memory: Memory) -> Memory:
    """The memory after one more look around."""
    useful = {i.name for i in house.recipe} | {house.knife}
    seen = {t: p for t, p in memory.seen if not now.held(t) and t in now.place}
    seen |= {t: p for t, p in visible(house, now) if t in useful}
    here = {c for c, room in house.containers.items() if room == now.room and c in now.open}
    return Memory(tuple(sorted(seen.items())), memory.searched | here | {now.room})


def task_text(house: House) -> str:
    """The goal in words, with the recipe."""
    lines = ["Prepare the meal in the kitchen and eat it."]
    for wanted in house.recipe:
        states = [state for state in (wanted.cutting, wanted.cooking) if state]
        lines.append(f"The recipe needs the {wanted.name}{_join(states, ', ')}.")
    return " ".join(lines)


def _join(words: list[str], before: str) -> str:
    return before + " and ".join(words) if words else ""


def _list(names: list[str]) -> str:
    """the a, the b and the c"""
    words = [f"the {name}" for name in names]
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def _place(house: House, place: str) -> str:
    if place in house.containers:
        return f"in the {place}"
    return f"on the {place}" if place in house.holders else "on the floor"


def note(house: House, now: Situation, memory: Memory) -> str:
    """The progress note: one fact a sentence, in a fixed wording and order.

    What decides comes first: encoders read 256 tokens or so and cut off the rest.
    """
    in_sight = visible(house, now)
    mine = sorted(thing for thing in now.place if now.held(thing))
    lines = [f"You are in the {now.room}.", *to_do(house, now)]
    lines += [f"You have the {thing}." for thing in mine]
    for thing in sorted({thing for thing, _ in in_sight} | set(mine)):
        states = (now.cutting.get(thing), now.cooking.get(thing))
        lines += [f"The {thing} is {state}." for state in states if state]
    for thing, place in memory.seen:
        if house.room_of(place) != now.room:
            lines.append(f"The {thing} is in the {house.room_of(place)}.")
    for way in house.exits[now.room]:
        door = f" behind the {way.door}" if way.door else ""
        lines.append(f"The {way.room} is to the {way.direction}{door}.")
    openable = [way.door for way in house.exits[now.room] if way.door]
    openable += [c for c, room in house.containers.items() if room == now.room]
    lines += [f"The {thing} is {'open' if thing in now.open else 'closed'}." for thing in openable]
    useful = {wanted.name for wanted in house.recipe} | {house.knife}
    in_sight.sort(key=lambda found: (found[0] not in useful, found))
    lines += [f"The {thing} is {_place(house, place)}." for thing, place in in_sight]
    return " ".join(lines)


def to_do(house: House, now: Situation) -> list[str]:
    """What the recipe still asks for, as sentences; nothing that has become impossible."""
    if now.eaten:
        return []
    lines = []
    if not now.prepared:
        for wanted in house.recipe:
            if wanted.name in now.place and not now.held(wanted.name):
                lines.append(f"You still need the {wanted.name}.")
        if _uncut(house, now) and not now.held(house.knife):
            lines.append(f"You still need the {house.knife}.")
        for wanted in house.recipe:
            for state in _open_states(now, wanted):
                lines.append(f"The {wanted.name} still has to be {state}.")
        lines.append("The meal still has to be prepared.")
    return [*lines, "The meal still has to be eaten."]


def _open_states(now: Situation, wanted: Ingredient) -> list[str]:
    """The states that an ingredient still has to be brought into, as far as that is possible."""
    states = []
    if wanted.name in now.place:
        if wanted.cutting and wanted.name not in now.cutting:
            states.append(wanted.cutting)
        if wanted.cooking and wanted.name not in now.cooking:
            states.append(wanted.cooking)
    return states


def _uncut(house: House, now: Situation) -> Ingredient | None:
    """The first ingredient that still has to be cut."""
    for wanted in house.recipe:
        if wanted.cutting and wanted.name in now.place and wanted.name not in now.cutting:
            return wanted
    return None


def _missing(house: House, now: Situation) -> list[str]:
    """What the recipe needs and the player does not hold, the knife last."""
    if now.prepared:
        return []
    names = [i.name for i in house.recipe if i.name in now.place and not now.held(i.name)]
    if _uncut(house, now) and not now.held(house.knife):
        names.append(house.knife)
    return names


def thought(house: House, now: Situation, memory: Memory, command: str) -> str:
    """A truthful sentence that says why one would give ``command`` here."""
    verb, _, rest = command.partition(" ")
    rule = _RULES.get(verb)
    words = rule(house, now, memory, rest) if rule else ""
    return words or f"I {command}."


def _go(house: House, now: Situation, memory: Memory, direction: str) -> str:
    way = next((w for w in house.exits[now.room] if w.direction == direction), None)
    if way is None:
        return ""
    return _reason_for_room(house, now, memory, way, f"I go {direction}")


def _reason_for_room(house: House, now: Situation, memory: Memory, way: Exit, deed: str) -> str:
    """Why one would want to be in the room behind ``way``."""
    room, there = way.room, f"the {way.room} to the {way.direction}"
    seen = dict(memory.seen)
    missing = _missing(house, now)
    for name in missing:
        if name in seen and house.room_of(seen[name]) == room:
            return f"The task needs the {name} and it is in {there}, so {deed}."
    for wanted in house.recipe:
        for thing, (makes, where) in house.appliances.items():
            if where == room and now.held(wanted.name) and makes in _open_states(now, wanted):
                return (
                    f"The {wanted.name} still has to be {makes} and the {thing} is in {there}, "
                    f"so {deed}."
                )
    if room == house.kitchen and not now.prepared and not missing and not _pending(house, now):
        return f"Every ingredient is ready and the meal is prepared in {there}, so {deed}."
    unseen = [name for name in missing if name not in seen]
    if unseen and room not in memory.searched:
        return f"The {unseen[0]} is not in sight and may be in {there}, so {deed}."
    for container, where in house.containers.items():
        closed = container not in memory.searched and container not in house.appliances
        if unseen and where == room and closed:
            return (
                f"The {unseen[0]} is not in sight and may be in the {container} in {there}, "
                f"so {deed}."
            )
    further = [w.room for w in house.exits[room] if w.room != now.room]
    if further:
        return f"The {room} is to the {way.direction} and leads to {_list(further)}, so {deed}."
    return f"The {room} to the {way.direction} leads nowhere else, but {deed}."


def _pending(house: House, now: Situation) -> bool:
    return any(_open_states(now, wanted) for wanted in house.recipe)


def _open(house: House, now: Situation, memory: Memory, thing: str) -> str:
    way = next((w for w in house.exits[now.room] if w.door == thing), None)
    if way is not None:
        return _reason_for_room(house, now, memory, way, f"I open the {thing}")
    if thing in house.appliances:
        return f"The {thing} works without being opened, but I open the {thing}."
    unseen = [name for name in _missing(house, now) if name not in dict(memory.seen)]
    if unseen and thing not in memory.searched:
        return f"The {unseen[0]} is not in sight and may be in the {thing}, so I open the {thing}."
    return f"Nothing has to be searched for in the {thing}, but I open the {thing}."


def _close(house: House, now: Situation, memory: Memory, thing: str) -> str:
    return f"The {thing} can stay open, but I close the {thing}."


def _take(house: House, now: Situation, memory: Memory, rest: str) -> str:
    thing, _, holder = rest.partition(" from ")
    deed = f"I take it from the {holder}" if holder else "I take it from the floor"
    if thing == house.knife:
        wanted = _uncut(house, now)
        if wanted is None:
            return f"Nothing is left to cut with the {thing}, but {deed}."
        return f"The {wanted.name} still has to be {wanted.cutting} with the {thing}, so {deed}."
    if house.ingredient(thing) is not None:
        return f"The task needs the {thing}, so {deed}."
    if thing == "cookbook":
        return f"The recipe is known without the {thing}, but {deed}."
    return f"The {thing} is not in the recipe, but {deed}."


def _cook(house: House, now: Situation, memory: Memory, rest: str) -> str:
    food, _, appliance = rest.partition(" with ")
    if appliance not in house.appliances:
        return ""
    makes, deed = house.appliances[appliance][0], f"I cook it with the {appliance}"
    return _reason_for_state(house, now, food, makes, now.cooking.get(food, ""), deed)


def _cut(verb: str) -> Callable[[House, Situation, Memory, str], str]:
    def rule(house: House, now: Situation, memory: Memory, rest: str) -> str:
        food, _, knife = rest.partition(" with ")
        deed = f"I {verb} it with the {knife}"
        return _reason_for_state(house, now, food, CUTTINGS[verb], now.cutting.get(food, ""), deed)

    return rule


def _reason_for_state(
    house: House, now: Situation, food: str, makes: str, present: str, deed: str
) -> str:
    """Why one would bring ``food`` into the state ``makes``."""
    wanted = house.ingredient(food)
    if food == "meal":
        return f"The meal is ready as it is, but {deed}."
    if present:
        return f"The {food} is {present} already, but {deed}."
    if wanted is None:
        return f"The {food} is not in the recipe, but {deed}."
    if makes in (wanted.cooking, wanted.cutting):
        return f"The {food} still has to be {makes}, so {deed}."
    return f"The recipe does not ask for the {food} to be {makes}, but {deed}."


def _prepare(house: House, now: Situation, memory: Memory, rest: str) -> str:
    return "Every ingredient is ready, so I prepare the meal." if rest == "meal" else ""


def _consume(verb: str) -> Callable[[House, Situation, Memory, str], str]:
    def rule(house: House, now: Situation, memory: Memory, food: str) -> str:
        if food == "meal":
            return f"The meal is prepared, so I {verb} it."
        if house.ingredient(food) is not None and not now.prepared:
            return f"The meal needs the {food}, but I {verb} it."
        return f"The {food} is not in the recipe, but I {verb} it."

    return rule


_RULES: dict[str, Callable[[House, Situation, Memory, str], str]] = {
    "go": _go,
    "open": _open,
    "close": _close,
    "take": _take,
    "cook": _cook,
    "chop": _cut("chop"),
    "slice": _cut("slice"),
    "dice": _cut("dice"),
    "prepare": _prepare,
    "eat": _consume("eat"),
    "drink": _consume("drink"),
}
