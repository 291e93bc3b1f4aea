"""Per-call logs: one record an API call, each with the whole conversation so far.

Of those, the longest is the episode, and its id is the conversation's, else its first call's. A
call is *folded* into a conversation when its steps are the beginning of that one's: within one
conversation id where the log has ids, else by the words alone. What only the call's own record knew
(reasoning that the next request left out, other answers, its tokens) goes to the step that it is.
Calls whose request left out the beginning are joined to what they go on from (``windows``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pgv_jax.data.importers.windows import Windows, chains
from pgv_jax.types import Candidate, Episode, Step

CONVERSATION_KEYS: tuple[str, ...] = ("session_id", "sessionId", "conversation_id")
CONVERSATION_KEYS += ("conversationId", "thread_id", "trace_id", "chat_id", "litellm_session_id")
PLACES = ("metadata", "request", "litellm_metadata", "body", "kwargs")
OF_LITELLM = {"response_cost", "hidden_params", "model_map_information"}
"""What stands beside ``call_type`` in a payload of LiteLLM's logger."""
USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd")

Place = tuple[int, int]
"""(number of the source, number of what it yielded)."""


def conversation_id(episode: Episode) -> str:
    """The id of the conversation that a record names, or ""."""
    record = episode.metadata.get("record")
    if not isinstance(record, Mapping):
        return ""
    places = [record, *(record[key] for key in PLACES if isinstance(record.get(key), Mapping))]
    for place in places:
        for key in CONVERSATION_KEYS:
            if key == "trace_id" and "call_type" in place and OF_LITELLM & set(place):
                continue  # there each call has one of its own
            if isinstance(place.get(key), str | int) and place[key] not in ("", None):
                return str(place[key])
    return ""


class Mark(NamedTuple):
    """A step within its conversation: what was asked before it, and that with its action."""

    asked: bytes
    done: bytes


def _digest(*parts: bytes | str) -> bytes:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def marks(episode: Episode) -> Iterator[Mark]:
    """Yield the mark of every step; equal marks mean equal steps up to there."""
    done = _digest("conversation", conversation_id(episode))
    for step in episode.steps:
        asked = _digest(done, step.observation)
        done = _digest(asked, step.action)
        yield Mark(asked, done)


class Answer(NamedTuple):
    """What a call's own record knew of its step."""

    step: Step
    others: tuple[Candidate, ...]


@dataclass
class _Call:
    place: Place
    ends: tuple[bytes, ...]
    """The marks that a longer conversation has where this one is its beginning."""
    asked: bytes
    follows: bytes
    """What comes next there, if this one says so; else empty."""
    conversation: str
    """Its id, or ""."""
    outcome: tuple[bool | None, float | None]
    steps: int
    name: str


@dataclass
class Calls:
    """Finds the calls of a log that a longer conversation continues."""

    _calls: list[_Call] = field(default_factory=list)
    _longer: dict[bytes, int] = field(default_factory=dict)
    _asked: set[bytes] = field(default_factory=set)
    _answers: dict[bytes, Answer] = field(default_factory=dict)
    _all: list[tuple[bytes, ...]] = field(default_factory=list)
    _windows: Windows = field(default_factory=Windows)

    def add(self, place: Place, episode: Episode) -> None:
        """Take note of an episode."""
        found = list(marks(episode))
        number = len(self._calls)
        for mark in found[:-1]:
            self._longer.setdefault(mark.done, number)
        self._asked.update(mark.asked for mark in found)
        last, step = found[-1], episode.steps[-1]
        ends = [last.done, *(_digest(last.asked, c.action) for c in step.candidates)]
        reward = episode.metadata.get("reward")
        self._calls.append(
            _Call(
                place,
                tuple(ends),
                last.asked,
                _digest(last.done, episode.final_observation) if episode.final_observation else b"",
                conversation_id(episode),
                (episode.success, reward if isinstance(reward, float) else None),
                len(found),
                episode.episode_id,
            )
        )
        self._windows.add(episode, self._calls[-1].conversation, self._calls[-1].outcome)
        self._all.append(tuple(mark.done for mark in found[:-1]))
        told = step.metadata.get("thought_from") == "reasoning" or step.candidates
        if told or any(key in step.metadata for key in USAGE):
            taken = Candidate(step.thought, step.action)
            kept = {key: step.metadata[key] for key in _kept(step)}
            bare = replace(step, observation="", candidates=(), metadata=kept)
            self._answers[last.asked] = Answer(bare, (taken, *step.candidates))

    def folded(self, named: bool = False) -> Folded:
        """Return which calls are part of a longer conversation, and what they add to it.

        ``named`` says that the user chose what an episode's id is: then no conversation's is taken.
        """
        ends = {end for call in self._calls for end in call.ends}
        into: dict[int, int] = {}
        answers = {}
        for number, call in enumerate(self._calls):
            longer = next(
                (n for end in call.ends if (n := self._longer.get(end)) is not None), None
            )
            if longer is None or (call.follows and call.follows not in self._asked):
                continue
            differs = call.outcome != (None, None) and call.outcome != self._calls[longer].outcome
            every = all(mark in ends for mark in self._all[longer])
            if differs and not call.conversation and not every:
                continue  # two attempts that begin alike, each with an end of its own
            into[number] = longer
            if call.asked in self._answers:
                answers[call.asked] = self._answers[call.asked]
        whole = [number for number in range(len(self._calls)) if number not in into]
        links, doubtful = self._windows.links(whole)
        wholes: dict[int, list[_Call]] = {}
        for number, call in enumerate(self._calls):
            while number in into:
                number = into[number]
            wholes.setdefault(number, []).append(call)
        for calls in wholes.values():
            calls.sort(key=lambda call: call.steps)
        parts: dict[Place, tuple[Place, ...]] = {}
        for first, others in chains(links).items():
            wholes[first] += [call for number in others for call in wholes.pop(number)]
            parts[self._calls[first].place] = tuple(self._calls[n].place for n in others)
        outcomes = {}
        for number, calls in wholes.items():
            known = [call for call in calls if call.outcome != (None, None)]
            if known and known[-1] is not self._calls[number]:
                outcomes[self._calls[number].place] = known[-1].outcome
        places = {self._calls[number].place for number in into}
        names = {} if named else self._names(wholes)
        shared = {self._calls[number].place: link.shared for number, link in links.items()}
        return Folded(places, answers, outcomes, names, parts, shared, doubtful)

    def _names(self, wholes: Mapping[int, list[_Call]]) -> dict[Place, str]:
        """The ids of conversations, in the sources whose own ids are those of calls."""
        places = {number: self._calls[number].place for number in wholes}
        of_calls = {
            places[number][0]
            for number, calls in wholes.items()
            if len({call.name for call in calls}) > 1
        }
        return {
            places[number]: self._calls[number].conversation or calls[0].name
            for number, calls in wholes.items()
            if places[number][0] in of_calls
        }


def _kept(step: Step) -> list[str]:
    return [key for key in ("thought_from", *USAGE) if key in step.metadata]


@dataclass
class Folded:
    """The calls that are part of a longer conversation, and what they know of its steps."""

    places: set[Place] = field(default_factory=set)
    answers: dict[bytes, Answer] = field(default_factory=dict)
    outcomes: dict[Place, tuple[bool | None, float | None]] = field(default_factory=dict)
    names: dict[Place, str] = field(default_factory=dict)
    """Ids of episodes whose own is a call's."""
    parts: dict[Place, tuple[Place, ...]] = field(default_factory=dict)
    """First record of a conversation that none holds whole -> the others, in order."""
    shared: dict[Place, int] = field(default_factory=dict)
    """Each of those others -> the number of its first steps that the one before it holds."""
    doubtful: int = 0
    """Records that may go on from another one, by a single step."""
    _rests: dict[Place, Episode] = field(default_factory=dict)

    def keep(self, place: Place, episode: Episode) -> None:
        """Keep what a record of ``shared`` adds, until its conversation is asked for."""
        steps = self._with_answers(episode).steps[self.shared[place] :]
        self._rests[place] = replace(episode, steps=steps, metadata={})

    def whole(self, place: Place, episode: Episode) -> Episode:
        """Return a conversation with what its calls' own records knew of it."""
        episode = self._with_answers(episode)
        for later in self.parts.get(place, ()):
            rest = self._rests[later]
            steps = (*episode.steps, *rest.steps)
            episode = replace(episode, steps=steps, final_observation=rest.final_observation)
        return episode

    def _with_answers(self, episode: Episode) -> Episode:
        if not self.answers:
            return episode
        steps = [
            _completed(step, self.answers[mark.asked]) if mark.asked in self.answers else step
            for step, mark in zip(episode.steps, marks(episode), strict=True)
        ]
        return replace(episode, steps=tuple(steps))


def _completed(step: Step, answer: Answer) -> Step:
    if all(other.action != step.action for other in answer.others):
        return step  # another conversation that was asked the same
    metadata: dict[str, Any] = {**answer.step.metadata, **step.metadata}
    thought = step.thought
    same = answer.step.action == step.action
    if same and answer.step.metadata.get("thought_from") == "reasoning":
        thought, metadata["thought_from"] = answer.step.thought, "reasoning"
    others = tuple(c for c in answer.others if c.action != step.action)
    return replace(step, thought=thought, candidates=step.candidates or others, metadata=metadata)
