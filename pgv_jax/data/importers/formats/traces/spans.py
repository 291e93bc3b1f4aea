"""Traces of any tool: spans grouped, and each call of a model read as a conversation.

A call's record holds the whole conversation so far, so that the import folds the calls of a trace
into its conversations (``importers.call_logs``). A trace whose calls hold no words but whose tools
do is told by its tools.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.base import (
    RAW_CHARACTERS,
    BadRecord,
    Importer,
    Options,
    Where,
    guarded,
)
from pgv_jax.data.importers.conversation.fields import (
    UNANSWERED,
    Logged,
    answers_of,
    are_messages,
    parsed,
)
from pgv_jax.data.importers.conversation.messages import turns_of
from pgv_jax.data.importers.conversation.pieces import Call, parse_arguments, words_of
from pgv_jax.data.importers.conversation.steps import candidate_of, episode_of
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.files.records import Damage, Record, iter_records
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Episode

MODEL, TOOL, OTHER = "model", "tool", "other"


@dataclass(frozen=True)
class Span:
    """One unit of a trace. ``messages`` were asked, ``answers`` are the alternatives given.

    ``start`` orders the spans of a trace; ``about`` are facts of the trace itself (scores, names).
    """

    trace: str
    kind: str
    start: str = ""
    name: str = ""
    parent: str = ""
    messages: Sequence[Any] = ()
    answers: Sequence[Sequence[Any]] = ()
    inputs: Any = None
    outputs: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def messages_in(value: Any) -> list[Any]:
    """The messages that a call's input holds: a list, ``{messages}``, a batch of one, or a text."""
    value = parsed(value)
    if isinstance(value, Mapping):
        for key in ("messages", "input", "prompt", "contents", "prompts", "inputs"):
            if value.get(key) not in (None, "", [], {}):
                found = messages_in(value[key])
                if found:
                    system = value.get("system") or value.get("instructions")
                    head = [{"role": "system", "content": system}] if system else []
                    return head + found
        return []
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else []
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return [{"role": "user", "content": text} for text in value[:1]]
    return list(value) if are_messages(value) else []


def stamp(value: Any) -> str:
    """A time as text that sorts: whole numbers are padded, dates are ISO text as they are."""
    if isinstance(value, bool) or value is None:
        return ""
    text = str(value)
    return text.zfill(24) if text.isdigit() else text


class TraceImporter(Importer):
    """A format of spans; subclasses write ``detect`` and ``spans``. A file's spans are held."""

    logs_calls = True

    @abstractmethod
    def spans(self, record: Any) -> Iterable[Span]:
        """Return the spans in a record; raise ``FieldError`` where it does not fit."""

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield an episode a call of a model (or a trace of tools), trace by trace."""
        traces: dict[str, list[Span]] = {}
        for item in iter_records(path, options.tally):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw[:RAW_CHARACTERS])
                continue
            try:
                for span in self.spans(item.value):
                    traces.setdefault(span.trace, []).append(span)
            except FieldError as error:
                yield BadRecord(str(path), item.line, error.field, error.why, item.raw())
        for index, (trace, spans) in enumerate(traces.items()):
            where = Where(path, 1, index)
            spans = sorted(spans, key=lambda span: span.start)
            record = Record({"trace_id": trace}, 1)
            yield from guarded(
                lambda s=spans, w=where: self._episodes(s, w, options), record, where, options
            )

    def _episodes(self, spans: Sequence[Span], where: Where, options: Options) -> list[Episode]:
        about: dict[str, Any] = {"trace_id": spans[0].trace}
        for span in spans:
            about.update(span.about)
        calls = [span for span in spans if span.kind == MODEL and span.messages]
        out = [self._call(span, about, where, options) for span in calls]
        found = [episode for episode in out if episode is not None]
        if found:
            return found
        turns = told_by_tools(spans, options)
        if not any(turn.role == "assistant" for turn in turns):
            raise FieldError(
                f"trace {spans[0].trace}", "no call of a model in it has messages, and no tool ran"
            )
        record = {**about, "episode_id": spans[0].trace}
        return [episode_of(turns, record, where, options, message_format=self.name, kept=about)]

    def _call(
        self, span: Span, about: Mapping[str, Any], where: Where, options: Options
    ) -> Episode | None:
        if not span.answers and span.outputs not in (None, "", {}, []):
            options.tally.notes[UNANSWERED] += 1
        found = Logged("messages", span.messages, span.answers)
        turns = turns_of(found.conversation, "messages", options.tally)
        if not any(turn.role == "assistant" for turn in turns):
            return None
        others = tuple(
            candidate_of(answer[0])
            for messages in span.answers[1:]
            if (answer := turns_of(messages, "answer", options.tally))
        )
        if others and turns[-1].role == "assistant":
            turns[-1] = replace(turns[-1], candidates=others)
        usage = {
            key: value for key, value in span.facts.items() if key.endswith(("tokens", "_usd"))
        }
        if usage and turns[-1].role == "assistant":
            turns[-1] = replace(turns[-1], usage={**usage, **turns[-1].usage})
        kept = {**about, **{k: v for k, v in span.facts.items() if k not in usage}}
        record = {**kept, "episode_id": str(about["trace_id"])}
        return episode_of(turns, record, where, options, message_format=self.name, kept=kept)


def told_by_tools(spans: Sequence[Span], options: Options) -> list[Turn]:
    """A trace as its tools' calls and answers, between what came in and what went out."""
    turns: list[Turn] = []
    outer = next((s for s in spans if s.kind != TOOL and s.inputs not in (None, "", {})), None)
    if outer is not None:
        asked = messages_in(outer.inputs) or [{"role": "user", "content": outer.inputs}]
        turns += turns_of(asked, "input", options.tally)
    for number, span in enumerate(span for span in spans if span.kind == TOOL):
        call = Call(span.name or "tool", parse_arguments(span.inputs), str(number))
        raw = {"role": "assistant", "content": None, "tool_calls": [
            {"id": call.id, "type": "function",
             "function": {"name": call.name, "arguments": span.inputs}}]}  # fmt: skip
        turns.append(Turn("assistant", raws=(raw,), calls=(call,)))
        answer = parsed(span.outputs)
        said = {"role": "tool", "tool_call_id": call.id, "content": answer}
        turns += turns_of([said], "output", options.tally)
    if outer is not None and outer.outputs not in (None, "", {}):
        for answer in answers_of(outer.outputs)[:1]:
            final = [
                m for m in answer if words_of(m.get("content") if isinstance(m, Mapping) else m)
            ]
            turns += turns_of(final[-1:], "output", options.tally)
    return turns


def outcome_scores(scores: Any) -> dict[str, Any]:
    """Scores that people or judges gave a trace: ``{name: value}`` from any list of them."""
    out: dict[str, Any] = {}
    items = scores if isinstance(scores, list) else []
    for score in items:
        if not isinstance(score, Mapping):
            continue
        name = next((score[k] for k in ("name", "key", "assessment_name") if score.get(k)), None)
        value = next(
            (score[k] for k in ("value", "score", "label") if score.get(k) is not None), None
        )
        feedback = score.get("feedback")
        if isinstance(feedback, Mapping):
            value = feedback.get("value", value)
        if isinstance(name, str):
            out[name] = value
    return out
