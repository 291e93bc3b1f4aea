"""Arize Phoenix exports: a span a row, with ``context.trace_id`` and ``attributes.*`` columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Sample
from pgv_jax.data.importers.formats.traces.otel import span_of
from pgv_jax.data.importers.formats.traces.spans import Span, TraceImporter
from pgv_jax.data.storage.jsonl import FieldError

TRACE = ("context.trace_id", "context_trace_id")


def is_row(record: Any) -> bool:
    """True for a row of a dataframe of spans."""
    return (
        isinstance(record, Mapping)
        and any(key in record for key in TRACE)
        and any(str(key).startswith("attributes.") for key in record)
    )


class Phoenix(TraceImporter):
    """Rows of ``get_spans_dataframe()``, as JSON, CSV or Parquet."""

    name = "phoenix"
    about = "Phoenix spans (a dataframe of get_spans_dataframe as JSONL, CSV or Parquet)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of columns context.trace_id and attributes.*."""
        if any(is_row(record) for record in sample.records):
            return Detection(1.0, "columns context.trace_id and attributes.*")
        return NO

    def spans(self, record: Any) -> Iterable[Span]:
        """Return the span of a row."""
        if not is_row(record):
            raise FieldError("context.trace_id", "is missing, or the attributes are")
        attributes = {
            key[len("attributes.") :]: value
            for key, value in record.items()
            if key.startswith("attributes.") and value is not None
        }
        if "openinference.span.kind" not in attributes and record.get("span_kind"):
            attributes["openinference.span.kind"] = record["span_kind"]
        trace = next(record[key] for key in TRACE if key in record)
        plain = {key: value for key, value in record.items() if not key.startswith("attributes.")}
        yield span_of({**plain, "trace_id": trace, "attributes": attributes})
