"""The decisions of ``pgv serve``: a record a call, with all candidates and what came of it.

``{"pgv_decision": 1, "request_id", "session_id"?, "task"?, "time", "api", "request", "candidates",
"chosen", "goals", "values", ...}``: ``request`` is the client's body, ``candidates`` are choices or
responses as the upstream sent them, ``chosen`` is the number of the one that was passed on, and
``values`` [N, G] are the critic's. ``.outcomes.jsonl`` in the same folder says what came of a
request or of a session; of several lines on one the last counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.asking import answer_in, messages_in
from pgv_jax.data.importers.conversation.fields import Logged, without
from pgv_jax.data.importers.conversation.importer import ConversationImporter
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.files.records import Damage, Record, iter_records
from pgv_jax.data.storage.jsonl import FieldError

MARK = "pgv_decision"
PATTERN = "decisions-*.jsonl"
OUTCOMES = ".outcomes.jsonl"
SAYS = ("success", "reward", "score")
UNJOINED = f"an outcome in {OUTCOMES} names no decision beside it; look at its id"


class Served(ConversationImporter):
    """Decisions that were served; calls that continue one another are one episode."""

    name = "served"
    about = "the log of pgv serve (decisions-*.jsonl with .outcomes.jsonl beside)"
    certainty = 1.0

    def evidence(self, found: Logged) -> str:
        """Name the mark."""
        return f"the records have {MARK}"

    def logged(self, record: Any, options: Options) -> Logged | None:
        """The request's conversation, with the candidate that was passed on first."""
        if not isinstance(record, Mapping) or MARK not in record:
            return None
        given, chosen = record.get("candidates"), record.get("chosen")
        if not isinstance(given, list) or not isinstance(chosen, int):
            raise FieldError("candidates", "must be a list, and chosen the number of one of them")
        if not 0 <= chosen < len(given):
            raise FieldError("chosen", f"is {chosen} of {len(given)} candidates")
        order = [chosen, *(i for i in range(len(given)) if i != chosen)]
        request = record.get("request")
        if not isinstance(request, Mapping):
            raise FieldError("request", "must be an object")
        return Logged(
            "request",
            messages_in(request),
            [answer_in(given[i]) for i in order],
            {**without(record, "request", "candidates"), "order": order},
        )

    def turns(self, found: Logged, options: Options) -> list[Turn]:
        """As any conversation; what the critic said of the others goes with them."""
        turns = super().turns(found, options)
        last, scores = turns[-1], _scores(found.fields)
        if len(last.candidates) != len(found.answers) - 1 or not scores:
            return turns
        others = zip(last.candidates, found.fields["order"][1:], strict=True)
        candidates = tuple(replace(c, scores=scores[i]) for c, i in others)
        return [*turns[:-1], replace(last, candidates=candidates)]

    def beside(self, path: Path) -> Sequence[Path]:
        """The outcomes."""
        outcomes = path.parent / OUTCOMES
        return [outcomes] if outcomes.exists() else []

    def records(self, path: Path, options: Options) -> Iterator[Record | Damage]:
        """Yield the decisions, each with what came of it."""
        outcomes = read_outcomes(path.parent / OUTCOMES)
        files = sorted({path, *path.parent.glob(PATTERN)})
        if outcomes and path == files[0]:  # once a folder
            unjoined = set(outcomes).difference(*(_named(file) for file in files))
            if unjoined:
                options.tally.notes[UNJOINED] += len(unjoined)
        for item in super().records(path, options):
            yield _with_outcome(item, outcomes) if isinstance(item, Record) else item


def read_outcomes(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What is known of requests and sessions: {("request_id" | "session_id", id): outcome}."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    if not path.exists():
        return found
    lines = path.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            said = {key: record[key] for key in SAYS if record.get(key) is not None}
            keys = [(k, record[k]) for k in ("request_id", "session_id") if record.get(k)]
        except (ValueError, AttributeError, TypeError):
            raise FieldError(f"{path}:{number}", "is no outcome") from None
        found.update(dict.fromkeys(keys, said))
    return found


def _named(path: Path) -> set[tuple[str, str]]:
    """The requests and sessions of a file of decisions, as ``read_outcomes`` names them."""
    records = (item.value for item in iter_records(path) if isinstance(item, Record))
    known = [record for record in records if isinstance(record, Mapping)]
    return {(key, str(record.get(key))) for record in known for key in ("request_id", "session_id")}


def _with_outcome(item: Record, outcomes: Mapping[tuple[str, str], Mapping[str, Any]]) -> Record:
    record = item.value
    if not isinstance(record, Mapping):
        return item
    found: dict[str, Any] = {}
    for key in ("session_id", "request_id"):
        found.update(outcomes.get((key, str(record.get(key))), {}))
    name = record.get("session_id") or record.get("request_id")
    return item._replace(value={**record, "episode_id": name, **found})


def _scores(fields: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:
    """A decision's values, by candidate and goal; none where the critic was not heard."""
    goals, values = fields.get("goals"), fields.get("values")
    if not isinstance(goals, list) or not isinstance(values, list):
        return ()
    return [dict(zip(goals, map(float, row), strict=True)) for row in values]
