"""A conversation as turns, whatever it was logged in: who spoke, thought, called and answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pgv_jax.data.importers.base import Prefix
from pgv_jax.data.importers.conversation.pieces import Call, Piece, Reasoning, Result, Text
from pgv_jax.types import Candidate


@dataclass(frozen=True, slots=True)
class Turn:
    """One message, or a piece of one.

    ``raws`` keeps the messages losslessly; ``context`` marks assistant turns of a prompt;
    ``source`` is the id of the message or response that this is a piece of; ``item`` is true for
    the items of a list that spreads one response over several.
    """

    role: str
    text: str = ""
    raws: tuple[Any, ...] = ()
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    reward: float | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    context: bool = False
    source: str = ""
    item: bool = False
    candidates: tuple[Candidate, ...] = ()


def turns_of_pieces(role: str, pieces: Iterable[Piece], first: Turn) -> list[Turn]:
    """Turns from the pieces of one message; ``first`` has its other facts.

    What a provider's own tool answered stands within the agent's message: there the message is
    cut, for the agent saw it before it went on.
    """
    out: list[Turn] = []
    spoken: list[Piece] = []
    answers: list[Result] = []

    def close() -> None:
        if spoken:
            out.append(_turn(role, spoken, Turn(role)))
            spoken.clear()
        if answers:
            out.append(Turn("tool", results=tuple(answers)))
            answers.clear()

    for piece in pieces:
        if isinstance(piece, Result) and role == "assistant":
            answers.append(piece)
            continue
        if answers:
            close()
        spoken.append(piece)
    close()
    if not out:
        return [replace(first, role=role)]
    head = out[0]
    if head.role != role:  # an answer to a call of the message before
        return [replace(head, raws=first.raws), *out[1:]]
    keep = {name: getattr(head, name) for name in ("text", "reasoning", "calls", "results")}
    return [replace(first, role=role, **keep), *out[1:]]


def _turn(role: str, pieces: Sequence[Piece], turn: Turn) -> Turn:
    texts = [piece.text for piece in pieces if isinstance(piece, Text) and piece.text]
    thoughts = [piece.text for piece in pieces if isinstance(piece, Reasoning) and piece.text]
    return replace(
        turn,
        role=role,
        text="\n".join(texts),
        reasoning="\n".join(thoughts),
        calls=tuple(piece for piece in pieces if isinstance(piece, Call)),
        results=tuple(piece for piece in pieces if isinstance(piece, Result)),
    )


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Put the pieces together that one turn of the agent was logged in."""
    out: list[Turn] = []
    for i, turn in enumerate(turns):
        if out and _belong(out[-1], turn, turns[i + 1 :]):
            out[-1] = _together(out[-1], turn)
        else:
            out.append(turn)
    return out


def _belong(before: Turn, turn: Turn, after: Sequence[Turn]) -> bool:
    if not (before.role == turn.role == "assistant") or before.context or turn.context:
        return False
    if before.source and before.source == turn.source:
        return True
    if before.item and turn.item:
        return True
    if not before.calls:
        only_thought = not before.text.strip()
        return only_thought or bool(turn.calls) or not turn.text.strip()
    # A turn is not over while its calls are unanswered: the answers come behind this piece.
    open_calls = {call.id for call in before.calls if call.id}
    answered = {result.call_id for later in after for result in later.results}
    return bool(open_calls & answered)


def _together(one: Turn, other: Turn) -> Turn:
    return replace(
        one,
        text="\n".join(text for text in (one.text, other.text) if text),
        reasoning="\n".join(text for text in (one.reasoning, other.reasoning) if text),
        calls=one.calls + other.calls,
        raws=one.raws + other.raws,
        reward=one.reward if other.reward is None else other.reward,
        usage={**one.usage, **other.usage},
        candidates=one.candidates + other.candidates,
    )


def without_prefix(turns: Sequence[Turn], prefix: Prefix | None) -> list[Turn]:
    """Make the turns of a repeated prompt context: they give no steps; raw messages stay."""
    if prefix is None:
        return list(turns)
    out: list[Turn] = []
    seen = 0  # messages, of which a turn may have none, one or several
    for turn in turns:
        if seen < prefix.messages:
            out.append(replace(turn, text="", results=(), calls=(), context=True))
        elif seen == prefix.messages and turn.text.startswith(prefix.text):
            out.append(replace(turn, text=turn.text[prefix.characters :].strip()))
        else:
            out.append(turn)
        seen += len(turn.raws)
    return out
