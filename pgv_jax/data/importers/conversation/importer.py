"""An importer of conversations: records (or a whole file) of messages in any dialect."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pgv_jax.data.importers.base import (
    NO,
    RAW_CHARACTERS,
    BadRecord,
    Detection,
    Options,
    RecordImporter,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.conversation.dialects import (
    DIALECTS,
    conversations,
    dialect_of,
    is_bare_message,
    roles_in,
)
from pgv_jax.data.importers.conversation.fields import (
    SURELY,
    UNANSWERED,
    Logged,
    logged,
    missing,
)
from pgv_jax.data.importers.conversation.messages import turns_of
from pgv_jax.data.importers.conversation.steps import candidate_of, episode_of
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.files.kinds import kind_of_file
from pgv_jax.data.importers.files.records import Damage, Record, iter_records, sample_records
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Episode

GROUPS: tuple[str, ...] = ("conversation_id", "session_id", "sessionId", "dialogue_id")
GROUPS += ("thread_id", "chat_id", "trajectory_id", "episode_id", "trace_id")
"""Whose messages stand in a file with a message a record."""


class ConversationImporter(RecordImporter):
    """One conversation a record; a file that is messages itself is one, or one an id."""

    columns: ClassVar[tuple[str, ...]] = ("messages",)
    logs_calls = True
    certainty: ClassVar[float] = 0.95
    """How sure a file is of this dialect whose records all hold conversations in it."""

    def evidence(self, found: Logged) -> str:
        """Say what is seen in a conversation of this dialect."""
        column = f"in '{found.column}'" if found.column else "one after another"
        return f"messages {column} with the roles {', '.join(roles_in(found.conversation))}"

    def detect(self, sample: Sample) -> Detection:
        """As sure as there are conversations, if this dialect says most among theirs."""
        found = list(conversations(sample))
        if not found:
            return NO
        seen = {dialect_of(one): one for one in reversed(found)}
        leading = next(name for name in DIALECTS if name in seen)
        if leading != self.name:
            return NO
        whole = found[0].messages is sample.records
        share = 1.0 if whole else len(found) / len(sample.records)
        return Detection(self.certainty * share, self.evidence(seen[leading]))

    def logged(self, record: Any, options: Options) -> Logged | None:
        """Return where the record has its conversation, or None."""
        return logged(record, options)

    def turns(self, found: Logged, options: Options) -> list[Turn]:
        """Return the turns of a logged conversation; other answers become candidates."""
        turns = turns_of(found.conversation, found.column, options.tally)
        answered = found.answers or (turns and turns[-1].role == "assistant")
        if not answered and any(found.fields.get(key) for key in SURELY):
            options.tally.notes[UNANSWERED] += 1
        others = tuple(
            candidate_of(answer[0])
            for messages in found.answers[1:]
            if (answer := turns_of(messages, "answer", options.tally))
        )
        if others and turns and turns[-1].role == "assistant":
            turns[-1] = replace(turns[-1], candidates=others)
        return turns

    def prompt(self, record: Any, options: Options) -> Any:
        """Return the messages, for the common prefix."""
        found = self.logged(record, options)
        if found is None:
            raise missing(record)
        return list(found.conversation)

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        found = self.logged(record, options)
        if found is None:
            raise missing(record)
        fields = record if isinstance(record, Mapping) else {}
        return [
            episode_of(
                self.turns(found, options),
                {**fields, **found.fields},
                where,
                options,
                message_format=self.name,
                kept=found.fields,
            )
        ]

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield an episode a record; of a file that is messages itself, one (or one an id)."""
        if kind_of_file(path) in ("json", "jsonl"):
            head, _ = sample_records(path)
            if head and all(is_bare_message(record) for record in head):
                yield from self._read_messages(path, options)
                return
        yield from super().read(path, options)

    def _read_messages(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        items: list[Record] = []
        for item in iter_records(path, options.tally):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw[:RAW_CHARACTERS])
                return
            items.append(item)
        for index, (name, group) in enumerate(itertools.groupby(items, _group)):
            members = list(group)
            messages = [item.value for item in members]
            where = Where(path, members[0].line, index)
            record = Record(messages, members[0].line)

            def make(
                messages: list[Any] = messages, name: str = name, where: Where = where
            ) -> list[Episode]:
                found = Logged("", messages, (), {"session_id": name} if name else {})
                turns = self.turns(found, options)
                return [episode_of(turns, found.fields, where, options, message_format=self.name)]

            yield from guarded(make, record, where, options)


def _group(item: Record) -> str:
    if not isinstance(item.value, Mapping):
        raise FieldError(f"line {item.line}", "is no message")
    found = next((item.value[key] for key in GROUPS if item.value.get(key)), "")
    return str(found)
