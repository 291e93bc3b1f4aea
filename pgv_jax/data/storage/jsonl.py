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
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from pgv_jax.data.storage.compression import UNREADABLE, open_bytes
from pgv_jax.errors import PgvError
from pgv_jax.files import aside
from pgv_jax.types import Candidate, Episode, Step

HALF = "holds half a surrogate pair, which is not text"


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


def text_field(value: Any, field: str) -> str:
    """Return ``value`` if it is text that UTF-8 can hold, else raise ``FieldError``."""
    if not isinstance(value, str):
        raise FieldError(field, f"must be text, not {kind_of(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FieldError(field, HALF) from None
    return value


def is_json(value: Any) -> bool:
    """True if a file can hold ``value`` as JSON: no NaN, no half characters, no other types."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True


def _identifier(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _facts(value: dict[str, Any] | None) -> dict[str, Any]:
    try:
        if value and not is_json(value):
            raise ValueError(f"is not JSON at {_misfit(value)}")
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return value or {}


def _misfit(value: Any) -> str:
    """Where the first thing stands that JSON cannot hold, and what it is."""
    inner = enumerate(value) if isinstance(value, list | tuple) else ()
    for key, each in value.items() if isinstance(value, Mapping) else inner:
        if not is_json(each):
            return f"[{key!r}]{_misfit(each)}"
    return f" ({value!r:.40})"


def _as(noun: type) -> AfterValidator:
    return AfterValidator(lambda record: noun(**vars(record)))


_Text = Annotated[str, Field(min_length=0)]  # a bound, for which pydantic refuses half characters
_Identifier = Annotated[_Text, BeforeValidator(_identifier)]
_Facts = Annotated[dict[Any, Any] | None, AfterValidator(_facts)]


class _Record(BaseModel):
    """An object of a line. Its fields are those of the noun that it becomes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Candidate(_Record):
    thought: _Text
    action: _Text = ""
    scores: Annotated[dict[_Text, float] | None, AfterValidator(lambda given: given or {})] = Field(
        default_factory=dict
    )
    correct: bool | None = None


_Candidates = tuple[
    Annotated[
        _Candidate,
        BeforeValidator(lambda given: {"thought": given} if isinstance(given, str) else given),
        _as(Candidate),
    ],
    ...,
]


class _Step(_Record):
    observation: _Text
    thought: _Text
    action: _Text
    reward: float | None = None
    candidates: Annotated[
        _Candidates | None, Field(strict=False), AfterValidator(lambda given: given or ())
    ] = ()
    metadata: _Facts = Field(default_factory=dict)


class _Episode(_Record):
    episode_id: _Identifier
    task_id: _Identifier
    task: _Text
    split: Literal["train", "val", "test"] | None = None
    steps: Annotated[tuple[Annotated[_Step, _as(Step)], ...], Field(strict=False)]
    final_observation: _Text
    success: bool | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    is_terminal: bool | None = Field(None, alias="terminal")
    metadata: _Facts = Field(default_factory=dict)


_EPISODE: TypeAdapter[Any] = TypeAdapter(Annotated[_Episode, _as(Episode)])
_CANDIDATES: TypeAdapter[Any] = TypeAdapter(_Candidates)

_WANTED = {
    "string_type": "text",
    "float_type": "a finite number, or left out",
    "finite_number": "a finite number",
    "bool_type": "true, false or null",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def _field_error(error: ValidationError, whole: str) -> FieldError:
    """Say the first error, an unknown key before all, as ``steps[0].thought: why``."""
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    loc, value = first["loc"], first["input"]
    field = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part or repr(part)}" for part in loc
    )
    kind = first["type"]
    if kind == "missing":
        why = "is missing"
    elif kind == "extra_forbidden":
        why = f"is not a field of Episodes JSONL; {_hint(loc)}"
    elif kind == "string_unicode":
        why = HALF
    elif kind == "value_error":
        why = str(first["ctx"]["error"])
    else:
        wanted = _WANTED.get(kind) or first["msg"].removeprefix("Input should be ")
        scalar = value is None or isinstance(value, str | int | float)
        why = f"must be {wanted}, not {f'{json.dumps(value):.40}' if scalar else kind_of(value)}"
    return FieldError(field.removeprefix(".") or whole, why)


def _hint(loc: tuple[int | str, ...]) -> str:
    record = _Candidate if "candidates" in loc[:-1] else _Step if "steps" in loc[:-1] else _Episode
    known = [field.alias or name for name, field in record.model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean '{near[0]}'?" if near else "put other facts under 'metadata'"


def episode_from_json(obj: Any) -> Episode:
    """Build an Episode from one line's object; ``FieldError`` says ``field: why``."""
    try:
        return _EPISODE.validate_python(obj)
    except ValidationError as error:
        raise _field_error(error, "episode") from None


def episode_from_line(line: bytes) -> Episode:
    """Build an Episode from one line; ``FieldError`` says ``field: why``."""
    try:
        return _EPISODE.validate_json(line)
    except ValidationError:  # Python's parser reads a little more, and says better what is wrong
        return episode_from_json(parse_json(line))


def checked(episode: Episode) -> Episode:
    """Return the episode as a dataset can hold it; ``FieldError`` says what none can."""
    return episode_from_json(episode_to_json(episode))


def candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate's object, without the fields that say nothing."""
    out: dict[str, Any] = {"thought": candidate.thought}
    if candidate.action:
        out["action"] = candidate.action
    if candidate.scores:
        out["scores"] = candidate.scores
    if candidate.correct is not None:
        out["correct"] = candidate.correct
    return out


def candidates_from_json(text: str) -> tuple[Candidate, ...]:
    """Build candidates from the JSON list of their objects; ``FieldError`` says why not."""
    try:
        return _CANDIDATES.validate_json(text)
    except ValidationError as error:
        raise _field_error(error, "candidates") from None


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
        out["metadata"] = step.metadata
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
        out["metadata"] = episode.metadata
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
            yield episode_from_line(line)
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
