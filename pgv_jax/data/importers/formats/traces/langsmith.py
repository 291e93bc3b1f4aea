"""LangSmith runs: ``run_type`` llm, chain and tool, flat or with their child runs."""

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

KINDS = {"llm": MODEL, "tool": TOOL}
MARKS = {"trace_id", "dotted_order", "parent_run_id", "start_time", "session_id"}


def is_run(record: Any) -> bool:
    """True for a run with its inputs."""
    return (
        isinstance(record, Mapping)
        and isinstance(record.get("run_type"), str)
        and "inputs" in record
        and bool(MARKS & set(record))
    )


class LangSmith(TraceImporter):
    """A trace is an episode; feedback of its root run becomes its metadata."""

    name = "langsmith"
    about = "LangSmith runs (run_type llm, chain, tool; flat or nested)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of records with a run_type, inputs and a trace or a start."""
        if any(is_run(record) for record in sample.records):
            return Detection(1.0, "runs with run_type, inputs and a trace")
        return NO

    def spans(self, record: Any) -> Iterable[Span]:
        """Return the spans of a run and of those below it."""
        if not is_run(record):
            raise FieldError("run_type", "is missing, or inputs are")
        yield from _spans(record, "")


def _spans(run: Mapping[str, Any], above: str) -> Iterator[Span]:
    trace = str(run.get("trace_id") or above or run.get("id") or "")
    kind = KINDS.get(str(run["run_type"]), OTHER)
    inputs, outputs = parsed(run.get("inputs")), parsed(run.get("outputs"))
    extra = run.get("extra") if isinstance(run.get("extra"), Mapping) else {}
    assert isinstance(extra, Mapping)
    facts = usage_of(run)
    model = (extra.get("metadata") or {}).get("ls_model_name") if extra.get("metadata") else None
    if model:
        facts["model"] = model
    about: dict[str, Any] = {}
    if not run.get("parent_run_id") and not above:
        stats = run.get("feedback_stats")
        scores = {
            str(key): value.get("avg") if isinstance(value, Mapping) else value
            for key, value in (stats.items() if isinstance(stats, Mapping) else ())
        }
        about = {"name": run.get("name"), **({"scores": scores} if scores else {})}
        if run.get("error"):
            about["exit_status"] = "error"
    yield Span(
        trace=trace,
        kind=kind,
        start=stamp(run.get("dotted_order") or run.get("start_time")),
        name=str(run.get("name") or ""),
        parent=str(run.get("parent_run_id") or ""),
        messages=messages_in(inputs) if kind == MODEL else (),
        answers=answers_of(outputs) if kind == MODEL else (),
        inputs=_inner(inputs),
        outputs=_inner(outputs),
        facts=facts,
        about=about,
    )
    for child in run.get("child_runs") or ():
        if isinstance(child, Mapping) and "run_type" in child:
            yield from _spans(child, trace)


def _inner(value: Any) -> Any:
    """``{"input": x}`` and ``{"output": x}`` are x."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, inner),) = value.items()
        if key in ("input", "output", "inputs", "outputs"):
            return inner
    return value
