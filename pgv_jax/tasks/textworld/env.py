"""TextWorld cooking games as a text environment with progress notes, reasons and an expert.

Games of TextWorld's ``.json`` back end need no compiler and have no prose, so the observation is
written from the facts (``words``). Offered are the commands that can bring a game
forward or spoil it: go, open, close, take, cook, chop, slice, dice, prepare, eat and drink. Not
offered, though still accepted, are those that change nothing in the note (look, examine,
inventory) and those that only move things about (drop, put, insert): a random policy would spend
most of its steps on them. Locked things do not occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv
from pgv_jax.tasks.textworld.games import ONE_AT_A_TIME, SHAPES, GameSpec, game_specs, load_game
from pgv_jax.tasks.textworld.goals import Goal, errand_for, game_goals
from pgv_jax.tasks.textworld.planner import (
    Errand,
    best_command,
    distance,
    distance_after,
    meal_errand,
)
from pgv_jax.tasks.textworld.words import Memory, note, remember, task_text, thought
from pgv_jax.tasks.textworld.world import (
    House,
    Situation,
    read_house,
    read_situation,
    ready_to_prepare,
)
from pgv_jax.tasks.textworld_package import GameProgression, Inform7Game

OFFERED = (
    "go",
    "open",
    "close",
    "take",
    "cook",
    "chop",
    "slice",
    "dice",
    "prepare",
    "eat",
    "drink",
)
"""Verbs of the commands that ``admissible_actions`` lists."""


@dataclass(slots=True)
class _Game:
    """A loaded game and what never changes in it."""

    spec: GameSpec
    start: GameProgression
    commands: Inform7Game
    names: dict[str, str]
    house: House
    max_score: int


@dataclass(frozen=True, slots=True)
class _Moment:
    """All that a step changes; also what a snapshot holds."""

    progress: GameProgression
    commands: dict[str, Any]
    """Command -> TextWorld's action, of everything that the game accepts now."""
    now: Situation
    memory: Memory
    steps: int
    misunderstood: bool
    over: bool


class TextWorldEnv(TextEnv):
    """Cooking games; see ``pgv_jax.tasks.base`` for the conventions.

    ``folder`` keeps the generated games; they are generated when they are first played, or all
    beforehand by ``ensure_games``. ``train`` and ``test`` games have ids of their own and share the
    vocabulary of foods and rooms. Winning, or spoiling the meal, terminates; the step limit
    truncates. ``max_steps`` 0 is no limit. ``reasons=False`` gives thoughts that say what is done
    and not why ("I should take the carrot from the table."): the control for what reasons tell.

    ``rooms`` 1 is the kitchen alone. ``shapes``: (ingredients in the recipe, those of them that are
    not held at the start), used in turn. ``cook`` and ``cut`` False: ingredients are so already.
    """

    name: ClassVar[str] = "textworld"

    def __init__(
        self,
        folder: Path | str,
        train: int = 24,
        test: int = 12,
        rooms: int = 6,
        max_steps: int = 50,
        first: int = 0,
        reasons: bool = True,
        shapes: Sequence[Sequence[int]] = SHAPES,
        cook: bool = True,
        cut: bool = True,
    ):
        super().__init__()
        self.reasons = reasons
        self.folder = Path(folder)
        self.max_steps = max_steps
        self.specs = {
            split: game_specs(split, count, rooms, first, shapes, cook, cut)
            for split, count in (("train", train), ("test", test))
        }
        self._games: dict[str, _Game] = {}
        self._game: _Game | None = None
        self._moment: _Moment | None = None
        self._goal: Errand | None = None

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of the games of one split, or of both."""
        if split is not None and split not in self.specs:
            raise PgvError(f"Split '{split}' has no games; use 'train' or 'test'.")
        splits = [split] if split else list(self.specs)
        return tuple(spec.game_id for name in splits for spec in self.specs[name])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start a game: ``options={"task": ID}``; without an id the seed draws one."""
        super().reset(seed=seed)
        self._game = self._load(self._choose_task(options))
        self._goal = None
        progress = _copy(self._game.start)
        now = read_situation(progress.state.facts, self._game.names)
        memory = remember(self._game.house, now, Memory())
        commands = _commands(self._game, progress, now)
        self._moment = _Moment(progress, commands, now, memory, 0, False, progress.done)
        return self._note(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Give one command; the reward is the gain in score, in [0, 1]."""
        game, moment = self._here()
        if moment.over:
            raise PgvError("This game is over; call reset before the next step.")
        wanted = " ".join(action.split()).lower()
        commands = moment.commands
        chosen = next((a for c, a in commands.items() if c.lower() == wanted), None)
        progress, now, memory = moment.progress, moment.now, moment.memory
        before = progress.score
        if chosen is not None:
            progress.update(chosen)
            now = read_situation(progress.state.facts, game.names)
            memory = remember(game.house, now, memory)
            commands = _commands(game, progress, now)
        steps, ended = moment.steps + 1, progress.done
        truncated = not ended and 0 < self.max_steps <= steps
        self._moment = _Moment(
            progress, commands, now, memory, steps, chosen is None, ended or truncated
        )
        reward = (progress.score - before) / game.max_score
        return self._note(), reward, ended, truncated, self._info()

    def thought_for(self, action: str) -> str:
        """The reason for ``action`` in a sentence, from what the note's reader knows."""
        game, moment = self._here()
        if not self.reasons:
            return f"I should {action}."
        return thought(game.house, moment.now, moment.memory, action)

    def set_goal(self, goal: str | None) -> None:
        """Point the expert at a sentence of the notes; None points it at the meal again."""
        game, moment = self._here()
        self._goal = errand_for(game.house, moment.now, goal) if goal else None

    def run_time_goals(self, game_id: str, max_steps: int = 20, seed: int = 0) -> list[Goal]:
        """Sentences that are not true at the start of a game, each that the expert can bring about.

        The expert plays them in TextWorld itself (about 0.1 s a game); one that fails is left out.
        """
        self.reset(options={"task": game_id})
        game, moment = self._here()
        start = self.snapshot()
        goals = []
        for goal in game_goals(game.house, moment.now, game_id, max_steps, seed):
            self.restore(start)
            self.set_goal(goal.sentence)
            text = self._note()
            for _ in range(goal.steps):
                text, _, ended, _, _ = self.step(self.expert_action() or "")
                if ended:
                    break
            if goal.sentence in text and goal.steps == self._here()[1].steps:
                goals.append(goal)
        self.restore(start)
        return goals

    def distance(self) -> int | None:
        """The least number of commands to the goal; None where it is out of reach."""
        game, moment = self._here()
        errand = self._goal or meal_errand(game.house, moment.now)
        return distance(game.house, moment.now, errand)

    def correct(self, action: str) -> bool | None:
        """Whether ``action`` is one command of a shortest way to the goal."""
        game, moment = self._here()
        now = self.distance()
        if now is None or action not in moment.commands:
            return False
        later = distance_after(game.house, moment.now, self._goal, action)
        return later is not None and later < now

    def expert_action(self) -> str | None:
        """An offered command on a shortest way to the goal; things at hand come first."""
        game, moment = self._here()
        return best_command(game.house, moment.now, self._goal, self.admissible_actions())

    def preferences(self, actions: Sequence[str]) -> list[float]:
        """1 / (1 + commands that are left after it); 0 for what spoils the goal."""
        game, moment = self._here()
        scores = []
        for action in actions:
            left = (
                distance_after(game.house, moment.now, self._goal, action)
                if action in moment.commands
                else self.distance()
            )
            scores.append(0.0 if left is None else 1.0 / (1.0 + left))
        return scores

    def admissible_actions(self) -> list[str]:
        """The commands with an offered verb that the game accepts now, sorted; none at its end."""
        moment = self._here()[1]
        if moment.progress.done:
            return []
        return sorted(c for c in moment.commands if c.partition(" ")[0] in OFFERED)

    def snapshot(self) -> Any:
        """The present moment; cheap, as only the game's progression is copied."""
        game, moment = self._here()
        return (game.spec.game_id, self._goal, _frozen(moment))

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of any game of this environment."""
        game_id, self._goal, moment = snapshot
        self._game, self._moment = self._load(game_id), _frozen(moment)

    @property
    def house(self) -> House:
        """What does not change in the present game."""
        return self._here()[0].house

    @property
    def situation(self) -> Situation:
        """What is the case now."""
        return self._here()[1].now

    def _here(self) -> tuple[_Game, _Moment]:
        if self._game is None or self._moment is None:
            raise PgvError("No game has been started; call reset first.")
        return self._game, self._moment

    def _load(self, game_id: str) -> _Game:
        if game_id not in self._games:
            with ONE_AT_A_TIME:
                self._games[game_id] = _open(GameSpec.of(game_id), self.folder)
        return self._games[game_id]

    def _note(self) -> str:
        game, moment = self._here()
        text = note(game.house, moment.now, moment.memory)
        return f"{text} {NOT_UNDERSTOOD}" if moment.misunderstood else text

    def _info(self) -> dict[str, Any]:
        game, moment = self._here()
        return {
            "task_id": game.spec.game_id,
            "task": task_text(game.house),
            "admissible_actions": self.admissible_actions(),
            "success": bool(moment.progress.completed),
            "score": moment.progress.score / game.max_score,
        }


def _open(spec: GameSpec, folder: Path) -> _Game:
    game = load_game(folder, spec)
    start = GameProgression(game)
    names = {key: info.name for key, info in game.infos.items() if info.name}
    house = read_house(start.state.facts, names, game.metadata["ingredients"])
    return _Game(spec, start, Inform7Game(game), names, house, max(1, game.max_score))


def _commands(game: _Game, progress: GameProgression, now: Situation) -> dict[str, Any]:
    """Command -> TextWorld's action, of everything that the game accepts.

    The compiled games refuse "prepare meal" until every ingredient is ready; the ``.json`` back end
    asks for the first ingredient only. The compiled games are followed.
    """
    whole_recipe = f"make/recipe/{len(game.house.recipe)}"
    ready = ready_to_prepare(game.house, now)
    actions = [
        action
        for action in progress.valid_actions
        if not action.name.startswith("make/recipe") or (ready and action.name == whole_recipe)
    ]
    return dict(zip(game.commands.gen_commands_from_actions(actions), actions, strict=True))


def _copy(progress: GameProgression) -> GameProgression:
    """A copy that shares nothing mutable; TextWorld's own recomputes all actions first (1.5 ms)."""
    copy = GameProgression.__new__(GameProgression)
    copy.game = progress.game
    copy.state = progress.state.copy()
    copy._valid_actions = progress.valid_actions
    copy.quest_progressions = [quest.copy() for quest in progress.quest_progressions]
    return copy


def _frozen(moment: _Moment) -> _Moment:
    return replace(moment, progress=_copy(moment.progress))
