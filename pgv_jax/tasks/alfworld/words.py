"""ALFWorld games in words: the progress note, the game's own replies, and reasons for commands.

A note is a list of independent simple sentences about what the player has seen: where it is, what
it holds, what is here, where things of the task were seen, what was searched. ``reply`` has the
wording of the game's grammar instead. A reason depends on what the note's reader knows and on the
command alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgv_jax.tasks.alfworld.games import Game
from pgv_jax.tasks.alfworld.planner import APPLIANCES
from pgv_jax.tasks.alfworld.world import House, Situation

LOOK = "look_at_obj_in_light"


@dataclass(frozen=True, slots=True)
class Memory:
    """What the player remembers."""

    seen: tuple[tuple[str, str], ...] = ()
    """(thing of the task, the receptacle where it was seen last), sorted."""
    searched: tuple[str, ...] = ()
    """Receptacles that were looked at or into, sorted."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that words are made from."""

    game: Game
    house: House
    now: Situation
    memory: Memory = Memory()

    @property
    def here(self) -> list[str]:
        """The receptacles at the player's location, sorted."""
        return sorted(r for r, place in self.house.place.items() if place == self.now.location)

    def visible(self, receptacle: str) -> bool:
        """Whether one sees what a receptacle holds, standing before it."""
        return receptacle not in self.house.openable or receptacle in self.now.open

    def contents(self, receptacle: str) -> list[str]:
        """What a receptacle holds, things of the task first."""
        found = [thing for thing, places in self.now.inside.items() if receptacle in places]
        return sorted(found, key=lambda thing: (not self.of_task(thing), thing))

    def of_task(self, thing: str) -> bool:
        """Whether a thing is of a type that the task names."""
        return self.house.kind.get(thing) in (self.game.wanted, self.game.target)

    @property
    def state(self) -> str:
        """The state that the task asks for: "clean", "hot", "cool" or nothing."""
        return APPLIANCES.get(self.game.kind, ("", "", ()))[1]

    def ready(self, thing: str) -> bool:
        """Whether a thing is in the state that the task asks for."""
        return not self.state or self.state in self.now.states.get(thing, ())

    def placed(self, thing: str) -> bool:
        """Whether a thing is where the task wants it, as the task wants it."""
        kinds = {self.house.kind[r] for r in self.now.inside.get(thing, ())}
        return self.game.kind != LOOK and self.game.target in kinds and self.ready(thing)

    @property
    def carried(self) -> str | None:
        """What the player holds, where it is of the wanted type."""
        hand = self.now.hand
        return hand if hand and self.house.kind.get(hand) == self.game.wanted else None


def remember(scene: Scene) -> Memory:
    """The memory after one more look around."""
    now, memory = scene.now, scene.memory
    looked = [r for r in scene.here if scene.visible(r)]
    seen = {
        thing: place
        for thing, place in memory.seen
        if thing != now.hand and not (place in looked and place not in now.inside.get(thing, ()))
    }
    for receptacle in looked:
        seen |= {t: receptacle for t in scene.contents(receptacle) if scene.of_task(t)}
    searched = sorted({*memory.searched, *looked})
    return Memory(tuple(sorted(seen.items())), tuple(searched))


def _on(house: House, receptacle: str) -> str:
    return f"in the {receptacle}" if receptacle in house.openable else f"on the {receptacle}"


def note(scene: Scene) -> str:
    """The progress note; what decides comes first, as encoders cut off the rest."""
    house, now, memory, here = scene.house, scene.now, scene.memory, scene.here
    lines = [f"You are at the {r}." for r in here] or ["You are in the middle of the room."]
    lines.append(f"You hold the {now.hand}." if now.hand else "You hold nothing.")
    in_sight = [(t, r) for r in here if scene.visible(r) for t in scene.contents(r)]
    known = dict.fromkeys([*filter(None, [now.hand]), *(t for t, _ in in_sight)])
    for thing in known:
        lines += [f"The {thing} is {word}." for word in sorted(now.states.get(thing, ()))]
        if thing in now.toggled:
            lines.append(f"The {thing} was turned on.")
    for receptacle in here:
        if receptacle in house.openable:
            word = "open" if receptacle in now.open else "closed"
            lines.append(f"The {receptacle} is {word}.")
    lines += [f"The {t} is {_on(house, r)}." for t, r in memory.seen if r not in here]
    lines += [f"The {t} is {_on(house, r)}." for t, r in in_sight]
    lines += [f"The {r} holds nothing." for r in here if scene.visible(r) if not scene.contents(r)]
    lines += [f"You have searched the {r}." for r in memory.searched if r not in here]
    return " ".join(dict.fromkeys(lines))


def _listed(things: list[str]) -> str:
    """a mug 1, a pen 2, and a pen 1: the grammar's own list"""
    words = [f"a {thing}" for thing in things]
    if len(words) > 1:
        return ", ".join(words[:-1]) + ", and " + words[-1]
    return words[0] if words else "nothing"


def intro(scene: Scene) -> str:
    """The game's first words."""
    around = _listed(sorted(scene.house.place, reverse=True))
    return (
        f"You are in the middle of a room. Looking quickly around you, you see {around}. "
        f"Your task is to: {scene.game.task[:1].lower()}{scene.game.task[1:]}"
    )


def reply(scene: Scene, command: str) -> str:
    """The game's answer to a command that was just carried out, in the grammar's wording."""
    verb, _, rest = command.partition(" ")
    thing, _, receptacle = (
        rest.replace(" with ", " from ").replace(" to ", " from ").partition(" from ")
    )
    simple = {
        "take": f"You pick up the {thing} from the {receptacle}.",
        "move": f"You move the {thing} to the {receptacle}.",
        "clean": f"You clean the {thing} using the {receptacle}.",
        "heat": f"You heat the {thing} using the {receptacle}.",
        "cool": f"You cool the {thing} using the {receptacle}.",
        "slice": f"You sliced the {thing} with the {receptacle}.",
        "use": f"You turn on the {thing}.",
        "close": f"You close the {thing}.",
        "help": "You can go, open, close, take, move, clean, heat, cool, slice, use and examine.",
    }
    if verb == "go":
        place = rest.removeprefix("to ")
        return f"You arrive at {place}. {_contents(scene, place)}"
    if verb == "open":
        return f"You open the {thing}. {_contents(scene, thing)}"
    if verb == "look":
        if not scene.here:
            around = _listed(sorted(scene.house.place, reverse=True))
            return f"You are in the middle of a room. Looking quickly around you, you see {around}."
        facing = ", and ".join(scene.here)
        return f"You are facing the {facing}. Next to it, you see nothing."
    if verb == "inventory":
        hand = scene.now.hand
        return f"You are carrying: a {hand}." if hand else "You are not carrying anything."
    if verb == "examine":
        return _contents(scene, rest) if rest in scene.house.place else _examined(scene, rest)
    return simple[verb]


def _contents(scene: Scene, receptacle: str) -> str:
    if not scene.visible(receptacle):
        return f"The {receptacle} is closed."
    held = _listed(sorted(scene.contents(receptacle)))  # plain: the order is to say nothing
    if receptacle in scene.house.openable:
        return f"The {receptacle} is open. In it, you see {held}."
    return f"On the {receptacle}, you see {held}."


def _examined(scene: Scene, thing: str) -> str:
    words = sorted(scene.now.states.get(thing, ()))
    if words:
        return f"This is a {' and '.join(words)} {thing}."
    if thing in scene.house.toggleable:
        return f"This {thing} is {'on' if thing in scene.now.toggled else 'off'}."
    return f"There's nothing special about {thing}."


def thought(scene: Scene, command: str) -> str:
    """A truthful sentence that says why one would give ``command`` here."""
    verb, _, rest = command.partition(" ")
    rule = _RULES.get(verb)
    return rule(scene, rest) if rule else f"I {command}."


def _go(scene: Scene, rest: str) -> str:
    place = rest.removeprefix("to ")
    return _visit(scene, place, f"I go to the {place}")


def _visit(scene: Scene, place: str, deed: str) -> str:
    """Why one would want to reach a receptacle."""
    game, house, carried = scene.game, scene.house, scene.carried
    kind, seen = house.kind.get(place, ""), dict(scene.memory.seen)
    new = place not in scene.memory.searched
    if carried and not scene.ready(carried):
        if kind in APPLIANCES[game.kind][2]:
            verb = APPLIANCES[game.kind][0]
            need = f"The {carried} still has to be {scene.state}"
            return f"{need} and the {place} can {verb} it, so {deed}."
    elif carried and game.kind == LOOK:
        lamps = [t for t, r in seen.items() if r == place and house.kind[t] == game.target]
        if lamps:
            return f"The {lamps[0]} is {_on(house, place)}, so {deed}."
        if new and not any(house.kind[t] == game.target for t in seen):
            return f"No {game.target} was seen yet and the {place} may have one, so {deed}."
    elif carried and kind == game.target:
        return f"The {carried} belongs {_on(house, place)}, so {deed}."
    if not carried:
        known = {t: r for t, r in seen.items() if house.kind[t] == game.wanted}
        open_ = {t: r for t, r in known.items() if not scene.placed(t)}
        for thing, where in open_.items():
            if where == place:
                return f"The task needs the {thing} and it is {_on(house, place)}, so {deed}."
        if not open_ and new:
            return f"No {game.wanted} to take was seen yet and the {place} may hold one, so {deed}."
    return f"Nothing that the task needs now is known to be at the {place}, but {deed}."


def _open(scene: Scene, place: str) -> str:
    deed = f"I open the {place}"
    appliances = APPLIANCES.get(scene.game.kind, ("", "", ()))[2]
    carried = scene.carried
    if carried and not scene.ready(carried) and scene.house.kind.get(place) in appliances:
        return f"The {place} works without being opened, but {deed}."
    return _visit(scene, place, deed)


def _close(scene: Scene, place: str) -> str:
    return f"The {place} can stay open, but I close the {place}."


def _take(scene: Scene, rest: str) -> str:
    thing, _, place = rest.partition(" from ")
    deed = f"I take it from the {place}"
    if scene.house.kind.get(thing) != scene.game.wanted:
        return f"The task does not ask for the {thing}, but {deed}."
    if scene.placed(thing):
        return f"The {thing} is already where it belongs, but {deed}."
    return f"The task needs the {thing}, so {deed}."


def _move(scene: Scene, rest: str) -> str:
    thing, _, place = rest.partition(" to ")
    deed = f"I move it to the {place}"
    if scene.house.kind.get(thing) != scene.game.wanted:
        return f"The task does not ask for the {thing}, so {deed}."
    if not scene.ready(thing):
        return f"The {thing} still has to be {scene.state}, but {deed}."
    if scene.game.kind != LOOK and scene.house.kind.get(place) == scene.game.target:
        return f"The {thing} belongs {_on(scene.house, place)}, so {deed}."
    return f"The {thing} does not belong {_on(scene.house, place)}, but {deed}."


def _treat(verb: str, state: str) -> Callable[[Scene, str], str]:
    def rule(scene: Scene, rest: str) -> str:
        thing, _, place = rest.partition(" with ")
        deed = f"I {verb} it with the {place}"
        if scene.house.kind.get(thing) == scene.game.wanted and scene.state == state:
            if scene.ready(thing):
                return f"The {thing} is {state} already, but {deed}."
            return f"The {thing} still has to be {state}, so {deed}."
        return f"The task does not ask for the {thing} to be {state}, but {deed}."

    return rule


def _use(scene: Scene, lamp: str) -> str:
    deed = f"I use the {lamp}"
    if scene.game.kind != LOOK or scene.house.kind.get(lamp) != scene.game.target:
        return f"The task does not need the {lamp}, but {deed}."
    if scene.carried:
        return f"The {scene.carried} is in my hand and has to be looked at in the light, so {deed}."
    return f"No {scene.game.wanted} is in my hand yet, but {deed}."


def _slice(scene: Scene, rest: str) -> str:
    thing, _, knife = rest.partition(" with ")
    return f"The task does not ask for the {thing} to be sliced, but I slice it with the {knife}."


def _again(scene: Scene, rest: str) -> str:
    return "Nothing changes by looking again, but I look again."


_RULES: dict[str, Callable[[Scene, str], str]] = {
    "go": _go,
    "open": _open,
    "close": _close,
    "take": _take,
    "move": _move,
    "clean": _treat("clean", "clean"),
    "heat": _treat("heat", "hot"),
    "cool": _treat("cool", "cool"),
    "use": _use,
    "slice": _slice,
    "examine": _again,
    "look": _again,
    "inventory": _again,
    "help": _again,
}
