"""OpenHands: events of a run (both generations), as evaluations write them into ``history``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pgv_jax.data.importers.base import (
    NO,
    BadRecord,
    Detection,
    Options,
    RecordImporter,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.conversation.content import result_of
from pgv_jax.data.importers.conversation.messages import message_turns
from pgv_jax.data.importers.conversation.pieces import (
    Call,
    Piece,
    Reasoning,
    Text,
    call_of,
    words_of,
)
from pgv_jax.data.importers.conversation.steps import episode_of
from pgv_jax.data.importers.conversation.turns import Turn, turns_of_pieces
from pgv_jax.data.importers.files.records import Damage, Record, iter_records, sample_records
from pgv_jax.data.importers.identity import leftover
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.compression import stem_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Episode

NO_WORDS: tuple[str, ...] = ("null", "recall", "change_agent_state", "agent_state_changed")
NO_WORDS += ("condensation", "pause", "condensation_request", "server_ready")
NO_WORDS += ("user_rejected_state",)
BESIDE: tuple[str, ...] = ("thought", "is_confirmed", "confirmation_state", "security_risk")
BESIDE += ("hidden", "blocking", "is_input", "keep_prompt", "kernel_init_code", "include_extra")
BESIDE += ("set_hard_timeout",)


def is_event(event: Any) -> bool:
    """True for an event of either generation."""
    if not isinstance(event, Mapping):
        return False
    if isinstance(event.get("kind"), str) and event["kind"].endswith(("Event", "Observation")):
        return "source" in event or "llm_message" in event
    acts = isinstance(event.get("action"), str) and isinstance(event.get("args"), Mapping)
    sees = isinstance(event.get("observation"), str) and "content" in event
    return (acts or sees) and "source" in event


def events_of(record: Any) -> list[Any] | None:
    """The events of a record's history, pairs of action and observation in a row, or None."""
    history = record.get("history") if isinstance(record, Mapping) else None
    if not isinstance(history, list) or not history:
        return None
    if all(isinstance(pair, list) for pair in history):
        history = [event for pair in history for event in pair]
    return history if any(is_event(event) for event in history) else None


class OpenHands(RecordImporter):
    """Records with a ``history`` of events, or a file that is a list of events."""

    name = "openhands"
    about = "OpenHands runs (output.jsonl, lists of events; both generations)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of events with a source and an action, an observation or a kind."""
        if any(events_of(record) for record in sample.records):
            return Detection(1.0, "'history' holds events with a source")
        if sample.records and all(is_event(record) for record in sample.records):
            return Detection(1.0, "the file is a list of events with a source")
        return NO

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        events = events_of(record)
        if events is None:
            raise FieldError("history", "holds no events")
        about = dict(record)
        if isinstance(record.get("test_result"), Mapping):
            about["info"] = record["test_result"]
        rest = leftover(record, ("history",))
        turns = turns_of_events(events, options.tally)
        return [episode_of(turns, about, where, options, message_format="openhands", kept=rest)]

    def read(self, path: Any, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield an episode a record; of a file that is a list of events, one."""
        head, _ = sample_records(path)
        if not head or not all(is_event(record) for record in head):
            yield from super().read(path, options)
            return
        events: list[Any] = []
        for item in iter_records(path, options.tally):
            if isinstance(item, Damage):
                yield BadRecord(str(path), item.line, "json", item.why, item.raw)
            else:
                events.append(item.value)
        where = Where(path, 1, 0)

        def make() -> list[Episode]:
            turns = turns_of_events(events, options.tally)
            about = {"episode_id": stem_of(path)}
            return [episode_of(turns, about, where, options, message_format="openhands", kept={})]

        yield from guarded(make, Record(events, 1), where, options)


def turns_of_events(events: Sequence[Any], tally: Tally) -> list[Turn]:
    """The turns of a run; what only steers the program says nothing to the agent."""
    out: list[Turn] = []
    thinking: set[str] = set()
    for i, event in enumerate(events):
        where = f"history[{i}]"
        if not isinstance(event, Mapping):
            raise FieldError(where, "must be an object")
        if "kind" in event:
            out.extend(_second(event, where, tally))
        else:
            out.extend(_first(event, where, tally, thinking))
    return out


def event_turns(event: Any, where: str, tally: Tally) -> list[Turn]:
    """One kept event (or message of the second generation) as turns."""
    if isinstance(event, Mapping) and "role" in event:
        return message_turns(event, where, tally)
    return turns_of_events([event], tally)


def _first(event: Mapping[str, Any], where: str, tally: Tally, thinking: set[str]) -> list[Turn]:
    """An event of the first generation: ``action`` with ``args``, or ``observation``."""
    action, source = event.get("action"), event.get("source")
    args = event.get("args") if isinstance(event.get("args"), Mapping) else {}
    assert isinstance(args, Mapping)
    if action in NO_WORDS or event.get("observation") in NO_WORDS:
        return []
    if action is None:
        if str(event.get("cause")) in thinking:
            return []  # the program's receipt for a thought
        part = {"content": event.get("content"), "call_id": event.get("cause")}
        return [Turn("tool", raws=(event,), results=(result_of(part, where, tally),))]
    said = words_of(args.get("content")) or words_of(event.get("message"))
    if action in ("message", "system"):
        role = "system" if action == "system" else "user" if source == "user" else "assistant"
        return [Turn(role, said, raws=(event,))]
    if source != "agent":
        return [Turn("user", said, raws=(event,))]
    thought = args.get("thought")
    pieces: list[Piece] = []
    if isinstance(thought, Mapping):
        thought = thought.get("reasoning_content") or thought.get("default")
    if words_of(thought):
        pieces.append(Reasoning(words_of(thought)))
    if action == "think":
        thinking.add(str(event.get("id")))
    else:
        pieces.append(_called(event, str(action), args, where))
    return turns_of_pieces("assistant", pieces, Turn("assistant", raws=(event,)))


def _called(event: Mapping[str, Any], action: str, args: Mapping[str, Any], where: str) -> Call:
    """The call as the model wrote it where that is kept, else the action with its arguments."""
    number = str(event.get("id", ""))
    meta = event.get("tool_call_metadata")
    if isinstance(meta, Mapping):
        response = meta.get("model_response")
        choices = response.get("choices") if isinstance(response, Mapping) else None
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get("message") if isinstance(choice, Mapping) else None
            for call in (message.get("tool_calls") or ()) if isinstance(message, Mapping) else ():
                found = call_of(call, where) if isinstance(call, Mapping) else None
                if found and found.id == meta.get("tool_call_id"):
                    return found._replace(id=number)
    kept = {k: v for k, v in args.items() if k not in BESIDE and v not in (None, "", [], {})}
    return Call(action, kept, number)


def _second(event: Mapping[str, Any], where: str, tally: Tally) -> list[Turn]:
    """An event of the second generation, told by its ``kind``."""
    kind = str(event["kind"])
    if kind == "MessageEvent":
        message = event.get("llm_message")
        return [] if message is None else message_turns(message, f"{where}.llm_message", tally)
    if kind == "SystemPromptEvent":
        return [Turn("system", words_of(event.get("system_prompt")), raws=(event,))]
    if kind == "CondensationSummaryEvent":
        return [Turn("user", words_of(event.get("summary")), raws=(event,))]
    if kind == "ActionEvent":
        pieces: list[Piece] = []
        for key in ("reasoning_content", "thinking_blocks"):
            if not pieces and words_of(event.get(key)):
                pieces.append(Reasoning(words_of(event[key])))
        if words_of(event.get("thought")):
            pieces.append(Text(words_of(event["thought"])))
        inner = event.get("tool_call")
        call = call_of(inner, where) if isinstance(inner, Mapping) else None
        facts = event.get("action") if isinstance(event.get("action"), Mapping) else {}
        arguments = {k: v for k, v in dict(facts or {}).items() if k != "kind"}
        name = str(event.get("tool_name") or "action")
        number = str(event.get("tool_call_id") or "")
        pieces.append(call or Call(name, arguments, number))
        return turns_of_pieces("assistant", pieces, Turn("assistant", raws=(event,)))
    if kind in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation"):
        seen = event.get("observation")
        value = seen if seen is not None else event.get("error") or event.get("rejection_reason")
        if isinstance(value, Mapping):
            value = value.get("content") or {k: v for k, v in value.items() if k != "kind"}
        part = {"content": value, "call_id": event.get("tool_call_id")}
        return [Turn("tool", raws=(event,), results=(result_of(part, where, tally),))]
    return []
