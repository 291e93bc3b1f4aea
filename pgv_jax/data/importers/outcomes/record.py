"""Outcomes: read from a record, joined from a table, or decided by a rule. Never by truthiness."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.files.records import Record, csv_rows, iter_records, kind_of_file
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

SUCCESS_KEYS = ("success", "is_success", "correct", "is_correct", "resolved", "solved", "passed")
SCORE_KEYS = ("score", "reward", "final_reward", "total_reward", "return")
RESULT_KEYS = ("result", "outcome")
CUT_KEYS = ("halted", "truncated", "timeout", "timed_out", "max_steps_reached")
"""A true value says that the log was cut off, not that the task ended."""

YES = frozenset({"true", "yes", "success", "succeeded", "pass", "passed", "correct", "won", "c"})
NO = frozenset({"false", "no", "failure", "failed", "fail", "incorrect", "wrong", "lost", "i"})


def tristate(value: Any) -> bool | None:
    """True, False or None (unknown) from the spellings that logs use; 1 and 0 count, 0.5 not."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return True if value == 1 else False if value == 0 else None
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in YES or word == "1" else False if word in NO or word == "0" else None
    return None


def number(value: Any) -> float | None:
    """A finite number from a number or numeric text, else None; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Outcome:
    """What a log says of the end. ``reward`` is the raw number, ``score`` it if in [0, 1]."""

    success: bool | None = None
    reward: float | None = None
    cut: bool = False

    @property
    def score(self) -> float | None:
        """The reward where it lies in [0, 1]."""
        return self.reward if self.reward is not None and 0 <= self.reward <= 1 else None

    @property
    def decided(self) -> bool | None:
        """The success that is stated, else score >= 1, else None."""
        if self.success is not None or self.score is None:
            return self.success
        return self.score >= 1


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """Read a record's outcome from the keys that logs use, also inside its ``extra``."""
    places = [record]
    if isinstance(record.get("extra"), Mapping):
        places.append(record["extra"])
    success = reward = None
    for place in places:
        for key in SUCCESS_KEYS:
            if success is None and key in place:
                success = tristate(place[key])
        for key in SCORE_KEYS:
            if reward is None and key in place:
                reward = number(place[key])
        for key in RESULT_KEYS:
            if success is None and reward is None and key in place:
                success = tristate(place[key])
                reward = number(place[key]) if success is None else None
    return Outcome(success, reward, any(record.get(key) is True for key in CUT_KEYS))


def with_outcome(episode: Episode, outcome: Outcome) -> Episode:
    """Return the episode with this outcome; the last step earns the reward if no step has one."""
    steps = episode.steps
    if outcome.reward is not None and steps and all(step.reward is None for step in steps):
        steps = (*steps[:-1], replace(steps[-1], reward=outcome.reward))
    metadata = dict(episode.metadata)
    if outcome.reward is not None:
        metadata["reward"] = outcome.reward
    success = outcome.decided
    return replace(
        episode,
        steps=steps,
        success=success,
        score=outcome.score,
        is_terminal=(success is not None or outcome.reward is not None) and not outcome.cut,
        metadata=metadata,
    )


class Rewards:
    """Outcomes from a second file: rows by key, matched with a field of the episode.

    ``where`` keeps only the rows whose columns have these values (a role, a metric's name).
    """

    def __init__(
        self, path: Path, key: str, value: str, on: str = "episode_id", where: tuple[str, ...] = ()
    ):
        self.on = on
        self.used: set[str] = set()
        self.values: dict[str, Any] = {}
        wanted = dict(pair.split("=", 1) for pair in where if "=" in pair)
        for line, row in _rows(path):
            for column in (key, value, *wanted):
                if column not in row:
                    raise PgvError(
                        f"{path}:{line}: there is no column '{column}'; it has "
                        f"{', '.join(map(str, row))}. Name them with --rewards-key, "
                        "--rewards-value and --rewards-where."
                    )
            if any(str(row[column]) != text for column, text in wanted.items()):
                continue
            name = str(row[key])
            if name in self.values and self.values[name] != row[value]:
                raise PgvError(
                    f"{path}:{line}: '{key}' {name} has two values of '{value}': "
                    f"{self.values[name]} and {row[value]}; choose rows with --rewards-where."
                )
            self.values[name] = row[value]

    def apply(self, episode: Episode) -> Episode:
        """Join the outcome; an episode without a row is returned as it is."""
        name = lookup(episode, self.on)
        if name is None or str(name) not in self.values:
            return episode
        self.used.add(str(name))
        value = self.values[str(name)]
        reward = number(value)
        return with_outcome(episode, Outcome(tristate(value) if reward is None else None, reward))


def _rows(path: Path) -> Any:
    if kind_of_file(path) == "csv":
        yield from csv_rows(path)
        return
    for item in iter_records(path):
        if not isinstance(item, Record) or not isinstance(item.value, Mapping):
            raise PgvError(f"{path}:{item.line}: a table of rewards has one object a line.")
        yield item.line, item.value


def lookup(episode: Episode, name: str) -> Any:
    """Return ``episode_id``, ``task_id``, ``task`` or ``metadata.KEY`` of an episode."""
    if name.startswith("metadata."):
        value: Any = episode.metadata
        for key in name.split(".")[1:]:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value
    if name in ("episode_id", "task_id", "task"):
        return getattr(episode, name)
    raise PgvError(f"'{name}' is no field of an episode; use episode_id, task_id or metadata.KEY.")


_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CONSTANTS = {"true": True, "false": False, "null": None}
_NAMES = ("reward", "score", "success", "steps")


class SuccessRule:
    """``reward >= 1 and steps < 30``: comparisons joined by and, or, not; three-valued.

    Names: reward, score, success, steps, metadata.KEY. A name that an episode lacks makes the
    comparison unknown, and so perhaps the whole (Kleene's logic).
    """

    def __init__(self, text: str):
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._error("it is not a comparison") from None
        self._check(self._tree)

    def _error(self, why: str) -> PgvError:
        return PgvError(
            f"--success '{self.text}': {why}. Write for example 'reward >= 1' or "
            f"'score > 0.5 and steps < 30'; names are {', '.join(_NAMES)} and metadata.KEY."
        )

    def _check(self, node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self._check(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._check(node.operand)
        elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            for value in (node.left, *node.comparators):
                self._check_value(value)
        else:
            self._check_value(node)

    def _check_value(self, node: ast.expr) -> None:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            node = node.operand
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return
        if isinstance(node, ast.Name) and node.id in (*_NAMES, *_CONSTANTS):
            return
        if _path(node) is None:
            raise self._error(f"'{ast.unparse(node)}' is not understood")

    def __call__(self, episode: Episode) -> bool | None:
        """Return True, False or None (unknown) for an episode."""
        return self._truth(self._tree, episode)

    def _truth(self, node: ast.expr, episode: Episode) -> bool | None:
        if isinstance(node, ast.BoolOp):
            parts = [self._truth(value, episode) for value in node.values]
            decisive = isinstance(node.op, ast.Or)
            if decisive in parts:
                return decisive
            return None if None in parts else not decisive
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            part = self._truth(node.operand, episode)
            return None if part is None else not part
        if isinstance(node, ast.Compare):
            values = [_value(v, episode) for v in (node.left, *node.comparators)]
            if None in values:
                return None
            try:
                return all(
                    _COMPARE[type(op)](a, b)
                    for op, a, b in zip(node.ops, values[:-1], values[1:], strict=True)
                )
            except TypeError:  # a number against text
                return None
        return tristate(_value(node, episode))


def _path(node: ast.expr) -> str | None:
    keys: list[str] = []
    while isinstance(node, ast.Attribute):
        keys.append(node.attr)
        node = node.value
    is_path = isinstance(node, ast.Name) and node.id == "metadata" and keys
    return ".".join(["metadata", *reversed(keys)]) if is_path else None


def _value(node: ast.expr, episode: Episode) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, episode)
        return -inner if isinstance(inner, int | float) else None
    if isinstance(node, ast.Name):
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        if node.id == "steps":
            return len(episode.steps)
        if node.id == "reward":
            return reward_of(episode)
        return getattr(episode, node.id)
    value = lookup(episode, _path(node) or "")
    found = number(value)
    return value if found is None else found


def reward_of(episode: Episode) -> float | None:
    """The raw reward of an episode: as logged, else the sum over its steps, else its score."""
    logged = number(episode.metadata.get("reward"))
    if logged is not None:
        return logged
    earned = [step.reward for step in episode.steps if step.reward is not None]
    return math.fsum(earned) if earned else episode.score
