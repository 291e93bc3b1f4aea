"""A conversation that is still going on, in the fields that its log will have once imported.

The learner reads imported logs, so a critic must be asked in the same words. What a log's importer
does with a message, ``so_far`` does with it, by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.fields import answers_of, logged
from pgv_jax.data.importers.conversation.messages import turns_of
from pgv_jax.data.importers.conversation.steps import asked_for, decided, in_fences, played
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.identity import hashed_task
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.types import Candidate, Episode

Conversation = Sequence[Any] | Mapping[str, Any]
"""Messages (or items) of any dialect, or the body of a request that holds them."""


@dataclass(frozen=True)
class Asked:
    """An episode so far, whose ``final_observation`` is seen now, and the candidates for a step."""

    episode: Episode
    candidates: tuple[Candidate, ...]


def messages_in(conversation: Conversation) -> Sequence[Any]:
    """The messages of a request's body, the system's words first; a list stays as it is."""
    if not isinstance(conversation, Mapping):
        return conversation
    found = logged({"request": conversation}, Options())
    if found is None:
        raise FieldError("messages", "no conversation was found in the request")
    return found.messages


def answer_in(candidate: Any) -> Sequence[Any]:
    """The messages of one answer: a text, a message, a choice, a response or its output items."""
    if isinstance(candidate, str):
        return [{"role": "assistant", "content": candidate}]
    found = answers_of(candidate)
    if not found:
        raise FieldError("candidates", f"no answer of a model was found in {candidate!r:.80}")
    return found[0]


def so_far(
    conversation: Conversation,
    candidates: Sequence[Any] = (),
    *,
    task: str | None = None,
    fenced: bool | None = None,
    tally: Tally | None = None,
) -> Asked:
    """Put a conversation and the candidates for its next turn into a log's fields.

    ``task`` replaces the conversation's own. ``fenced`` says whether the agent writes its actions
    as fenced blocks; None looks at what it said so far and at the candidates, which tells less
    than the whole log that an importer looks at. Raises FieldError for what is no message.
    """
    tally = tally or Tally()
    turns = turns_of(messages_in(conversation), "messages", tally)
    answers = [_first(answer_in(c), f"candidates[{i}]", tally) for i, c in enumerate(candidates)]
    if fenced is None:
        fenced = in_fences([*turns, *answers])
    story = played(turns, fenced)
    task = asked_for(turns) if task is None else task
    episode = Episode("now", hashed_task(task), task, story.steps, story.observation)
    asked = []
    for answer in answers:
        thought, _, action, _ = decided(answer, fenced)
        asked.append(Candidate(thought, action))
    return Asked(episode, tuple(asked))


def candidate_in(answer: Any, tally: Tally | None = None) -> Candidate:
    """One answer of a model as a candidate, in the words that its log will have.

    Raises FieldError for what is no message of a model.
    """
    thought, _, action, _ = decided(_first(answer_in(answer), "answer", tally or Tally()), False)
    return Candidate(thought, action)


def _first(answer: Sequence[Any], where: str, tally: Tally) -> Turn:
    """The first turn of an answer: behind it stands what a provider's own tool brought."""
    found = next((t for t in turns_of(answer, where, tally) if t.role == "assistant"), None)
    if found is None:
        raise FieldError(where, "the answer is no message of the agent")
    return found
