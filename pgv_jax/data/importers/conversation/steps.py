"""From turns to an episode: every format of messages comes down to ``Turn``s and this.

A step is one turn of the agent. Its observation is what arrived since the turn before; its action
is the words or the tool calls in canonical text; its thought is the reasoning if there is any,
else the words, else the calls in words (``metadata["thought_from"]`` says which).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pgv_jax.data.importers import identity
from pgv_jax.data.importers.base import Options, Where
from pgv_jax.data.importers.conversation.pieces import Call
from pgv_jax.data.importers.conversation.reasoning import speaks_in_fences, split_thought
from pgv_jax.data.importers.conversation.turns import Turn, without_prefix
from pgv_jax.data.importers.outcomes.outcome import END_KEYS, outcome_of, was_cut, with_outcome
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.texts.calls import call_text, call_words
from pgv_jax.types import Candidate, Episode, Step

MARKERS = re.compile(r"[ \t]*###\s*STOP\s*###[ \t]*")
"""End marks of user simulators: no part of what the agent was told."""


def decided(turn: Turn, fenced: bool = False) -> tuple[str, str, str, str]:
    """Return (thought, where it is from, action, the words beside) of a turn of the agent."""
    told, rest = split_thought(turn.text, fenced)
    reasoning = "\n".join(text for text in (turn.reasoning, told) if text)
    action = "\n".join(call_text(call.name, call.arguments) for call in turn.calls) or rest
    if reasoning:
        return reasoning, "reasoning", action, rest
    if rest.strip():
        return rest, "words", action, ""
    said = " ".join(call_words(call.name, call.arguments) for call in turn.calls)
    return said, "calls", action, ""


def step_of(turn: Turn, waiting: Sequence[Turn], asked: Sequence[Call], fenced: bool) -> Step:
    """One turn of the agent and what arrived before it, as a Step."""
    thought, origin, action, words = decided(turn, fenced)
    metadata: dict[str, Any] = {"thought_from": origin}
    if turn.calls and words.strip():
        metadata["words"] = words
    metadata.update(turn.usage)
    metadata["messages"] = [raw for t in (*waiting, turn) for raw in t.raws]
    return Step(
        observe(waiting, asked),
        thought,
        action,
        reward=turn.reward,
        candidates=turn.candidates,
        metadata=metadata,
    )


def candidate_of(turn: Turn) -> Candidate:
    """An answer that was not taken."""
    thought, _, action, _ = decided(turn)
    return Candidate(thought, action)


def unmarked(text: str) -> str:
    """A text without the end marks of user simulators."""
    return (MARKERS.sub("", text) if "###" in text else text).strip()


def observe(waiting: Sequence[Turn], asked: Sequence[Call] = ()) -> str:
    """What arrived since the agent's last turn; the system's words only if there is no other.

    Results stand in the order of the calls that they answer, before what users said meanwhile.
    """
    heard = [t for t in waiting if t.role != "system" and not t.context] or list(waiting)
    if asked:
        place = {call.id: i for i, call in enumerate(asked) if call.id}
        results = [result for turn in heard for result in turn.results]
        results.sort(key=lambda result: place.get(result.call_id, len(place)))
        texts = [*(result.text for result in results), *(turn.text for turn in heard)]
    else:
        texts = [text for t in heard for text in (*(r.text for r in t.results), t.text)]
    return "\n\n".join(text for raw in texts if (text := unmarked(raw)))


def asked_for(turns: Sequence[Turn]) -> str:
    """The task in the conversation itself: the user's first words, else the system's."""
    told = [turn for turn in turns if not turn.context]
    for role in ("user", "system"):
        for turn in told:
            if turn.role == role and turn.text.strip():
                return unmarked(turn.text)
    return next((r.text.strip() for t in told for r in t.results if r.text.strip()), "")


class Played(NamedTuple):
    """The steps of a conversation, and what arrived after the agent's last turn."""

    steps: tuple[Step, ...]
    waiting: tuple[Turn, ...]
    last: Turn | None

    @property
    def observation(self) -> str:
        """What the agent sees now."""
        return observe(self.waiting, self.last.calls if self.last else ())


def played(turns: Sequence[Turn], fenced: bool) -> Played:
    """Cut a conversation into steps; ``fenced`` is what ``in_fences`` says of its agent."""
    waiting: list[Turn] = []
    steps: list[Step] = []
    last: Turn | None = None
    for turn in turns:
        if turn.role == "assistant" and not turn.context:
            steps.append(step_of(turn, waiting, last.calls if last else (), fenced))
            waiting, last = [], turn
        else:
            waiting.append(turn)
    return Played(tuple(steps), tuple(waiting), last)


def in_fences(turns: Sequence[Turn]) -> bool:
    """Whether the agent writes its actions as fenced blocks (``speaks_in_fences``)."""
    return speaks_in_fences([t.text for t in turns if t.role == "assistant" and not t.calls])


def episode_of(
    turns: Sequence[Turn],
    record: Mapping[str, Any],
    where: Where,
    options: Options,
    *,
    message_format: str,
    kept: Mapping[str, Any] | None = None,
) -> Episode:
    """Assemble the episode of a conversation; ids and the outcome are read from ``record``.

    ``kept`` is what the metadata keep of the record, by default all of it.
    """
    turns = without_prefix(turns, options.prefix)
    story = played(turns, in_fences(turns))
    if story.last is None:
        raise FieldError("messages", "there is no assistant message")
    task_id, task = identity.name_task(record, asked_for(turns), options)
    metadata: dict[str, Any] = {"format": message_format}
    rest = record if kept is None else kept
    if rest:
        metadata["record"] = dict(rest)
    after = [raw for turn in story.waiting for raw in turn.raws]
    if after:
        metadata["messages_after"] = after
    outcome = outcome_of(record)
    episode = Episode(
        episode_id=identity.name_episode(record, where, options),
        task_id=task_id,
        task=task,
        steps=story.steps,
        final_observation=story.observation,
        metadata=metadata,
    )
    return with_outcome(episode, replace(outcome, cut=outcome.cut or _cut_short(story.last)))


def _cut_short(turn: Turn) -> bool:
    """True where the last message says that its words were cut off (``stop_reason``)."""
    raw = turn.raws[-1] if turn.raws else None
    return isinstance(raw, Mapping) and was_cut({key: raw.get(key) for key in END_KEYS})
