"""Shortest plans in a cooking game: how many commands are left, and which shorten that number.

Nothing has to be put down in these games, so a plan is an *errand*: things to take, to prepare
and to open, and a place to end in. Taking, preparing and opening cost one command each, whatever
their order; only the walk depends on the order. A breadth-first search over (room, open doors,
errands that are left) finds the shortest walk, so the length is exact and costs well under a
millisecond.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pgv_jax.tasks.textworld.world import HELD, House, Situation, after


@dataclass(frozen=True, slots=True)
class Errand:
    """What has to be true in the end.

    ``prepare`` pairs a food with the state that it needs (fried, chopped, ...). ``closing`` counts
    the commands that are left to do at ``end`` when all else is done.
    """

    hold: frozenset[str] = frozenset()
    prepare: frozenset[tuple[str, str]] = frozenset()
    open: frozenset[str] = frozenset()
    end: str = ""
    closing: int = 0


def meal_errand(house: House, now: Situation) -> Errand | None:
    """What is left of the recipe; None where it cannot be won any more."""
    if now.eaten:
        return Errand()
    if now.prepared:
        burned = now.cooking.get("meal") == "burned"
        return None if burned else Errand(hold=frozenset(["meal"]), closing=1)
    prepare = set()
    for wanted in house.recipe:
        name = wanted.name
        if now.cooking.get(name, wanted.cooking) != wanted.cooking:
            return None
        if now.cutting.get(name, wanted.cutting) != wanted.cutting:
            return None
        prepare |= {(name, state) for state in (wanted.cooking, wanted.cutting) if state}
    return Errand(
        hold=frozenset(i.name for i in house.recipe),
        prepare=frozenset(prepare),
        end=house.kitchen,
        closing=2,
    )


@dataclass(frozen=True, slots=True)
class _Stop:
    """A room that the walk has to pass, after other stops (by number)."""

    room: str
    after: tuple[int, ...] = ()


def distance(house: House, now: Situation, errand: Errand | None) -> int | None:
    """The least number of commands that fulfil ``errand``; None where that is impossible."""
    if errand is None:
        return None
    work = errand.closing
    stops: list[_Stop] = []
    take: dict[str, int] = {}
    hold = set(errand.hold)
    cook: list[tuple[str, str]] = []
    for food, state in sorted(errand.prepare):
        done = now.cooking.get(food, "") == state or now.cutting.get(food, "") == state
        if done:
            continue
        appliance_room = next(
            (room for makes, room in house.appliances.values() if makes == state), None
        )
        is_cut = state in ("chopped", "sliced", "diced")
        if (is_cut and (food in now.cutting or not house.knife)) or (
            not is_cut and (food in now.cooking or appliance_room is None)
        ):
            return None
        work += 1
        hold |= {food, house.knife} if is_cut else {food}
        if not is_cut and appliance_room is not None:
            cook.append((food, appliance_room))
    unlock = {c for c in errand.open if c in house.containers and c not in now.open}
    for thing in sorted(hold):
        place = now.place.get(thing)
        if place is None:
            return None
        if place == HELD:
            continue
        work += 1
        take[thing] = len(stops)
        stops.append(_Stop(house.room_of(place)))
        if place in house.containers and place not in now.open:
            unlock.add(place)
    work += len(unlock)
    stops += [_Stop(house.containers[c]) for c in sorted(unlock)]
    stops += [_Stop(room, (take[food],) if food in take else ()) for food, room in cook]
    doors = frozenset(d for d in errand.open if d in house.doors)
    walk = _walk(house, now, stops, doors, errand.end)
    return None if walk is None else work + walk


def _visit(stops: list[_Stop], done: int, room: str) -> int:
    """The stops that are done once ``room`` is passed, as bits."""
    for i, stop in enumerate(stops):  # a stop comes after those that it waits for
        if stop.room == room and all(done >> j & 1 for j in stop.after):
            done |= 1 << i
    return done


def _walk(
    house: House, now: Situation, stops: list[_Stop], goal_doors: frozenset[str], end: str
) -> int | None:
    """The least number of moves and door openings that pass all stops and end in ``end``."""
    everything = (1 << len(stops)) - 1
    start = (now.room, now.open & frozenset(house.doors), _visit(stops, 0, now.room))
    queue, seen = deque([(start, 0)]), {start}
    while queue:
        (room, doors, done), cost = queue.popleft()
        if done == everything and (not end or room == end) and goal_doors <= doors:
            return cost
        for way in house.exits[room]:
            if way.door and way.door not in doors:
                state = (room, doors | {way.door}, done)
            else:
                state = (way.room, doors, _visit(stops, done, way.room))
            if state not in seen:
                seen.add(state)
                queue.append((state, cost + 1))
    return None


_ORDER = ("eat", "prepare", "take", "cook", "chop", "slice", "dice", "open", "go")


def is_over(house: House, now: Situation) -> bool:
    """Whether the game has ended: the meal is eaten, or cannot be cooked any more."""
    return now.eaten or distance(house, now, meal_errand(house, now)) is None


def distance_after(house: House, now: Situation, errand: Errand | None, command: str) -> int | None:
    """What is left after ``command``; ``errand`` None stands for the meal itself.

    None where the command puts it out of reach, also by ending the game.
    """
    later = after(house, now, command)
    if errand is None:
        return distance(house, later, meal_errand(house, later))
    left = distance(house, later, errand)
    return None if left and is_over(house, later) else left


def best_command(
    house: House, now: Situation, errand: Errand | None, commands: Iterable[str]
) -> str | None:
    """The command that leaves least to do, things at hand first; None where nothing helps."""
    best: tuple[int, int, str] | None = None
    for command in commands:
        left = distance_after(house, now, errand, command)
        if left is None:
            continue
        verb = command.partition(" ")[0]
        key = (left, _ORDER.index(verb) if verb in _ORDER else len(_ORDER), command)
        best = key if best is None else min(best, key)
    return best[2] if best else None
