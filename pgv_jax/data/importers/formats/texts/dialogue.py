"""Plain dialogues of two roles, one of them the agent: JSON records, or CSV rows a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.importers import identity
from pgv_jax.data.importers.base import (
    NO,
    BadRecord,
    Detection,
    Options,
    RecordImporter,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.files.kinds import kind_of_file
from pgv_jax.data.importers.files.records import Record
from pgv_jax.data.importers.files.tables import csv_rows
from pgv_jax.data.importers.outcomes.outcome import outcome_of, with_outcome
from pgv_jax.data.storage.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode, Step

LISTS = ("dialogue", "dialog", "turns", "utterances", "conversation", "log")
ALIASES = {
    "id": ("dialogue_id", "dialog_id", "conversation_id", "conv_id", "chat_id", "B2"),
    "role": ("role", "speaker", "sender", "author", "B4"),
    "text": ("text", "utterance", "message", "content", "Unit"),
}
"""What logs call the three columns; B2, B4 and Unit are PersuasionForGood's names."""
BEGINNING = "The conversation begins."
AGENTS = ("agent", "assistant", "bot", "system", "persuader")

Line = tuple[str, str, Any]
"""(role, text, raw)."""


def _column(have: Iterable[str], ours: str, options: Options) -> str | None:
    if ours in options.columns:
        return options.columns[ours]
    names = list(have)
    return next((name for name in ALIASES[ours] if name in names), None)


def _list_of(record: Any) -> str | None:
    if isinstance(record, Mapping):
        for key in LISTS:
            lines = record.get(key)
            if (
                isinstance(lines, list)
                and lines
                and all(isinstance(m, Mapping) for m in lines[:20])
            ):
                columns = [_column(lines[0], ours, Options()) for ours in ("role", "text")]
                if all(columns):
                    return key
    return None


class Dialogue(RecordImporter):
    """Two people talk; the turns of one role (``--agent``) are the steps."""

    name = "dialogue"
    about = "plain dialogues of two roles (JSON, or CSV with one line a row); needs --agent"
    columns = ("id", "role", "text")

    def detect(self, sample: Sample) -> Detection:
        """Fairly sure of lines with a role and a text."""
        if sample.kind == "csv" and sample.objects:
            columns = [_column(sample.objects[0], ours, Options()) for ours in ALIASES]
            if all(columns):
                return Detection(0.8, f"a table with the columns {', '.join(map(str, columns))}")
        found = [key for record in sample.records if (key := _list_of(record))]
        if found:
            return Detection(0.7, f"'{found[0]}' holds lines with a role and a text")
        return NO

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield an episode a dialogue; the rows of a CSV dialogue must stand together."""
        if kind_of_file(path) != "csv":
            yield from super().read(path, options)
            return
        seen: set[str] = set()
        for index, (key, line, rows) in enumerate(_groups(path, options)):
            where = Where(path, line, index)

            def make(
                key: str = key, rows: list[Line] = rows, where: Where = where
            ) -> list[Episode]:
                if key in seen:
                    raise FieldError("id", f"dialogue '{key}' goes on after another one began")
                seen.add(key)
                return [_episode(rows, _constant(rows), key, where, options)]

            yield from guarded(make, Record([row[2] for row in rows], line), where, options)

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        key = _list_of(record)
        if key is None:
            raise FieldError("dialogue", f"is missing; known names are {', '.join(LISTS)}")
        rows: list[Line] = []
        for i, line in enumerate(record[key]):
            spot = f"{key}[{i}]"
            if not isinstance(line, Mapping):
                raise FieldError(spot, f"must be an object, not {kind_of(line)}")
            role, text = (_column(line, ours, options) for ours in ("role", "text"))
            if role not in line or text not in line:
                raise FieldError(spot, "has no role or no text")
            rows.append((str(line[role]), text_field(line[text], f"{spot}.{text}"), line))
        about = identity.leftover(record, (key,))
        name = identity.identifier(identity.first_of(record, ALIASES["id"], None))
        return [
            _episode(
                rows, about, name or identity.name_episode(record, where, options), where, options
            )
        ]


def _groups(path: Path, options: Options) -> Iterator[tuple[str, int, list[Line]]]:
    current: tuple[str, int, list[Line]] | None = None
    for line, row in csv_rows(path):
        names = {ours: _column(row, ours, options) for ours in ALIASES}
        for ours, name in names.items():
            if name is None or name not in row:
                raise FieldError(
                    ours,
                    f"there is no column for it (there are {', '.join(row)}); say --column "
                    f"{ours}=NAME",
                )
        key, role, text = (row[str(names[ours])] for ours in ("id", "role", "text"))
        if current is None or current[0] != key:
            if current is not None:
                yield current
            current = (key, line, [])
        current[2].append((role, text, row))
    if current is not None:
        yield current


def _constant(rows: list[Line]) -> dict[str, Any]:
    """The columns that are the same in all rows: facts of the dialogue, such as who took part."""
    first: Mapping[str, Any] = rows[0][2]
    return {
        name: value
        for name, value in first.items()
        if name and all(row[2].get(name) == value for row in rows)
    }


def _agent(rows: list[Line], options: Options) -> str:
    roles = list(dict.fromkeys(role for role, _, _ in rows))
    chosen = options.agent
    if chosen is None:
        chosen = next((role for role in roles if role.lower() in AGENTS), None)
        if chosen is None:
            raise FieldError(
                "role", f"which of {', '.join(map(repr, roles))} is the agent? Say --agent ROLE"
            )
    if chosen not in roles:
        raise FieldError("role", f"'{chosen}' does not speak; {', '.join(map(repr, roles))} do")
    return chosen


def _episode(
    rows: list[Line], about: Mapping[str, Any], name: str, where: Where, options: Options
) -> Episode:
    agent = _agent(rows, options)
    spoken: list[tuple[str, list[str]]] = []
    for role, text, _ in rows:
        if not spoken or spoken[-1][0] != role:
            spoken.append((role, []))
        spoken[-1][1].append(text.strip())
    steps: list[Step] = []
    heard = BEGINNING if spoken[0][0] == agent else ""
    for role, texts in spoken:
        said = " ".join(text for text in texts if text)
        if role == agent:
            metadata = {"thought_from": "words"}
            steps.append(Step(heard, said, said, metadata=metadata))
            heard = ""
        else:
            heard = f"{heard}\n{role}: {said}".strip() if heard else said
    others = sorted({role for role, _ in spoken} - {agent})
    task = identity.first_of(about, identity.TASK_KEYS, options.fields.get("task"))
    task_id = identity.identifier(
        identity.first_of(about, identity.TASK_ID_KEYS, options.fields.get("task_id"))
    )
    if not isinstance(task, str):
        task = options.task_text or f"Talk as '{agent}' with {', '.join(map(repr, others))}."
    episode = Episode(
        name,
        task_id or name,
        task,
        tuple(steps),
        heard,
        metadata={"format": "dialogue", "agent": agent, "record": dict(about)},
    )
    return with_outcome(episode, outcome_of(about))
