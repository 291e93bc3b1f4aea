"""Episodes JSONL: one episode a line, the format that people and other tools write by hand.

``{"episode_id", "task_id", "task", "split"?, "steps": [{"observation", "thought", "action",
"reward"?, "candidates"?, "metadata"?}], "final_observation", "success"?, "score"?, "terminal"?,
"metadata"?}``. ``success`` is true, false or null (unknown); ``terminal`` defaults to whether the
outcome (``success`` or ``score``) is known. A candidate is ``{"thought", "action"?, "scores"?,
"correct"?}`` or a plain string, which is its thought.
"""

from __future__ import annotations

import difflib
import gzip
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.compression import UNREADABLE, open_bytes
from pgv_jax.errors import PgvError
from pgv_jax.files import aside
from pgv_jax.types import Candidate, Episode, Step

EPISODE_KEYS = (
    "episode_id",
    "task_id",
    "task",
    "split",
    "steps",
    "final_observation",
    "success",
    "score",
    "terminal",
    "metadata",
)
STEP_KEYS = ("observation", "thought", "action", "reward", "candidates", "metadata")
CANDIDATE_KEYS = ("thought", "action", "scores", "correct")
SPLITS = ("train", "val", "test")

_MISSING: Any = object()


class FieldError(PgvError):
    """A record that does not fit: ``field: why``. Readers put ``file:line:`` before it."""

    def __init__(self, field: str, why: str):
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def kind_of(value: Any) -> str:
    """Name a JSON value's type as a reader of JSON would."""
    if value is None:
        return "null"
    for kinds, name in (
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "text"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    ):
        if isinstance(value, kinds):
            return name
    return type(value).__name__


def _get(obj: Mapping[str, Any], key: str, where: str, default: Any = _MISSING) -> Any:
    value = obj.get(key, default)
    if value is _MISSING:
        raise FieldError(where + key, "is missing")
    return value


def text_field(value: Any, field: str) -> str:
    """Return ``value`` if it is text that UTF-8 can hold, else raise ``FieldError``."""
    if not isinstance(value, str):
        raise FieldError(field, f"must be text, not {kind_of(value)}")
    if not value.isascii() and not _encodes(value):
        raise FieldError(field, "holds half a surrogate pair, which is not text")
    return value


def _identifier(value: Any, field: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = text_field(value, field)
    if not text.strip():
        raise FieldError(field, "is empty")
    return text


def number_field(value: Any, field: str) -> float | None:
    """Return a finite float or None, else raise ``FieldError``."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FieldError(field, f"must be a number or null, not {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FieldError(field, f"must be finite, not {value!r:.40}")
    return number


def score_field(value: Any, field: str) -> float | None:
    """Return a score in [0, 1] or None, else raise ``FieldError``."""
    number = number_field(value, field)
    if number is not None and not 0 <= number <= 1:
        raise FieldError(field, f"must lie in [0, 1], not {value}")
    return number


def tristate_field(value: Any, field: str) -> bool | None:
    """Return True, False or None, else raise ``FieldError``; 0 and 1 are not taken for them."""
    if value is None or isinstance(value, bool):
        return value
    raise FieldError(field, f"must be true, false or null, not {kind_of(value)} ({value!r:.40})")


def _object(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FieldError(field, f"must be an object, not {kind_of(value)}")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise FieldError(field, "is nested too deeply") from None
    except (TypeError, ValueError) as error:
        where, what = _misfit(value, field) or (field, str(error))
        raise FieldError(where, f"is not JSON ({what})") from None
    return dict(value)


def _misfit(value: Any, field: str) -> tuple[str, str] | None:
    """Where the first value stands that JSON cannot hold, and what it is; None if all fit."""
    if isinstance(value, Mapping):
        pairs = [(f"{field}.{key}", inner) for key, inner in value.items()]
        return next((found for name, v in pairs if (found := _misfit(v, name))), None)
    if isinstance(value, list | tuple):
        pairs = [(f"{field}[{i}]", inner) for i, inner in enumerate(value)]
        return next((found for name, v in pairs if (found := _misfit(v, name))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return field, f"{value} is no number"
    if isinstance(value, str) and not _encodes(value):
        return field, "half a surrogate pair"
    if value is None or isinstance(value, str | int | float):
        return None
    return field, f"a value of type {type(value).__name__}"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _known_keys(obj: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in obj:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "put other facts under 'metadata'"
            raise FieldError(
                f"{where}{key or repr(key)}", f"is not a field of Episodes JSONL; {hint}"
            )


def _candidate(value: Any, where: str) -> Candidate:
    if isinstance(value, str):
        return Candidate(text_field(value, where))
    if not isinstance(value, Mapping):
        raise FieldError(where, f"must be an object or text, not {kind_of(value)}")
    _known_keys(value, CANDIDATE_KEYS, where + ".")
    scores = _object(value.get("scores"), where + ".scores")
    for name, score in scores.items():
        if number_field(score, f"{where}.scores.{name}") is None:
            raise FieldError(f"{where}.scores.{name}", "must be a number, not null")
    return Candidate(
        thought=text_field(_get(value, "thought", where + "."), where + ".thought"),
        action=text_field(value.get("action", ""), where + ".action"),
        scores={name: float(score) for name, score in scores.items()},
        correct=tristate_field(value.get("correct"), where + ".correct"),
    )


def _step(value: Any, where: str) -> Step:
    if not isinstance(value, Mapping):
        raise FieldError(where, f"must be an object, not {kind_of(value)}")
    _known_keys(value, STEP_KEYS, where + ".")
    candidates = value.get("candidates")
    if candidates is not None and not isinstance(candidates, list | tuple):
        raise FieldError(where + ".candidates", f"must be a list, not {kind_of(candidates)}")
    observation, thought, action = (
        text_field(_get(value, key, where + "."), f"{where}.{key}")
        for key in ("observation", "thought", "action")
    )
    return Step(
        observation,
        thought,
        action,
        reward=number_field(value.get("reward"), where + ".reward"),
        candidates=tuple(
            _candidate(item, f"{where}.candidates[{i}]") for i, item in enumerate(candidates or ())
        ),
        metadata=_object(value.get("metadata"), where + ".metadata"),
    )


def episode_from_json(obj: Any) -> Episode:
    """Build an Episode from one line's object; ``FieldError`` says ``field: why``."""
    if not isinstance(obj, Mapping):
        raise FieldError("episode", f"must be an object, not {kind_of(obj)}")
    _known_keys(obj, EPISODE_KEYS, "")
    steps = _get(obj, "steps", "")
    if not isinstance(steps, list | tuple):
        raise FieldError("steps", f"must be a list, not {kind_of(steps)}")
    split = obj.get("split")
    if split is not None and split not in SPLITS:
        raise FieldError("split", f"must be train, val or test, not {split!r:.40}")
    success = tristate_field(obj.get("success"), "success")
    terminal = obj.get("terminal")
    if terminal is not None and not isinstance(terminal, bool):
        raise FieldError("terminal", f"must be true or false, not {kind_of(terminal)}")
    return Episode(
        episode_id=_identifier(_get(obj, "episode_id", ""), "episode_id"),
        task_id=_identifier(_get(obj, "task_id", ""), "task_id"),
        task=text_field(_get(obj, "task", ""), "task"),
        steps=tuple(_step(step, f"steps[{i}]") for i, step in enumerate(steps)),
        final_observation=text_field(_get(obj, "final_observation", ""), "final_observation"),
        success=success,
        score=score_field(obj.get("score"), "score"),
        is_terminal=terminal,  # type: ignore[arg-type]  # None: whether the outcome is known
        split=split,
        metadata=_object(obj.get("metadata"), "metadata"),
    )


def check_episode(episode: Episode) -> None:
    """Raise ``FieldError`` for what no dataset can hold: half characters, NaN, values not JSON."""
    for name in ("episode_id", "task_id", "task", "final_observation"):
        text_field(getattr(episode, name), name)
    score_field(episode.score, "score")
    _object(episode.metadata, "metadata")
    for t, step in enumerate(episode.steps):
        for name in ("observation", "thought", "action"):
            text_field(getattr(step, name), f"steps[{t}].{name}")
        number_field(step.reward, f"steps[{t}].reward")
        if step.metadata:
            _object(step.metadata, f"steps[{t}].metadata")
        for i, candidate in enumerate(step.candidates):
            text_field(candidate.thought, f"steps[{t}].candidates[{i}].thought")


def candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate's object, without the fields that say nothing."""
    out: dict[str, Any] = {"thought": candidate.thought}
    if candidate.action:
        out["action"] = candidate.action
    if candidate.scores:
        out["scores"] = dict(candidate.scores)
    if candidate.correct is not None:
        out["correct"] = candidate.correct
    return out


def candidate_from_json(value: Any, where: str = "candidate") -> Candidate:
    """Build a Candidate from its object or from plain text; ``FieldError`` says why not."""
    return _candidate(value, where)


def _step_to_json(step: Step) -> dict[str, Any]:
    out: dict[str, Any] = {
        "observation": step.observation,
        "thought": step.thought,
        "action": step.action,
    }
    if step.reward is not None:
        out["reward"] = step.reward
    if step.candidates:
        out["candidates"] = [candidate_to_json(c) for c in step.candidates]
    if step.metadata:
        out["metadata"] = dict(step.metadata)
    return out


def episode_to_json(episode: Episode) -> dict[str, Any]:
    """Return an episode's object; ``episode_from_json`` is its inverse."""
    out: dict[str, Any] = {
        "episode_id": episode.episode_id,
        "task_id": episode.task_id,
        "task": episode.task,
    }
    if episode.split is not None:
        out["split"] = episode.split
    out["steps"] = [_step_to_json(step) for step in episode.steps]
    out["final_observation"] = episode.final_observation
    out["success"] = episode.success
    if episode.score is not None:
        out["score"] = episode.score
    out["terminal"] = episode.is_terminal
    if episode.metadata:
        out["metadata"] = dict(episode.metadata)
    return out


def parse_json(line: bytes | str) -> Any:
    """Parse one JSON value; whatever is wrong with it becomes a ``FieldError`` on ``json``."""
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise FieldError("json", f"is not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise FieldError("json", f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise FieldError("json", "is nested too deeply") from None
    except ValueError as error:  # e.g. an integer of more digits than Python converts
        raise FieldError("json", str(error)) from None


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, bytes) of the lines that are not blank."""
    with open_bytes(path) as file:
        try:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line
        except UNREADABLE as error:
            raise PgvError(f"Cannot read {path} to its end: {error}.") from None


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[Episode]:
    """Yield the episodes of an Episodes JSONL file (packed too); errors say file:line: field: why.

    Streams: holds one line at a time.
    """
    path = Path(path)
    for number, line in numbered_lines(path):
        try:
            yield episode_from_json(parse_json(line))
        except FieldError as error:
            raise PgvError(f"{path}:{number}: {error}") from None


def write_jsonl(path: str | os.PathLike[str], episodes: Iterable[Episode]) -> int:
    """Write episodes one a line, atomically; returns how many. Parents must exist."""
    path = Path(path)
    opened = gzip.open if path.suffix == ".gz" else open
    count = 0
    try:
        with aside(path) as unfinished, opened(unfinished, "wt", encoding="utf-8") as out:
            for episode in episodes:
                out.write(json.dumps(episode_to_json(episode), ensure_ascii=False, allow_nan=False))
                out.write("\n")
                count += 1
    except FileNotFoundError:
        raise PgvError(f"Cannot write {path}: its folder {path.parent} does not exist.") from None
    except (TypeError, ValueError) as error:
        raise PgvError(f"Cannot write episode {count + 1} to {path}: {error}.") from None
    return count
