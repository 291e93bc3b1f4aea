"""Traces of the OpenAI Agents SDK: ``trace`` and ``trace.span`` objects with their span data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    stamp,
)
from pgv_jax.data.storage.jsonl import FieldError

KINDS = {"generation": MODEL, "response": MODEL, "function": TOOL}


def is_item(record: Any) -> bool:
    """True for a trace or a span of the SDK."""
    if not isinstance(record, Mapping):
        return False
    span = record.get("object") == "trace.span" and isinstance(record.get("span_data"), Mapping)
    return span or (record.get("object") == "trace" and "workflow_name" in record)


def items_of(record: Any) -> Iterator[Mapping[str, Any]]:
    """The items of an exported request (``{"data": [...]}``), or the one that a record is."""
    inner = record.get("data") if isinstance(record, Mapping) else None
    for item in inner if isinstance(inner, list) else [record]:
        if is_item(item):
            yield item


class OpenAIAgents(TraceImporter):
    """A trace is an episode; where the model's words were not traced, its tools tell it."""

    name = "openai-agents"
    about = "OpenAI Agents SDK traces (objects trace and trace.span)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of objects trace and trace.span."""
        if any(True for record in sample.records for _ in items_of(record)):
            return Detection(1.0, "objects trace and trace.span")
        return NO

    def spans(self, record: Any) -> Iterable[Span]:
        """Return the spans of a record."""
        items = list(items_of(record))
        if not items:
            raise FieldError("object", "is neither trace nor trace.span")
        for item in items:
            if item["object"] == "trace":
                about = {"workflow": item["workflow_name"]}
                if item.get("group_id"):
                    about["session_id"] = item["group_id"]
                yield Span(trace=str(item.get("id")), kind=OTHER, about=about)
            else:
                yield _span(item)


def _span(item: Mapping[str, Any]) -> Span:
    data = item["span_data"]
    kind = KINDS.get(str(data.get("type")), OTHER)
    output = data.get("output")
    response = parsed(data.get("response"))
    if data.get("type") == "response" and isinstance(response, Mapping):
        output = response.get("output")
    usage = data.get("usage")
    facts = {**usage_of(usage), **({"model": data["model"]} if data.get("model") else {})}
    return Span(
        trace=str(item.get("trace_id")),
        kind=kind,
        start=stamp(item.get("started_at")),
        name=str(data.get("name") or ""),
        parent=str(item.get("parent_id") or ""),
        messages=messages_in(data.get("input")) if kind == MODEL else (),
        answers=answers_of(output) if kind == MODEL else (),
        inputs=parsed(data.get("input")) if kind == TOOL else None,
        outputs=output if kind == TOOL else None,
        facts=facts if kind == MODEL else {},
    )
