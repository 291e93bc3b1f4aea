"""Values that JSON has no type for, as JSON values: dates, bytes, decimals, NaN, half letters."""

from __future__ import annotations

import datetime
import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import FieldError, checked, is_json
from pgv_jax.types import Candidate, Episode, Step

REPLACED = "\ufffd"
DEEPEST = 200

Noun = TypeVar("Noun", bound=Episode | Step | Candidate)


def plain(value: Any, tally: Tally, nan: bool = False, depth: int = 0) -> Any:
    """Return ``value`` as a JSON value and count what was changed; ``nan`` keeps NaN a number."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return whole_text(value, tally)
    if isinstance(value, float):
        if math.isfinite(value) or nan:
            return float(value)
        tally.converted["NaN or infinity to null"] += 1
        return None
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, Mapping):
        return {
            whole_text(key if isinstance(key, str) else str(key), tally): plain(
                v, tally, nan, depth + 1
            )
            for key, v in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner, tally, nan, depth + 1) for inner in value]
    return _converted(value, tally, nan, depth)


def _converted(value: Any, tally: Tally, nan: bool, depth: int) -> Any:
    if hasattr(value, "tolist"):  # numpy
        return plain(value.tolist(), tally, nan, depth + 1)
    if isinstance(value, Decimal):
        tally.converted["decimal numbers to floating ones"] += 1
        return plain(math.nan if value.is_nan() else float(value), tally, nan, depth)
    if isinstance(value, datetime.date | datetime.time):
        tally.converted["dates to text"] += 1
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value), tally)
    tally.converted[f"{type(value).__name__} to text"] += 1
    return whole_text(str(value), tally)


def _bytes(data: bytes, tally: Tally) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        tally.converted["bytes left out"] += 1
        return f"[{len(data)} bytes]"
    tally.converted["bytes to text"] += 1
    return text


def whole_text(text: str, tally: Tally) -> str:
    """A text without half surrogate pairs, which no file can hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        tally.converted[f"half characters to {REPLACED}"] += 1
        # Halves that stand together are one character; what is left alone is none.
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return paired.encode("utf-8", "replace").decode()
    return text


def unboxed(noun: Noun) -> Noun:
    """Return the noun with numpy's scalars, also those one level into its mappings, as Python's."""
    values = {name: getattr(noun, name) for name in noun.__slots__}
    changed = {name: new for name, value in values.items() if (new := _unboxed(value)) is not value}
    return replace(noun, **changed) if changed else noun


def _unboxed(value: Any) -> Any:
    """The same object where nothing in it is another library's scalar."""
    if value is None or type(value) in (str, float, bool, int):
        return value
    if isinstance(value, tuple | list):
        parts = [unboxed(v) if isinstance(v, Step | Candidate) else v for v in value]
        return value if all(map(operator.is_, parts, value)) else tuple(parts)
    if isinstance(value, Mapping):
        facts = {key: _scalar(v) for key, v in value.items()}
        return value if all(v is value[key] for key, v in facts.items()) else facts
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """Python's value of a scalar that is another library's (numpy's, say), else ``value``."""
    if getattr(value, "shape", None) != ():
        return value
    inner = value.item()
    return inner if isinstance(inner, bool | int | float | str) else value


def settled(episode: Episode, tally: Tally) -> Episode:
    """Return the episode as a dataset can hold it; ``FieldError`` says what it cannot.

    Metadata are converted and counted; a number that is none is an error, for it was meant.
    """
    try:
        return checked(episode)
    except FieldError:
        pass  # the same check names what is wrong after the conversion
    whole = replace(
        episode,
        episode_id=_whole(episode.episode_id, tally),
        task_id=_whole(episode.task_id, tally),
        task=_whole(episode.task, tally),
        steps=tuple(_settled_step(step, tally) for step in episode.steps),
        final_observation=_whole(episode.final_observation, tally),
        metadata=_settled_facts(episode.metadata, tally),
    )
    return checked(whole)


def _whole(value: Any, tally: Tally) -> Any:
    return whole_text(value, tally) if isinstance(value, str) else value  # which the check refuses


def _settled_facts(metadata: Any, tally: Tally) -> Any:
    return metadata if is_json(metadata) else plain(metadata, tally)


def _settled_step(step: Step, tally: Tally) -> Step:
    return replace(
        step,
        observation=_whole(step.observation, tally),
        thought=_whole(step.thought, tally),
        action=_whole(step.action, tally),
        candidates=tuple(
            replace(c, thought=_whole(c.thought, tally), action=_whole(c.action, tally))
            for c in step.candidates
        ),
        metadata=_settled_facts(step.metadata, tally),
    )
