"""Game of 24: from four numbers, by three steps of arithmetic, make 24.

As in Yao et al. 2023 (arXiv:2305.10601): a step takes two of the numbers that are left and puts
what they make in their place. Puzzles are read from the published table
(``24.csv`` of princeton-nlp/tree-of-thought-llm, in the order of how hard people find them; ranks
901 to 1,000 are the test), or made: the four numbers of 1 to 13 that can make 24 are the same
1,362 puzzles.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv
from pgv_jax.tasks.game24.solver import (
    TARGET,
    Numbers,
    apply,
    solvable,
    solvable_puzzles,
    steps,
    without,
)

TESTED = slice(900, 1000)
"""Ranks 901 to 1,000 of the published table."""
HELD_OUT = 100
"""Made puzzles that are the test."""
_NUMBER = r"\(?\s*(-?\d{1,12}(?:/\d{1,12}|\.\d{1,6})?)\s*\)?"
_STEP = re.compile(rf"\s*{_NUMBER}\s*([-+*/])\s*{_NUMBER}\s*(?:=.*)?", re.DOTALL)
_SIGNS = str.maketrans({"x": "*", "X": "*", "\u00d7": "*", "\u00f7": "/", "\u2212": "-"})


@dataclass(frozen=True, slots=True)
class _Moment:
    """All that a step changes; also what a snapshot holds."""

    puzzle: str
    numbers: Numbers
    steps: int = 0
    misunderstood: bool = False
    truncated: bool = False


class Game24Env(TextEnv):
    """The game; see ``pgv_jax.tasks.base`` for the conventions.

    ``data`` is the published table or its folder. Actions are "a + b", "a - b", "a * b", "a / b"
    over numbers that are left; fractions are written "8/3", and anything behind "=" is ignored. One
    number left terminates, with success and score 1 if it is 24; the step limit truncates (0:
    none). ``reasons=False`` gives thoughts that say what is done and not what comes of it.
    """

    name: ClassVar[str] = "game24"

    def __init__(self, data: Path | str | None = None, max_steps: int = 10, reasons: bool = True):
        super().__init__()
        self.max_steps = max_steps
        self.reasons = reasons
        self._splits = _made() if data is None else _published(Path(data))
        self._moment: _Moment | None = None

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Puzzles of one split, or of both; an id is the numbers, such as 4-6-9-13."""
        if split is not None and split not in self._splits:
            raise PgvError(f"Split '{split}' has no puzzles; use 'train' or 'test'.")
        parts = self._splits.values() if split is None else (self._splits[split],)
        return tuple(puzzle for part in parts for puzzle in part)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start a puzzle: ``options={"task": ID}``; without an id the seed draws one."""
        super().reset(seed=seed)
        puzzle = self._choose_task(options)
        self._moment = _Moment(puzzle, tuple(sorted(map(Fraction, puzzle.split("-")))))
        return self._observe(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Join two numbers; the reward is 1 with the step that leaves 24."""
        moment = self._here()
        if len(moment.numbers) == 1 or moment.truncated:
            raise PgvError("This puzzle is over; call reset before the next step.")
        after = _after(moment.numbers, action)
        numbers, count = after or moment.numbers, moment.steps + 1
        ended = len(numbers) == 1
        truncated = not ended and 0 < self.max_steps <= count
        self._moment = _Moment(moment.puzzle, numbers, count, after is None, truncated)
        info = self._info()
        return self._observe(), info["score"], ended, truncated, info

    def admissible_actions(self) -> list[str]:
        """Every distinct step, sorted; none at the end."""
        numbers = self._here().numbers
        return sorted(f"{_word(a)} {sign} {_word(b)}" for a, sign, b, _ in steps(numbers))

    def thought_for(self, action: str) -> str:
        """What the step makes and leaves, and whether one more step would do."""
        numbers = self._here().numbers
        parsed, after = _parse(action), _after(numbers, action)
        if not self.reasons or parsed is None or after is None:
            return f"I should calculate {' '.join(action.split())[:200]}."
        first, sign, second = parsed
        made = f"{_word(first)} {sign} {_word(second)} makes {_word(apply(*parsed))}"
        if len(after) == 1:
            return f"{made}, which is {'' if after[0] == TARGET else 'not '}24."
        left = f"{made}, which leaves {_list(after)}"
        if len(after) > 2:
            return f"{left}."
        last = next((s for s in steps(after) if s[3] == (TARGET,)), None)
        if last is None:
            return f"{left}, and no single step makes 24 of these."
        return f"{left}, and {_word(last[0])} {last[1]} {_word(last[2])} makes 24."

    def distance(self) -> int | None:
        """Steps to 24; None where the numbers cannot make it."""
        return _distance(self._here().numbers)

    def correct(self, action: str) -> bool | None:
        """Whether ``action`` leaves numbers that can make 24."""
        after = _after(self._here().numbers, action)
        return after is not None and solvable(after)

    def expert_action(self) -> str | None:
        """The first offered step that leaves numbers which can make 24."""
        return next((action for action in self.admissible_actions() if self.correct(action)), None)

    def preferences(self, actions: Sequence[str]) -> list[float]:
        """1 / (1 + steps that are left after it); 0 for what spoils the puzzle."""
        numbers = self._here().numbers
        left = [_distance(_after(numbers, action) or numbers) for action in actions]
        return [0.0 if after is None else 1.0 / (1.0 + after) for after in left]

    def snapshot(self) -> Any:
        """The present moment, which never changes."""
        return self._here()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this environment."""
        self._moment = snapshot

    def _here(self) -> _Moment:
        if self._moment is None:
            raise PgvError("No puzzle has been started; call reset first.")
        return self._moment

    def _observe(self) -> str:
        moment = self._here()
        count = len(moment.numbers)
        lines = [f"{count} numbers are left." if count > 1 else "1 number is left."]
        for number in dict.fromkeys(moment.numbers):
            times = ("", " twice", " three times", " four times")[moment.numbers.count(number) - 1]
            lines.append(f"The number {_word(number)} is left{times}.")
        return " ".join([*lines, NOT_UNDERSTOOD] if moment.misunderstood else lines)

    def _info(self) -> dict[str, Any]:
        moment = self._here()
        success = moment.numbers == (TARGET,)
        numbers = tuple(sorted(map(Fraction, moment.puzzle.split("-"))))
        return {
            "task_id": moment.puzzle,
            "task": f"Make 24 of the numbers {_list(numbers)} with + - * /, using each once.",
            "admissible_actions": self.admissible_actions(),
            "success": success,
            "score": float(success),
        }


def _distance(numbers: Numbers) -> int | None:
    return len(numbers) - 1 if solvable(numbers) else None


def _parse(action: str) -> tuple[Fraction, str, Fraction] | None:
    found = _STEP.fullmatch(action.partition("=")[0].translate(_SIGNS))
    if found is None:
        return None
    try:
        return Fraction(found[1]), found[2], Fraction(found[3])
    except ZeroDivisionError:
        return None


def _after(numbers: Numbers, action: str) -> Numbers | None:
    """The numbers after a step; None where it is none or uses what is not there."""
    parsed = _parse(action)
    if parsed is None:
        return None
    made, left = apply(*parsed), without(numbers, parsed[0], parsed[2])
    return None if made is None or left is None else tuple(sorted((*left, made)))


def _word(number: Fraction | None) -> str:
    return str(number)


def _list(numbers: Numbers) -> str:
    words = [_word(number) for number in numbers]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _made() -> dict[str, tuple[str, ...]]:
    puzzles = ["-".join(map(str, puzzle)) for puzzle in solvable_puzzles()]
    puzzles.sort(key=lambda puzzle: hashlib.sha256(puzzle.encode()).digest())
    return {"train": tuple(puzzles[HELD_OUT:]), "test": tuple(puzzles[:HELD_OUT])}


def _published(path: Path) -> dict[str, tuple[str, ...]]:
    path = path / "24.csv" if path.is_dir() else path
    try:
        with path.open(encoding="utf-8", newline="") as file:
            puzzles = ["-".join(row["Puzzles"].split()) for row in csv.DictReader(file)]
    except OSError as error:
        raise PgvError(f"{path} cannot be read: {error.strerror}.") from None
    except (KeyError, AttributeError, UnicodeDecodeError, csv.Error):
        raise PgvError(f"{path} has no column 'Puzzles'; it is not the table of puzzles.") from None
    for line, puzzle in enumerate(puzzles, 2):
        if not re.fullmatch(r"\d{1,4}(-\d{1,4}){3}", puzzle):
            raise PgvError(f"{path}:{line}: '{puzzle}' is no puzzle of four numbers.")
    test = puzzles[TESTED]
    if not test:
        raise PgvError(f"{path} has {len(puzzles)} puzzles; ranks 901 to 1,000 are the test.")
    train = puzzles[: TESTED.start] + puzzles[TESTED.stop :]
    return {"train": tuple(train), "test": tuple(test)}
