"""The way to success in an ALFWorld game, from any state: the six kinds of tasks, worked out.

The library's own planner takes up to 20 s a state on tasks with two objects; the tasks are simple
enough to be laid out by hand. Every choice of objects and receptacles is tried and the shortest
way is taken. The expert knows the whole house, also what the player has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations

from pgv_jax.tasks.alfworld.games import Game
from pgv_jax.tasks.alfworld.world import House, Situation

APPLIANCES = {
    "pick_clean_then_place_in_recep": ("clean", "clean", ("sinkbasin", "sink")),
    "pick_heat_then_place_in_recep": ("heat", "hot", ("microwave",)),
    "pick_cool_then_place_in_recep": ("cool", "cool", ("fridge",)),
}
"""Kind of task -> the verb, the state that it makes, and where."""


class _DeadEndError(Exception):
    """This choice of things leads nowhere."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A way so far: where it has led to and the commands that were given."""

    house: House
    location: str
    hand: str | None
    open: frozenset[str]
    inside: Mapping[str, frozenset[str]]
    commands: tuple[str, ...] = ()

    def _then(self, command: str, **changes: object) -> _Way:
        return replace(self, commands=(*self.commands, command), **changes)  # type: ignore[arg-type]

    def go(self, receptacle: str) -> _Way:
        place = self.house.place[receptacle]
        if place == self.location:
            return self
        return self._then(f"go to {receptacle}", location=place)

    def at(self, receptacle: str) -> _Way:
        """Go there and open it, so that one can reach into it."""
        way = self.go(receptacle)
        if receptacle not in self.house.openable or receptacle in way.open:
            return way
        return way._then(f"open {receptacle}", open=way.open | {receptacle})

    def put(self, receptacle: str) -> _Way:
        way, thing = self.at(receptacle), self.hand
        if thing is None or not self.house.accepts(receptacle, thing):
            raise _DeadEndError
        places = way.inside.get(thing, frozenset()) | {receptacle}
        return way._then(
            f"move {thing} to {receptacle}", hand=None, inside={**way.inside, thing: places}
        )

    def take(self, thing: str, source: str) -> _Way:
        """Take ``thing``; what is in the hand is put down on the shortest way."""
        if self.hand == thing:
            return self
        if source not in self.inside.get(thing, ()):
            raise _DeadEndError
        if self.hand is not None:
            here = [r for r, place in self.house.place.items() if place == self.location]
            accepting = [r for r in sorted(self.house.place) if self.house.accepts(r, self.hand)]
            for group in ([*here, source], accepting):
                fits = [r for r in group if self.house.accepts(r, self.hand)]
                if fits:
                    ways = [self.put(r).take(thing, source) for r in fits]
                    return min(ways, key=lambda way: len(way.commands))
            raise _DeadEndError
        way = self.at(source)
        places = way.inside[thing] - {source}
        return way._then(
            f"take {thing} from {source}", hand=thing, inside={**way.inside, thing: places}
        )

    def do(self, command: str, receptacle: str) -> _Way:
        return self.go(receptacle)._then(command)


def plan(game: Game, house: House, now: Situation) -> tuple[str, ...] | None:
    """A shortest way to success, () at success, None where there is none."""
    start = _Way(house, now.location, now.hand, now.open, now.inside)
    best: tuple[str, ...] | None = None
    for walk in _RULES[game.kind](game, house, now):
        try:
            commands = walk(start).commands
        except _DeadEndError:
            continue
        if best is None or (len(commands), commands) < (len(best), best):
            best = commands
    return best


def goal_conditions(game: Game, house: House, now: Situation) -> tuple[int, int]:
    """How many of a task's goal conditions hold, and how many it has.

    As ALFRED counts them (Shridhar et al. 2020, arXiv:1912.01734, Goal-Condition Success): an
    object in place 1; two objects in one receptacle 2; in the hand and the lamp on 2; one in place,
    one clean (hot, cool), and one that is both 3. ALFRED counts what was ever clean; here it is so.
    """
    things, targets = house.of_kind(game.wanted), set(house.of_kind(game.target))
    placed = {thing for thing in things if targets & now.inside.get(thing, frozenset())}
    if game.kind == "look_at_obj_in_light":
        return (now.hand in things) + bool(targets & now.toggled), 2
    if game.kind == "pick_two_obj_and_place":
        together = (sum(target in now.inside.get(t, ()) for t in things) for target in targets)
        return min(2, max(together, default=0)), 2
    if game.kind not in APPLIANCES:
        return bool(placed), 1
    state = APPLIANCES[game.kind][1]
    ready = {thing for thing in things if state in now.states.get(thing, ())}
    return bool(placed) + bool(ready) + bool(placed & ready), 3


def after(house: House, now: Situation, command: str) -> Situation:
    """What is the case after a command that the game accepts now."""
    verb, _, rest = command.partition(" ")
    if verb == "go":
        return replace(now, location=house.place[rest.removeprefix("to ")])
    if verb == "open":
        return replace(now, open=now.open | {rest})
    if verb == "close":
        return replace(now, open=now.open - {rest})
    if verb == "use":
        return replace(now, toggled=now.toggled | {rest})
    if verb == "take":
        thing, _, source = rest.partition(" from ")
        left = now.inside[thing] - {source}
        return replace(now, hand=thing, inside=_with(now.inside, thing, left))
    if verb == "move":
        thing, _, target = rest.partition(" to ")
        places = now.inside.get(thing, frozenset()) | {target}
        return replace(now, hand=None, inside=_with(now.inside, thing, places))
    if verb in _TREATMENTS:
        thing = rest.partition(" with ")[0]
        gained, lost = _TREATMENTS[verb]
        words = now.states.get(thing, frozenset()) - {lost} | {gained}
        return replace(now, states=_with(now.states, thing, words))
    return now


_TREATMENTS = {
    "clean": ("clean", ""),
    "heat": ("hot", "cool"),
    "cool": ("cool", "hot"),
    "slice": ("sliced", ""),
}
"""Verb -> the state that it makes and the one that it ends."""


def _with(
    known: Mapping[str, frozenset[str]], thing: str, words: frozenset[str]
) -> dict[str, frozenset[str]]:
    """A copy with another entry; an empty one is left out."""
    changed = {**known, thing: words}
    return {name: value for name, value in changed.items() if value}


def _fetches(start: Situation, thing: str) -> list[str]:
    """The receptacles that ``thing`` can be taken from; a made-up one where it is in the hand."""
    return [""] if start.hand == thing else sorted(start.inside.get(thing, ()))


def _place_one(game: Game, house: House, now: Situation) -> Iterator[Callable[[_Way], _Way]]:
    """Bring one object to a receptacle, clean, hot or cool where the task asks for it."""
    verb, state, kinds = APPLIANCES.get(game.kind, ("", "", ()))
    appliances = [r for kind in kinds for r in house.of_kind(kind) if r in house.place]
    targets = [r for r in house.of_kind(game.target) if r in house.place]
    for thing in house.of_kind(game.wanted):
        if state and thing not in house.can[state]:
            continue
        ready = not state or state in now.states.get(thing, ())
        for target in targets:
            if ready and target in now.inside.get(thing, ()):
                yield lambda way: way
                continue
            for source in _fetches(now, thing):
                for appliance in [""] if ready else appliances:
                    yield _errand(thing, source, appliance, target, verb)


def _errand(
    thing: str, source: str, appliance: str, target: str, verb: str
) -> Callable[[_Way], _Way]:
    def walk(way: _Way) -> _Way:
        way = way.take(thing, source)
        if appliance:
            way = way.do(f"{verb} {thing} with {appliance}", appliance)
        return way if target in way.inside.get(thing, ()) else way.put(target)

    return walk


def _place_two(game: Game, house: House, now: Situation) -> Iterator[Callable[[_Way], _Way]]:
    """Bring two objects of a kind to the same receptacle."""
    things = [t for t in house.of_kind(game.wanted) if _fetches(now, t)]
    for target in house.of_kind(game.target):
        if target not in house.place:
            continue
        for first, second in permutations(things, 2):
            for source in _fetches(now, first):
                for other in _fetches(now, second):
                    yield _two_errands(((first, source), (second, other)), target)


def _two_errands(pairs: tuple[tuple[str, str], ...], target: str) -> Callable[[_Way], _Way]:
    def walk(way: _Way) -> _Way:
        for thing, source in pairs:
            if target not in way.inside.get(thing, ()):
                way = way.take(thing, source).put(target)
        return way

    return walk


def _look(game: Game, house: House, now: Situation) -> Iterator[Callable[[_Way], _Way]]:
    """Hold an object, beside a lamp that was turned on."""
    lamps = [lamp for lamp in house.of_kind(game.target) if lamp in house.toggleable]
    for thing in house.of_kind(game.wanted):
        for source in _fetches(now, thing):
            for lamp in lamps:
                for stand in sorted(now.inside.get(lamp, ())):
                    yield _light(thing, source, "" if lamp in now.toggled else lamp, stand)


def _light(thing: str, source: str, lamp: str, stand: str) -> Callable[[_Way], _Way]:
    def walk(way: _Way) -> _Way:
        way = way.take(thing, source)
        return way.do(f"use {lamp}", stand) if lamp else way.go(stand)

    return walk


_RULES: Mapping[str, Callable[[Game, House, Situation], Iterator[Callable[[_Way], _Way]]]] = {
    "pick_and_place_simple": _place_one,
    "pick_clean_then_place_in_recep": _place_one,
    "pick_heat_then_place_in_recep": _place_one,
    "pick_cool_then_place_in_recep": _place_one,
    "pick_two_obj_and_place": _place_two,
    "look_at_obj_in_light": _look,
}
