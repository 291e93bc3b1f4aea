"""From a conversation to steps: every format of messages comes down to ``Turn``s and this.

A step is one assistant turn. Its observation is what arrived since the turn before; its action
is the words or the tool calls in canonical text; its thought is the reasoning if there is any,
else the words, else the calls in words (``metadata["thought_from"]`` says which).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pgv_jax.data.importers.base import Options, Prefix, Where
from pgv_jax.data.importers.outcomes.record import number, outcome_of, with_outcome
from pgv_jax.data.jsonl import FieldError, kind_of, text_field
from pgv_jax.types import Episode, Step

TASK_KEYS = ("task", "instruction", "question", "goal", "problem")
TASK_ID_KEYS = ("task_id", "instance_id", "question_id", "problem_id", "item_id")
EPISODE_ID_KEYS = ("episode_id", "trajectory_id", "rollout_id", "run_id", "uid", "id")
MARKERS = re.compile(r"[ \t]*###\s*STOP\s*###[ \t]*")
"""End marks of user simulators: no part of what the agent was told."""
THINKING = re.compile(r"\s*<(think|thinking|reasoning)>(.*?)</\1>\s*", re.S)
THOUGHT = re.compile(
    r"^\s*(?:Thought|Think|THOUGHT)\s*:\s*(.*?)\s*(?:\n\s*Action\s*:\s*(.*))?$", re.S
)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; ``arguments`` as an object where they parse, else as the text they were."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. ``raw`` is kept losslessly; ``context`` marks assistant turns of a prompt."""

    role: str
    text: str
    raw: Any
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    reward: float | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    context: bool = False


def content_text(content: Any, where: str) -> tuple[str, str]:
    """Return (text, reasoning) of a content: null, text, or a list of parts.

    Parts without text (images, audio) are named in brackets, so that nothing seems empty.
    """
    if content is None:
        return "", ""
    if isinstance(content, str):
        return text_field(content, where), ""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list | tuple):
        raise FieldError(where, f"must be text, null or a list of parts, not {kind_of(content)}")
    texts, reasoning = [], []
    for i, part in enumerate(content):
        if isinstance(part, str):
            texts.append(text_field(part, f"{where}[{i}]"))
            continue
        if not isinstance(part, Mapping):
            raise FieldError(f"{where}[{i}]", f"must be an object or text, not {kind_of(part)}")
        kind = str(part.get("type", "text"))
        if kind in ("thinking", "reasoning"):
            named = (part.get(key) for key in (kind, "text", "summary"))
            said = next((value for value in named if isinstance(value, str)), "")
            reasoning.append(text_field(said, f"{where}[{i}]"))
        elif isinstance(part.get("text"), str):
            texts.append(text_field(part["text"], f"{where}[{i}].text"))
        elif isinstance(part.get("refusal"), str):
            texts.append(text_field(part["refusal"], f"{where}[{i}].refusal"))
        elif kind not in ("tool_use", "tool_result", "redacted_thinking", "tool_call"):
            texts.append(f"[{kind}]")
    return "\n".join(texts), "\n".join(r for r in reasoning if r)


def parse_arguments(arguments: Any) -> Any:
    """Tool arguments as an object: logs hold them as JSON *text*; other text stays text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def call_text(call: Call) -> str:
    """Canonical action text of a call: ``name({"a": 1, "b": "x"})``, keys sorted."""
    if isinstance(call.arguments, str):
        return f"{call.name}({call.arguments})"
    arguments = {} if call.arguments is None else call.arguments
    return f"{call.name}({json.dumps(arguments, sort_keys=True, ensure_ascii=False)})"


def call_words(call: Call) -> str:
    """A call as a sentence: ``Call get_user with id mia, day Monday.``"""
    if not isinstance(call.arguments, Mapping) or not call.arguments:
        said = call.arguments if isinstance(call.arguments, str) else ""
        return f"Call {call.name}{f' with {said}' if said else ''}."
    pairs = ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in call.arguments.items()
    )
    return f"Call {call.name} with {pairs}."


def split_thought(text: str) -> tuple[str, str]:
    """Separate (thought, the rest) of an assistant's words: think tags, or Thought:/Action:."""
    found = THINKING.search(text)
    if found:
        return found.group(2).strip(), (text[: found.start()] + "\n" + text[found.end() :]).strip()
    found = THOUGHT.match(text)
    if found and (found.group(2) or found.group(1)):
        return found.group(1), (found.group(2) or "").strip()
    return "", text


def step_of(turn: Turn, waiting: Sequence[Turn]) -> Step:
    """One assistant turn and what arrived before it, as a Step."""
    reasoning, words = turn.reasoning, turn.text
    if not reasoning:
        reasoning, words = split_thought(turn.text)
    action = "\n".join(call_text(call) for call in turn.calls) or words
    if reasoning:
        thought, origin = reasoning, "reasoning"
    elif words.strip():
        thought, origin = words, "words"
    else:
        thought, origin = " ".join(call_words(call) for call in turn.calls), "calls"
    metadata: dict[str, Any] = {"thought_from": origin}
    if turn.calls and words.strip() and reasoning:
        metadata["words"] = words
    metadata.update(turn.usage)
    metadata["messages"] = [*(t.raw for t in waiting), turn.raw]
    return Step(
        observe(waiting), thought, action or reasoning, reward=turn.reward, metadata=metadata
    )


def unmarked(text: str) -> str:
    """A text without the end marks of user simulators."""
    return (MARKERS.sub("", text) if "###" in text else text).strip()


def observe(waiting: Sequence[Turn]) -> str:
    """What arrived since the agent's last turn; the system's words only if there is no other."""
    spoken = [t for t in waiting if t.role != "system" and not t.context]
    texts = [unmarked(t.text) for t in spoken or waiting]
    return "\n\n".join(text for text in texts if text)


def drop_prefix(turns: Sequence[Turn], prefix: Prefix | None) -> list[Turn]:
    """Make the turns of a repeated prompt context: they give no steps; raw messages stay."""
    if prefix is None:
        return list(turns)
    out = []
    for i, turn in enumerate(turns):
        if i < prefix.messages:
            out.append(replace(turn, text="", context=True))
        elif i == prefix.messages and turn.text.startswith(prefix.text):
            rest = turn.text[prefix.characters :].strip()
            out.append(replace(turn, text=rest))
        else:
            out.append(turn)
    return out


def first_of(record: Mapping[str, Any], keys: Sequence[str], chosen: str | None) -> Any:
    """The record's value under the user's key (dotted), else under the first known key it has."""
    if chosen is not None:
        value: Any = record
        for key in chosen.split("."):
            if not isinstance(value, Mapping) or key not in value:
                raise FieldError(chosen, "is missing from this record")
            value = value[key]
        return value
    return next((record[key] for key in keys if record.get(key) not in (None, "")), None)


def identifier(value: Any) -> str | None:
    """An id as text, or None if the value is not text or a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return text_field(str(value).strip(), "id") or None


def name_task(record: Mapping[str, Any], task: str, options: Options) -> tuple[str, str]:
    """Return (task id, task text); without an id, equal task texts are the same task."""
    chosen = first_of(record, TASK_KEYS, options.fields.get("task"))
    if isinstance(chosen, str) and chosen.strip():
        task = text_field(chosen, "task")
    task_id = identifier(first_of(record, TASK_ID_KEYS, options.fields.get("task_id")))
    if task_id is None:
        task_id = "task-" + hashlib.sha256(task.encode()).hexdigest()[:12]
    return task_id, task


def name_episode(record: Mapping[str, Any], where: Where, options: Options) -> str:
    """The record's own id, else the file's name and the record's number."""
    chosen = identifier(first_of(record, EPISODE_ID_KEYS, options.fields.get("episode_id")))
    return chosen or where.episode_id


def leftover(record: Mapping[str, Any], used: Sequence[str]) -> dict[str, Any]:
    """The record's other facts, kept in the episode's metadata."""
    return {str(key): value for key, value in record.items() if key not in used}


def episode_of(
    turns: Sequence[Turn],
    record: Mapping[str, Any],
    where: Where,
    options: Options,
    *,
    used: Sequence[str],
    message_format: str,
) -> Episode:
    """Assemble the episode of a conversation; the outcome is read from ``record``."""
    turns = drop_prefix(turns, options.prefix)
    waiting: list[Turn] = []
    steps: list[Step] = []
    for turn in turns:
        if turn.role == "assistant" and not turn.context:
            steps.append(step_of(turn, waiting))
            waiting = []
        else:
            waiting.append(turn)
    if not steps:
        raise FieldError("messages", "there is no assistant message")
    told = [turn for turn in turns if turn.text.strip() and not turn.context]
    asked = next((t.text for t in told if t.role == "user"), "")
    asked = asked or next((t.text for t in told if t.role == "system"), "")
    task_id, task = name_task(record, unmarked(asked), options)
    metadata: dict[str, Any] = {"format": message_format}
    rest = leftover(record, used)
    if rest:
        metadata["record"] = rest
    if waiting:
        metadata["messages_after"] = [turn.raw for turn in waiting]
    return with_outcome(
        Episode(
            episode_id=name_episode(record, where, options),
            task_id=task_id,
            task=task,
            steps=tuple(steps),
            final_observation=observe(waiting),
            metadata=metadata,
        ),
        outcome_of(record),
    )


def usage_of(value: Any) -> dict[str, Any]:
    """Tokens and cost of a turn under our names, from the spellings of the providers."""
    if not isinstance(value, Mapping):
        return {}
    out: dict[str, Any] = {}
    for ours, names in USAGE.items():
        found = next((n for name in names if (n := number(value.get(name))) is not None), None)
        if found is not None:
            out[ours] = found if ours == "cost_usd" else int(found)
    return out


USAGE = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "cached_tokens": ("cached_tokens", "cache_read_input_tokens"),
    "cost_usd": ("cost_usd", "cost"),
}
