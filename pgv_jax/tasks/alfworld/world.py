"""An ALFWorld game under way: which commands apply, what they change, what is the case.

fast-downward's library says which actions apply and what they change, as in TextWorld's own
environment for these games. That one derives the wording of every command and reply anew from the
game's grammar at every step (7 to 17 steps/s, and by ``eval``); here the wording of a command is
worked out once, and the replies are ours (``words``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgv_jax.tasks.alfworld.games import Game, packages

AGENT = "agent1"

COMMANDS = {
    "gotolocation": "go to {r}",
    "openobject": "open {r}",
    "closeobject": "close {r}",
    "pickupobject": "take {o} from {r}",
    "putobject": "move {o} to {r}",
    "cleanobject": "clean {o} with {r}",
    "heatobject": "heat {o} with {r}",
    "coolobject": "cool {o} with {r}",
    "toggleobject": "use {o}",
    "sliceobject": "slice {co} with {ko}",
    "examinereceptacle": "examine {r}",
    "examineobject": "examine {o}",
    "look": "look",
    "inventory": "inventory",
    "help": "help",
}
"""PDDL action -> the command that the player gives; the wording of ALFWorld's grammar."""

STATES = {"isclean": "clean", "ishot": "hot", "iscool": "cool", "issliced": "sliced"}
"""Predicate -> adjective."""


@dataclass(frozen=True, slots=True)
class House:
    """What never changes in a game."""

    place: Mapping[str, str]
    """Receptacle -> its location."""
    kind: Mapping[str, str]
    """Object or receptacle -> its type, in lower case ("mug")."""
    openable: frozenset[str]
    toggleable: frozenset[str]
    can: Mapping[str, frozenset[str]]
    """State ("clean", "hot", "cool") -> the objects that can be brought into it."""
    holds: frozenset[tuple[str, str]]
    """(type of receptacle, type of object) that go together."""

    def accepts(self, receptacle: str, thing: str) -> bool:
        """Whether ``thing`` can be put into ``receptacle``."""
        return (self.kind[receptacle], self.kind.get(thing, "")) in self.holds

    def of_kind(self, kind: str) -> list[str]:
        """All receptacles and objects of a type, sorted."""
        return sorted(name for name, its in self.kind.items() if its == kind)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is the case now; complete, also where the player has not looked."""

    location: str
    hand: str | None
    inside: Mapping[str, frozenset[str]]
    """Object -> the receptacles that it is in or on; sometimes two, as the game has it."""
    open: frozenset[str]
    states: Mapping[str, frozenset[str]]
    """Object -> its adjectives ("clean")."""
    toggled: frozenset[str] = field(default_factory=frozenset)


def read_house(game: Game) -> House:
    """What never changes, from the facts at the start."""
    by: dict[str, list[list[str]]] = {}
    for name, *arguments in game.facts:
        by.setdefault(name, []).append(arguments)

    def ones(name: str) -> frozenset[str]:
        return frozenset(arguments[0] for arguments in by.get(name, []))

    kinds = [*by.get("objecttype", []), *by.get("receptacletype", [])]
    return House(
        place={r: location for r, location in by.get("receptacleatlocation", [])},
        kind={name: kind.removesuffix("type") for name, kind in kinds},
        openable=ones("openable"),
        toggleable=ones("toggleable"),
        can={"clean": ones("cleanable"), "hot": ones("heatable"), "cool": ones("coolable")},
        holds=frozenset(
            (r.removesuffix("type"), o.removesuffix("type")) for r, o in by.get("cancontain", [])
        ),
    )


class World:
    """The library with one game in it. A library holds one game; starting another replaces it."""

    def __init__(self) -> None:
        self._lib: Any = packages().downward.load_lib()
        self._game: Game | None = None
        self._facts: set[tuple[str, ...]] = set()
        self._commands: dict[str, int] = {}
        self._effects: dict[int, int] = {}
        self._wording: dict[str, str] = {}

    def start(self, game: Game, commands: Iterable[str] = ()) -> None:
        """Start ``game`` and give it the ``commands`` of an earlier run of it."""
        if game is not self._game:
            self._wording = {}
        self._game = game
        self._lib.load_sas(game.sas.encode())
        self._facts = {tuple(fact) for fact in game.facts}
        self._read_commands()
        for command in commands:
            self.do(command)

    def close(self) -> None:
        """Free the library."""
        if self._lib is not None:
            packages().downward.interface.close_lib(self._lib)
            self._lib = None

    @property
    def commands(self) -> Mapping[str, int]:
        """Everything that the game accepts now: command -> operator."""
        return self._commands

    @property
    def won(self) -> bool:
        """Whether the goal holds."""
        return bool(self._lib.check_goal())

    def do(self, command: str) -> None:
        """Give one of ``commands``."""
        self._apply(self._commands[command])
        self._read_commands()

    def situation(self) -> Situation:
        """What is the case now."""
        location, hand = "", None
        inside: dict[str, set[str]] = {}
        states: dict[str, set[str]] = {}
        opened, toggled = set(), set()
        for name, *arguments in self._facts:
            if name == "inreceptacle":
                inside.setdefault(arguments[0], set()).add(arguments[1])
            elif name == "atlocation":
                location = arguments[1]
            elif name == "holds":
                hand = arguments[1]
            elif name == "opened":
                opened.add(arguments[0])
            elif name == "istoggled":
                toggled.add(arguments[0])
            elif name in STATES:
                states.setdefault(arguments[0], set()).add(STATES[name])
        return Situation(
            location=location,
            hand=hand,
            inside={thing: frozenset(places) for thing, places in inside.items()},
            open=frozenset(opened),
            states={thing: frozenset(words) for thing, words in states.items()},
            toggled=frozenset(toggled),
        )

    def _read_commands(self) -> None:
        operators = (packages().downward.Operator * self._lib.get_applicable_operators_count())()
        self._lib.get_applicable_operators(operators)
        self._commands, self._effects = {}, {}
        for operator in operators:
            number = int(operator.id)
            self._effects[number] = int(operator.nb_effect_atoms)
            self._commands.setdefault(self._command(operator.name), number)

    def _command(self, operator: str) -> str:
        """The command of an operator "gotolocation agent1 loc_1 loc_2 desk_bar_1"."""
        if operator not in self._wording:
            assert self._game is not None
            action, *ids = operator.split()
            values = (self._game.names[key] for key in ids)
            # an action with alternatives has variants with fewer parameters, in the same order
            slots = dict(zip(self._game.parameters[action], values, strict=False))
            self._wording[operator] = COMMANDS[action].format(**slots)
        return self._wording[operator]

    def _apply(self, operator: int) -> None:
        assert self._game is not None
        atoms = (packages().downward.Atom * self._effects[operator])()
        self._lib.apply_operator(operator, atoms)
        for atom in atoms:  # "Atom holds(agent1, mug_1)" or "NegatedAtom ..."
            sign, _, rest = atom.name.partition(" ")
            name, _, arguments = rest.rstrip(")").partition("(")
            fact = (name, *(self._game.names[key] for key in arguments.split(", ") if key))
            if sign == "Atom":
                self._facts.add(fact)
            else:
                self._facts.discard(fact)
