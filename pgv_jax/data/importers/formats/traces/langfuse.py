"""Langfuse exports: observations (API, UI or blob storage) and traces with their observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Sample
from pgv_jax.data.importers.conversation.fields import answers_of, parsed
from pgv_jax.data.importers.conversation.messages import usage_of
from pgv_jax.data.importers.formats.traces.spans import (
    MODEL,
    OTHER,
    TOOL,
    Span,
    TraceImporter,
    messages_in,
    outcome_scores,
    stamp,
)
from pgv_jax.data.storage.jsonl import FieldError

KINDS = {"GENERATION": MODEL, "TOOL": TOOL}
TYPES: tuple[str, ...] = (
    "GENERATION",
    "SPAN",
    "EVENT",
    "TOOL",
    "AGENT",
    "CHAIN",
    "RETRIEVER",
    "EMBEDDING",
)
TYPES += ("GUARDRAIL", "EVALUATOR")


def _get(row: Mapping[str, Any], camel: str, snake: str) -> Any:
    return row.get(camel, row.get(snake))


def is_observation(record: Any) -> bool:
    """True for an observation in the API's spelling or the blob storage's."""
    return (
        isinstance(record, Mapping)
        and record.get("type") in TYPES
        and bool({"traceId", "trace_id"} & set(record))
        and bool({"startTime", "start_time"} & set(record))
    )


def is_trace(record: Any) -> bool:
    """True for a trace that holds its observations."""
    inner = record.get("observations") if isinstance(record, Mapping) else None
    return isinstance(inner, list) and any(is_observation(one) for one in inner)


class Langfuse(TraceImporter):
    """A trace is an episode; its ``scores`` become metadata and, by name, its outcome."""

    name = "langfuse"
    about = "Langfuse exports (observations, or traces with observations; JSON, JSONL, CSV)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of observations with a type, a trace and a start."""
        if any(is_observation(record) or is_trace(record) for record in sample.records):
            return Detection(1.0, "observations with a type, a trace's id and a start time")
        return NO

    def spans(self, record: Any) -> Iterable[Span]:
        """Return the spans of a trace, or the one of an observation."""
        if is_trace(record):
            about = {"name": record.get("name")} if record.get("name") else {}
            session = _get(record, "sessionId", "session_id")
            if session:
                about["session"] = session
            scores = outcome_scores(record.get("scores"))
            about = {**about, **({"scores": scores} if scores else {})}
            for one in record["observations"]:
                if isinstance(one, Mapping):
                    yield _span({"traceId": record.get("id"), **one}, about)
            return
        if not is_observation(record):
            raise FieldError("observation", "has no type, no trace or no start time")
        yield _span(record, {})


def _span(row: Mapping[str, Any], about: Mapping[str, Any]) -> Span:
    usage = next((row[k] for k in ("usage", "usageDetails", "usage_details") if row.get(k)), None)
    usage = parsed(usage)
    if isinstance(usage, Mapping):
        usage = {
            **usage,
            "prompt_tokens": usage.get("input"),
            "completion_tokens": usage.get("output"),
        }
    facts = {**usage_of(usage), **({"model": row["model"]} if row.get("model") else {})}
    kind = KINDS.get(str(row.get("type")), OTHER)
    return Span(
        trace=str(_get(row, "traceId", "trace_id")),
        kind=kind,
        start=stamp(_get(row, "startTime", "start_time")),
        name=str(row.get("name") or ""),
        parent=str(_get(row, "parentObservationId", "parent_observation_id") or ""),
        messages=messages_in(row.get("input")) if kind == MODEL else (),
        answers=answers_of(row.get("output")) if kind == MODEL else (),
        inputs=parsed(row.get("input")),
        outputs=parsed(row.get("output")),
        facts=facts,
        about=about,
    )
