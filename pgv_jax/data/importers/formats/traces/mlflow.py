"""MLflow traces: ``{info, data: {spans}}`` as JSON, or rows of ``search_traces``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Sample
from pgv_jax.data.importers.conversation.fields import answers_of, parsed
from pgv_jax.data.importers.formats.traces.attributes import (
    asked_and_answered,
    key_values,
    kind_of_span,
)
from pgv_jax.data.importers.formats.traces.spans import (
    MODEL,
    Span,
    TraceImporter,
    messages_in,
    outcome_scores,
    stamp,
)
from pgv_jax.data.storage.jsonl import FieldError

STARTS = ("start_time_unix_nano", "start_time_ns", "start_time")


def trace_of(record: Any) -> tuple[Mapping[str, Any], list[Any]] | None:
    """Return (info, spans) of a trace in any of its spellings, or None."""
    if not isinstance(record, Mapping):
        return None
    inner = parsed(record.get("trace"))
    if isinstance(inner, Mapping):
        return trace_of(inner)
    data = record.get("data")
    info = record.get("info")
    spans = parsed(data.get("spans") if isinstance(data, Mapping) else record.get("spans"))
    if not isinstance(spans, list) or not any(_is_span(span) for span in spans):
        return None
    return (info if isinstance(info, Mapping) else record), spans


def _is_span(span: Any) -> bool:
    facts = key_values(span.get("attributes")) if isinstance(span, Mapping) else {}
    return any(str(key).startswith("mlflow.") for key in facts)


class MLflow(TraceImporter):
    """A trace is an episode; its assessments become metadata and, by name, its outcome."""

    name = "mlflow"
    about = "MLflow traces (to_json, or a table of search_traces)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of spans with mlflow's attributes."""
        if any(trace_of(record) for record in sample.records):
            return Detection(1.0, "traces of spans with the attributes mlflow.*")
        return NO

    def spans(self, record: Any) -> Iterable[Span]:
        """Return the spans of a trace."""
        found = trace_of(record)
        if found is None:
            raise FieldError("data.spans", "holds no spans of MLflow")
        info, spans = found
        trace = str(info.get("trace_id") or info.get("request_id") or "")
        scores = outcome_scores(info.get("assessments"))
        about: dict[str, Any] = {"scores": scores} if scores else {}
        for span in spans:
            if isinstance(span, Mapping):
                yield _span(span, trace, about)


def _span(span: Mapping[str, Any], trace: str, about: Mapping[str, Any]) -> Span:
    raw = key_values(span.get("attributes"))
    facts = {key: _unquoted(value) for key, value in raw.items()}
    inputs, outputs = facts.get("mlflow.spanInputs"), facts.get("mlflow.spanOutputs")
    kind = kind_of_span(facts, facts.get("mlflow.spanType"))
    messages = messages_in(inputs) if kind == MODEL else []
    answers = answers_of(outputs) if kind == MODEL else []
    if kind == MODEL and not messages:
        messages, answers = asked_and_answered(facts, span.get("events"))
    context = span.get("context")
    own = context.get("trace_id") if isinstance(context, Mapping) else span.get("trace_id")
    return Span(
        trace=trace or str(own or ""),
        kind=kind,
        start=stamp(next((span[key] for key in STARTS if span.get(key) is not None), "")),
        name=str(span.get("name") or ""),
        parent=str(span.get("parent_id") or span.get("parent_span_id") or ""),
        messages=messages,
        answers=answers,
        inputs=inputs,
        outputs=outputs,
        about=about,
    )


def _unquoted(value: Any) -> Any:
    """MLflow writes every attribute as JSON text: ``"\\"LLM\\""``."""
    if isinstance(value, str) and value[:1] == '"':
        return value.strip('"') if value.count('"') == 2 else parsed(f"[{value}]")[0]
    return parsed(value)
