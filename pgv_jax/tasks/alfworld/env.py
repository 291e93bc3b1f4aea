"""ALFWorld's text games (Shridhar et al. 2021, arXiv:2010.03768) as a text environment.

The games are files that the user brings (``folder``); the packages come with the extra
``alfworld``. Observations are progress notes by default; ``words="game"`` gives the game's own
replies and offers every command that it accepts, as published results on ALFWorld do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pgv_jax.errors import PgvError
from pgv_jax.tasks.alfworld.games import FOLDERS, KINDS, Game, data_folder, find_games, load_game
from pgv_jax.tasks.alfworld.planner import after, goal_conditions, plan
from pgv_jax.tasks.alfworld.words import Scene, intro, note, remember, reply, thought
from pgv_jax.tasks.alfworld.world import World, read_house
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv

SILENT = ("look", "inventory", "help", "examine")
"""Verbs that change nothing in a note; offered only with the game's own replies."""

NOTHING_HAPPENS = "Nothing happens."


@dataclass(frozen=True, slots=True)
class _Moment:
    """All that a step changes; also what a snapshot holds."""

    scene: Scene
    said: str
    """The game's last words."""
    steps: int = 0
    misunderstood: bool = False
    over: bool = False
    given: tuple[str, ...] = ()
    """The commands since the start: a state is restored by repeating them."""


class AlfworldEnv(TextEnv):
    """Household tasks; see ``pgv_jax.tasks.base`` for the conventions.

    Splits: "train" (3,553 games), "test" or "unseen" (134, rooms that are not in train), "seen"
    (140). ``train`` and ``test`` take the first so many games only (0: all); ``kinds`` keeps some
    of the six kinds of tasks. ``info["score"]`` is the share of the goal conditions that hold, as
    ALFRED counts them; the reward is success alone. ``cache`` is a folder that keeps loaded games
    for the next process; this process loads each game once in any case. ``max_steps`` 0 is no
    limit; 50 is the published one.
    """

    name: ClassVar[str] = "alfworld"

    def __init__(
        self,
        folder: Path | str | None = None,
        train: int = 0,
        test: int = 0,
        kinds: Sequence[str] = KINDS,
        max_steps: int = 50,
        words: Literal["note", "game"] = "note",
        cache: Path | str | None = None,
    ):
        super().__init__()
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise PgvError(f"ALFWorld has no tasks '{unknown[0]}'; it has: {', '.join(KINDS)}.")
        if words not in ("note", "game"):
            raise PgvError(f"ALFWorld's words are '{words}'; use 'note' or 'game'.")
        self.folder = data_folder(folder)
        self.cache = None if cache is None else Path(cache)
        self.max_steps = max_steps
        self.words = words
        self._kinds, self._limits = tuple(kinds), {"train": train, "test": test, "unseen": test}
        self._ids: dict[str, tuple[str, ...]] = {}
        self._world: World | None = None
        self._moment: _Moment | None = None

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of the games of one split; of train, seen and unseen where none is named."""
        if split is None:
            return tuple(i for name in ("train", "seen", "unseen") for i in self.task_ids(name))
        if split not in FOLDERS:
            raise PgvError(f"Split '{split}' has no games; use one of: {', '.join(FOLDERS)}.")
        if split not in self._ids:
            found = find_games(self.folder, split, self._kinds)
            self._ids[split] = found[: self._limits.get(split, 0) or None]
        return self._ids[split]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start a game: ``options={"task": ID}``; without an id the seed draws one."""
        super().reset(seed=seed)
        game = load_game(self.folder, self._choose_task(options), self.cache)
        world = self._play(game, ())
        scene = Scene(game, read_house(game), world.situation())
        scene = replace(scene, memory=remember(scene))
        self._moment = _Moment(scene, intro(scene), over=world.won)
        return self._observation(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Give one command; the reward is 1 for the command that solves the task."""
        world, moment = self._here()
        if moment.over:
            raise PgvError("This game is over; call reset before the next step.")
        command = " ".join(action.split()).lower()
        known = command in world.commands
        scene, said, given = moment.scene, NOTHING_HAPPENS, moment.given
        if known:
            world.do(command)
            given = (*given, command)
            scene = replace(scene, now=world.situation())
            scene = replace(scene, memory=remember(scene))
            said = reply(scene, command)
        steps, won = moment.steps + 1, world.won
        truncated = not won and 0 < self.max_steps <= steps
        over = won or truncated
        self._moment = _Moment(scene, said, steps, not known, over, given)
        return self._observation(), float(won), won, truncated, self._info()

    def admissible_actions(self) -> list[str]:
        """The commands that the game accepts and that can change the observation, sorted."""
        world, moment = self._here()
        if world.won:
            return []
        if self.words == "game":
            return sorted(world.commands)
        idle = {f"go to {receptacle}" for receptacle in moment.scene.here}
        offered = (c for c in world.commands if c.partition(" ")[0] not in SILENT)
        return sorted(command for command in offered if command not in idle)

    def thought_for(self, action: str) -> str:
        """The reason for ``action`` in a sentence, from what the player has seen."""
        return thought(self._here()[1].scene, action)

    def distance(self) -> int | None:
        """The number of commands on the expert's way; None where success is out of reach."""
        scene = self._here()[1].scene
        way = plan(scene.game, scene.house, scene.now)
        return None if way is None else len(way)

    def expert_action(self) -> str | None:
        """The walkthrough's next command while it is followed, else that of a shortest way."""
        world, moment = self._here()
        scene, given = moment.scene, moment.given
        walk = scene.game.walkthrough
        if world.won:
            return None
        if given == walk[: len(given)] and walk[len(given)] in world.commands:
            return walk[len(given)]
        way = plan(scene.game, scene.house, scene.now)
        return way[0] if way else None

    def preferences(self, actions: Sequence[str]) -> list[float]:
        """1 / (1 + commands that are left after it); 0 where the way is lost."""
        left = [self._distance_after(action) for action in actions]
        return [0.0 if number is None else 1.0 / (1.0 + number) for number in left]

    def correct(self, action: str) -> bool:
        """Whether ``action`` is one command of a shortest way."""
        now, later = self.distance(), self._distance_after(action)
        return now is not None and later is not None and later < now

    def snapshot(self) -> Any:
        """The present moment; restoring repeats its commands in the library (milliseconds)."""
        return self._here()[1]

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of any game of this environment."""
        assert isinstance(snapshot, _Moment)
        self._play(snapshot.scene.game, snapshot.given)
        self._moment = snapshot

    def close(self) -> None:
        """Free the library that holds the game."""
        if self._world is not None:
            self._world.close()
        self._world = self._moment = None

    def _here(self) -> tuple[World, _Moment]:
        if self._world is None or self._moment is None:
            raise PgvError("No game has been started; call reset first.")
        return self._world, self._moment

    def _play(self, game: Game, commands: Sequence[str]) -> World:
        if self._world is None:
            self._world = World()
        self._world.start(game, commands)
        return self._world

    def _distance_after(self, action: str) -> int | None:
        world, moment = self._here()
        if action not in world.commands:
            return self.distance()
        scene = moment.scene
        way = plan(scene.game, scene.house, after(scene.house, scene.now, action))
        return None if way is None else len(way)

    def _observation(self) -> str:
        moment = self._here()[1]
        if self.words == "game":
            return moment.said
        text = note(moment.scene)
        return f"{text} {NOT_UNDERSTOOD}" if moment.misunderstood else text

    def _info(self) -> dict[str, Any]:
        world, moment = self._here()
        met, conditions = goal_conditions(moment.scene.game, moment.scene.house, moment.scene.now)
        return {
            "task_id": moment.scene.game.game_id,
            "task": moment.scene.game.task,
            "admissible_actions": self.admissible_actions(),
            "success": world.won,
            "score": met / conditions,
        }
