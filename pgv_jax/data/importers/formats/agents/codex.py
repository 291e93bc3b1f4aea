"""Codex: session files (``rollout-*.jsonl``, old and new) and ``codex exec --json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, FileImporter, Options, Sample, Where
from pgv_jax.data.importers.conversation.messages import (
    is_item,
    looks_like_message,
    message_turns,
    turns_of,
    usage_of,
)
from pgv_jax.data.importers.conversation.pieces import (
    Call,
    Piece,
    Reasoning,
    Result,
    Text,
    words_of,
)
from pgv_jax.data.importers.conversation.steps import episode_of
from pgv_jax.data.importers.conversation.turns import Turn, joined, turns_of_pieces
from pgv_jax.data.storage.compression import stem_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Episode

LINES = ("session_meta", "response_item", "event_msg", "turn_context", "compacted")
NOTES = ("<environment_context>", "<user_instructions>", "<permissions", "# AGENTS.md", "<INSTR")
"""How the messages begin that the program itself writes in the user's name."""
SKIPPED = ("ghost_snapshot", "other")


class Codex(FileImporter):
    """A session is one episode; a compaction is what the agent saw from then on."""

    name = "codex"
    about = "Codex sessions (~/.codex/sessions/**/rollout-*.jsonl) and codex exec --json"
    logs_calls = True

    def detect(self, sample: Sample) -> Detection:
        """Sure of lines with a type and a payload, of thread events, and of the old head line."""
        first = sample.objects[0] if sample.objects else {}
        if any(r.get("type") in LINES and "payload" in r for r in sample.objects):
            return Detection(1.0, "lines of type session_meta, response_item, ... with a payload")
        if first.get("type") == "thread.started" or any(
            str(r.get("type")).startswith("item.") and "item" in r for r in sample.objects
        ):
            return Detection(1.0, "events of type thread.started, item.completed, ...")
        old = {"id", "timestamp", "instructions"} <= set(first) and "messages" not in first
        if old and any(is_item(r) or looks_like_message(r) for r in sample.objects[1:]):
            return Detection(1.0, "a head line with id and instructions, then items")
        return NO

    def runs(self, records: Sequence[Any], where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a session."""
        lines = [record for record in records if isinstance(record, Mapping)]
        reader = _Reader(options)
        for i, line in enumerate(lines):
            reader.add(line, f"line[{i}]")
        if not any(turn.role == "assistant" for turn in reader.turns):
            raise FieldError("response_item", "no line of this file is a word of the agent")
        record = {**reader.about, **({"exit_status": reader.ended} if reader.ended else {})}
        name = str(record.get("id") or stem_of(where.path))
        return [
            episode_of(
                joined(reader.turns), {**record, "episode_id": name}, where, options,
                message_format="codex", kept=record,
            )
        ]  # fmt: skip


class _Reader:
    """Turns the lines of a session into turns."""

    def __init__(self, options: Options):
        self.options = options
        self.turns: list[Turn] = []
        self.about: dict[str, Any] = {}
        self.told = ""
        """Reasoning that an event told and no item has held yet."""
        self.ended = ""

    def add(self, line: Mapping[str, Any], where: str) -> None:
        kind, payload = line.get("type"), line.get("payload")
        if str(kind).startswith(("thread.", "turn.", "item.")) or kind == "error":
            self._event(line, str(kind))
        elif kind in LINES and isinstance(payload, Mapping):
            self._line(str(kind), payload, where)
        elif looks_like_message(line):
            self._item(line, where)
        elif not self.about and "id" in line:  # the old head line
            self.about = {k: v for k, v in line.items() if k in ("id", "timestamp", "git")}

    def _line(self, kind: str, payload: Mapping[str, Any], where: str) -> None:
        if kind == "session_meta":
            meta = payload.get("meta", payload)
            keep = ("id", "cwd", "cli_version", "originator", "git", "source", "model_provider")
            self.about = self.about or {k: meta[k] for k in keep if meta.get(k)}
        elif kind == "compacted":
            self._compacted(payload, where)
        elif kind == "event_msg":
            event = payload.get("type")
            self.told = words_of(payload.get("text")) if event == "agent_reasoning" else self.told
            self.ended = str(payload.get("reason") or "aborted") if event == "turn_aborted" else ""
        elif kind == "response_item" and payload.get("type") not in SKIPPED:
            self._item(payload, where)

    def _compacted(self, payload: Mapping[str, Any], where: str) -> None:
        """The summary that the agent goes on from: in words, or what is new in its history."""
        words = words_of(payload.get("message"))
        if not words:
            said = {turn.text for turn in self.turns}
            history = turns_of(payload.get("replacement_history") or (), where, self.options.tally)
            words = "\n\n".join(
                turn.text for turn in history if turn.text.strip() and turn.text not in said
            )
        self.turns.append(Turn("user", words, raws=(payload,)))

    def _item(self, item: Mapping[str, Any], where: str) -> None:
        found = message_turns(item, where, self.options.tally)
        if found[0].role == "user" and found[0].text.lstrip().startswith(NOTES):
            found = [replace(turn, context=True) for turn in found]
        elif found[0].role == "assistant":
            if self.told and not found[0].reasoning:
                found[0] = replace(found[0], reasoning=self.told)
            self.told = ""
        self.turns += [replace(turn, item=True) for turn in found]

    def _event(self, line: Mapping[str, Any], kind: str) -> None:
        item = line.get("item")
        if kind == "thread.started":
            self.about = {"id": line.get("thread_id")}
        elif kind == "item.completed" and isinstance(item, Mapping):
            if item.get("type") == "error":  # a warning of the program that the agent did not see
                self.options.tally.leave("error")
                return
            pieces = _pieces(item)
            if pieces:
                first = Turn("assistant", raws=(_as_message(pieces),), item=True)
                self.turns += turns_of_pieces("assistant", pieces, first)
        elif kind == "turn.completed" and self.turns:
            usage = usage_of(line.get("usage"))
            self.turns[-1] = replace(self.turns[-1], usage={**self.turns[-1].usage, **usage})
        elif kind in ("turn.failed", "error"):
            self.ended = "error"


def _pieces(item: Mapping[str, Any]) -> list[Piece]:
    kind, number = item.get("type"), str(item.get("id") or "")
    if kind == "reasoning":
        return [Reasoning(words_of(item.get("text")))]
    if kind in ("agent_message", "assistant_message"):
        return [Text(words_of(item.get("text")))]
    if kind == "command_execution":
        call = Call("shell", {"command": item.get("command")}, number)
        code = item.get("exit_code")
        said = str(item.get("aggregated_output") or "").rstrip()
        failed = f"\nexit code {code}" if code not in (0, None) else ""
        return [call, Result((said + failed).strip(), number)]
    known = ("id", "type", "status", "result", "error", "aggregated_output")
    facts = {key: value for key, value in item.items() if key not in known}
    answer = item.get("result") or item.get("error") or item.get("status") or ""
    return [Call(str(kind), facts, number), Result(words_of(answer) or str(answer), number)]


def _as_message(pieces: Sequence[Piece]) -> dict[str, Any]:
    """An event as the message that it stands for, so that it can be written back."""
    out: dict[str, Any] = {"role": "assistant", "content": []}
    for piece in pieces:
        if isinstance(piece, Reasoning):
            out["content"].append({"type": "thinking", "thinking": piece.text})
        elif isinstance(piece, Call):
            out["content"].append(
                {"type": "tool_use", "id": piece.id, "name": piece.name, "input": piece.arguments}
            )
        elif isinstance(piece, Result):
            out["content"].append(
                {"type": "tool_result", "tool_use_id": piece.call_id, "content": piece.text}
            )
        else:
            out["content"].append({"type": "text", "text": piece.text})
    return out
