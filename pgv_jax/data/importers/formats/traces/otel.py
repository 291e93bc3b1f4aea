"""OpenTelemetry spans of GenAI calls as OTLP JSON, in the GenAI and OpenInference conventions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Sample
from pgv_jax.data.importers.formats.traces.attributes import (
    asked_and_answered,
    key_values,
    kind_of_span,
    usage_in,
)
from pgv_jax.data.importers.formats.traces.spans import Span, TraceImporter, stamp
from pgv_jax.data.storage.jsonl import FieldError

ROOTS = (("resourceSpans", "scopeSpans"), ("resource_spans", "scope_spans"))


def otlp_spans(record: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield (span, the resource's attributes) of an OTLP request or of a span by itself."""
    for outer, inner in ROOTS:
        for resource in record.get(outer) or ():
            facts = key_values((resource.get("resource") or {}).get("attributes"))
            for scope in resource.get(inner) or resource.get("instrumentationLibrarySpans") or ():
                for span in scope.get("spans") or ():
                    yield span, facts
    if _is_span(record):
        yield record, {}


def _is_span(record: Mapping[str, Any]) -> bool:
    named = ({"traceId", "spanId"} <= set(record)) or ({"trace_id", "span_id"} <= set(record))
    boxed = isinstance(record.get("context"), Mapping) and "trace_id" in record["context"]
    return (named or boxed) and isinstance(record.get("attributes"), list | Mapping)


class OTel(TraceImporter):
    """Requests with ``resourceSpans``, or a span a record (the SDK's own exporters)."""

    name = "otel"
    about = "OpenTelemetry GenAI or OpenInference spans (OTLP JSON, a span a line)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of resourceSpans, and of spans with a trace, an id and attributes."""
        for record in sample.objects:
            if "resourceSpans" in record or "resource_spans" in record:
                return Detection(1.0, "OTLP requests with resourceSpans")
            if _is_span(record):
                return Detection(1.0, "spans with a trace's id and attributes")
        return NO

    def spans(self, record: Any) -> Iterable[Span]:
        """Return the spans of a request."""
        if not isinstance(record, Mapping):
            raise FieldError("span", "must be an object")
        for span, resource in otlp_spans(record):
            if not isinstance(span, Mapping):
                raise FieldError("span", "must be an object")
            yield span_of(span, resource)


def span_of(span: Mapping[str, Any], resource: Mapping[str, Any] | None = None) -> Span:
    """An OpenTelemetry span in any of its spellings."""
    context = span.get("context") if isinstance(span.get("context"), Mapping) else {}
    assert isinstance(context, Mapping)
    attributes = key_values(span.get("attributes"))
    trace = next(
        (v for v in (span.get("traceId"), span.get("trace_id"), context.get("trace_id")) if v), ""
    )
    start = next((span[k] for k in STARTS if span.get(k) is not None), "")
    messages, answers = asked_and_answered(attributes, span.get("events"))
    kind = kind_of_span(attributes, span.get("span_kind"))
    facts = usage_in(attributes)
    for key in ("gen_ai.request.model", "llm.model_name", "gen_ai.agent.name"):
        if attributes.get(key):
            facts[key.rsplit(".", 1)[-1] if "agent" not in key else "agent"] = attributes[key]
    tool = _first(attributes, "gen_ai.tool.name", "tool.name", "ai.toolCall.name")
    inputs = _first(
        attributes,
        "gen_ai.tool.call.arguments",
        "input.value",
        "ai.toolCall.args",
        "traceloop.entity.input",
    )
    outputs = _first(
        attributes,
        "gen_ai.tool.call.result",
        "output.value",
        "ai.toolCall.result",
        "traceloop.entity.output",
    )
    session = _first(attributes, "session.id", "gen_ai.conversation.id")
    about = {"session_id": session} if session else {}
    if resource and resource.get("service.name"):
        about["service"] = resource["service.name"]
    return Span(
        trace=str(trace),
        kind=kind,
        start=stamp(start),
        name=str(tool or span.get("name") or ""),
        parent=str(_first(span, "parentSpanId", "parent_span_id", "parent_id") or ""),
        messages=messages if kind == "model" else (),
        answers=answers if kind == "model" else (),
        inputs=inputs,
        outputs=outputs,
        facts=facts,
        about=about,
    )


STARTS = ("startTimeUnixNano", "start_time_unix_nano", "start_time_ns", "startTime", "start_time")


def _first(facts: Mapping[str, Any], *names: str) -> Any:
    return next((facts[name] for name in names if facts.get(name) not in (None, "")), None)
