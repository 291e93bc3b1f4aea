"""``--success``: an outcome decided by a rule of comparisons. Parsed, never executed."""

from __future__ import annotations

import ast
import difflib
import itertools
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pgv_jax.data.importers.outcomes.outcome import number, tristate
from pgv_jax.data.importers.outcomes.rewards import lookup
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

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
LOOKED_AT = 200
"""Episodes whose metadata are listed for near names."""


class SuccessRule:
    """``reward >= 1 and steps < 30``: comparisons joined by and, or, not; three-valued.

    Names: reward, score, success, steps, metadata.KEY. A name that an episode lacks makes the
    comparison unknown, and so perhaps the whole (Kleene's logic). A name that *no* episode has is
    an error, which ``check_names`` raises once all were judged.
    """

    def __init__(self, text: str):
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._error("it is not a comparison") from None
        self._missing: set[str] = set()
        self._known: Counter[str] = Counter()
        self._judged = 0
        self._check(self._tree)

    def check_names(self) -> None:
        """Raise PgvError if a name of the rule stands in none of the episodes that were judged."""
        if not self._missing or not self._judged:
            return
        name = min(self._missing)
        ends = {key.rsplit(".", 1)[-1] for key in self._known}
        close = difflib.get_close_matches(name.rsplit(".", 1)[-1], ends, n=3)
        near = [key for end in close for key in self._known if key.rsplit(".", 1)[-1] == end]
        shown = near or [key for key, _ in self._known.most_common(12)]
        hint = f"; {'near it' if near else 'there'} are {', '.join(shown[:12])}" if shown else ""
        raise PgvError(
            f"--success '{self.text}': none of the {self._judged:,} episodes has {name}{hint}."
        )

    def _note(self, episode: Episode) -> None:
        self._judged += 1
        self._missing -= {name for name in self._missing if _has(name, episode)}
        if self._missing and self._judged <= LOOKED_AT:
            self._known.update(_names_in(episode.metadata, "metadata", 4))

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
            if node.id in _NAMES[:3]:
                self._missing.add(node.id)
            return
        path = _path(node)
        if path is None:
            raise self._error(f"'{ast.unparse(node)}' is not understood")
        self._missing.add(path)

    def __call__(self, episode: Episode) -> bool | None:
        """Return True, False or None (unknown) for an episode."""
        self._note(episode)
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
            pairs = [_alike(a, b) for a, b in itertools.pairwise(values)]
            if any(None in pair for pair in pairs):
                return None
            try:
                return all(_COMPARE[type(op)](*p) for op, p in zip(node.ops, pairs, strict=True))
            except TypeError:  # a number against text
                return None
        return tristate(_value(node, episode))


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """Two values as they compare: a word beside true or false is what it says, a list nothing."""
    if isinstance(a, bool) and isinstance(b, str):
        return a, tristate(b)
    if isinstance(b, bool) and isinstance(a, str):
        return tristate(a), b
    if isinstance(a, list | Mapping) or isinstance(b, list | Mapping):
        return None, None
    return a, b


def _path(node: ast.expr) -> str | None:
    keys: list[str] = []
    while isinstance(node, ast.Attribute):
        keys.append(node.attr)
        node = node.value
    is_path = isinstance(node, ast.Name) and node.id == "metadata" and keys
    return ".".join(["metadata", *reversed(keys)]) if is_path else None


def _has(name: str, episode: Episode) -> bool:
    if name == "reward":
        return reward_of(episode) is not None
    if name in _NAMES:
        return getattr(episode, name) is not None
    value: Any = episode.metadata
    for key in name.split(".")[1:]:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def _names_in(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[str]:
    for key, inner in value.items():
        if str(key).isidentifier() and key != "messages":
            yield f"{prefix}.{key}"
            if isinstance(inner, Mapping) and depth > 1:
                yield from _names_in(inner, f"{prefix}.{key}", depth - 1)


def _value(node: ast.expr, episode: Episode) -> Any:
    if isinstance(node, ast.Constant):  # '1' is a number, as it is in a record
        found = number(node.value)
        return node.value if found is None else found
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
