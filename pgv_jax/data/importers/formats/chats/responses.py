"""OpenAI's Responses API: ``input`` and ``output`` of items instead of messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.fields import Logged, logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter
from pgv_jax.data.importers.files.records import Damage, Record, iter_records

BEFORE = "previous_response_id"


class Responses(ConversationImporter):
    """Records with items: message, reasoning, function_call, function_call_output, ..."""

    name = "responses"
    about = "OpenAI Responses items (input and output, or a list of items)"

    def evidence(self, found: Logged) -> str:
        """Name the kinds of items."""
        kinds = {str(item.get("type", "message")) for item in found.conversation}
        return f"items of the Responses API: {', '.join(sorted(kinds))}"

    def records(self, path: Path, options: Options) -> Iterator[Record | Damage]:
        """Yield the records, each with the conversation that it continues by its id before it."""
        known: dict[str, list[Any]] = {}
        for item in iter_records(path, options.tally):
            yield _continued(item, known, options) if isinstance(item, Record) else item


def _continued(item: Record, known: dict[str, list[Any]], options: Options) -> Record:
    found = logged(item.value, options)
    if found is None or not isinstance(item.value, Mapping):
        return item
    asked = next((str(v) for v in _values(item.value, BEFORE) if v), "")
    before = known.get(asked, [])
    if asked and not before:
        options.tally.notes["calls continue a response that this file does not hold"] += 1
    conversation = [*before, *found.conversation]
    known.update((str(name), conversation) for name in _values(item.value, "id"))
    if not before:
        return item
    return item._replace(value={**found.fields, "messages": conversation})


def _values(record: Mapping[str, Any], key: str, depth: int = 2) -> Iterator[Any]:
    """What stands under a key of a record, of its request and of its response."""
    if isinstance(record.get(key), str):
        yield record[key]
    for inner in record.values() if depth else ():
        if isinstance(inner, Mapping):
            yield from _values(inner, key, depth - 1)
