"""Which cooking games there are, and a folder that keeps them.

A game is a file ``GAME_ID.json`` written by TextWorld's own generator (Côté et al. 2018,
arXiv:1806.11532). The id holds everything that the game depends on, so a file that is there is
the file that is wanted, and an interrupted generation continues where it stopped.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgv_jax.errors import PgvError
from pgv_jax.tasks.textworld_package import Game, GameMaker, GameOptions, cooking

SHAPES = ((1, 1), (2, 1), (2, 2))
"""(ingredients in the recipe, ingredients that are not held at the start), used in turn."""

ROOMS = (1, 6, 9, 12)
"""The sizes that TextWorld's generator knows."""

WITHOUT = {"cook": "raw", "cut": "whole"}
"""What a recipe may leave out -> its word in a game's name."""

FIRST_SEED = {"train": 1000, "test": 5000}
"""Seeds of the splits do not meet: at most 4,000 training games."""

ONE_AT_A_TIME = threading.RLock()
"""Held while TextWorld generates or reads a game: all threads share its one parser, which loses
its place when two use it. Steps do not parse."""

_ID = re.compile(r"cooking-r(\d)t(\d)g(\d+)(raw)?(whole)?-(\d+)")


@dataclass(frozen=True, slots=True)
class GameSpec:
    """Everything that a cooking game depends on."""

    seed: int
    recipe: int = 1
    take: int = 1
    rooms: int = 6
    cook: bool = True
    cut: bool = True

    @property
    def game_id(self) -> str:
        """The game's name, for example ``cooking-r2t1g6-1004`` or ``cooking-r1t1g1whole-1000``."""
        without = "".join(word for key, word in WITHOUT.items() if not getattr(self, key))
        return f"cooking-r{self.recipe}t{self.take}g{self.rooms}{without}-{self.seed}"

    @classmethod
    def of(cls, game_id: str) -> GameSpec:
        """Read the specification back from a game's name."""
        match = _ID.fullmatch(game_id)
        if match is None:
            raise PgvError(f"'{game_id}' is no cooking game; ids read like cooking-r2t1g6-1004.")
        recipe, take, rooms, raw, whole, seed = match.groups()
        return cls(int(seed), int(recipe), int(take), int(rooms), not raw, not whole)


def game_specs(
    split: str,
    count: int,
    rooms: int = 6,
    first: int = 0,
    shapes: Sequence[Sequence[int]] = SHAPES,
    cook: bool = True,
    cut: bool = True,
) -> tuple[GameSpec, ...]:
    """The ``count`` games of a split, from its ``first`` on; the same ones each time."""
    if split not in FIRST_SEED:
        raise PgvError(f"Split '{split}' has no games; use 'train' or 'test'.")
    if rooms not in ROOMS:
        raise PgvError(f"A cooking game has 1, 6, 9 or 12 rooms, not {rooms}.")
    if not shapes or any(len(s) != 2 or not 0 <= s[1] <= s[0] <= 5 or not s[0] for s in shapes):
        raise PgvError(
            f"Shapes {shapes} of cooking games are not understood; give pairs of (ingredients, "
            "those that are not held at the start), such as [[1, 1], [2, 1]]."
        )
    specs = []
    for i in range(first, first + count):
        recipe, take = shapes[i % len(shapes)]
        specs.append(GameSpec(FIRST_SEED[split] + i, recipe, take, rooms, cook, cut))
    return tuple(specs)


@contextmanager
def _no_walkthrough() -> Iterator[None]:
    """Let TextWorld's generator leave out the walkthrough that it stores with a game.

    To record it, the generator compiles the game with Inform 7 and plays it: most of the time that
    generation takes, a compiler that not every platform has, and bookkeeping that then costs half
    of every step. Rooms, things, recipe and rules are the same without it; the expert here is
    ``planner``.
    """
    original = GameMaker.set_walkthrough
    GameMaker.set_walkthrough = lambda self, commands: None
    try:
        yield
    finally:
        GameMaker.set_walkthrough = original


def make_game(spec: GameSpec, path: Path) -> None:
    """Generate one game and put it at ``path`` in one move."""
    options = GameOptions()
    options.seeds = spec.seed
    settings = {
        "recipe": spec.recipe,
        "take": spec.take,
        "go": spec.rooms,
        "open": True,
        "cook": spec.cook,
        "cut": spec.cut,
        "drop": False,
        "split": None,
        "recipe_seed": 0,
    }
    part = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.json")
    with ONE_AT_A_TIME:
        with _no_walkthrough():
            game = cooking.make(settings, options)
        game.save(str(part))
    part.replace(path)


def ensure_games(
    folder: Path | str,
    specs: Sequence[GameSpec],
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Generate the games that ``folder`` lacks; return how many. ``progress(done, total)``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [spec for spec in specs if not (folder / f"{spec.game_id}.json").exists()]
    for done, spec in enumerate(missing, start=1):
        make_game(spec, folder / f"{spec.game_id}.json")
        if progress is not None:
            progress(done, len(missing))
    return len(missing)


def load_game(folder: Path | str, spec: GameSpec) -> Game:
    """Read a game of the folder, generating it first if need be."""
    path = Path(folder) / f"{spec.game_id}.json"
    ensure_games(folder, [spec])
    try:
        with ONE_AT_A_TIME:
            return Game.load(str(path))
    except (ValueError, KeyError) as error:
        raise PgvError(
            f"Game file {path} cannot be read ({error}); delete it and it is generated again."
        ) from error
