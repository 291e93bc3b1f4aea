"""The three APIs that are served: where an answer has its candidates, how one is put together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgv_jax.serve.apis.json_text import DROP, Member, Raw, edited, elements, members
from pgv_jax.serve.upstream import Reply


@dataclass(frozen=True)
class Api:
    """How one API names things.

    ``form`` is that of its errors; ``several``: one call can be asked for ``n`` answers.
    ``conversation`` is the key of the body that holds it.
    """

    name: str
    path: str
    form: str
    several: bool
    conversation: str

    def candidates(self, reply: Reply) -> list[Candidate]:
        """The candidates in a whole answer; ValueError where it is not of this API."""
        text = reply.body.decode("utf-8")
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("no object")
        if self.name != "chat":
            if not isinstance(value.get("output" if self.name == "responses" else "content"), list):
                raise ValueError("no answer")
            return [Candidate(reply, text, value, value)]
        choices = value.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ValueError("no choices")
        if not all(isinstance(choice, dict) for choice in choices):
            raise ValueError("a choice that is none")
        found = members(text)
        place = next(m for m in found if m.key == "choices")
        spots = elements(text, place.value_start)
        return [
            Candidate(reply, text, value, choice, text[start:end], found)
            for choice, (start, end) in zip(choices, spots, strict=True)
        ]


@dataclass(frozen=True)
class Candidate:
    """One candidate: the answer it stands in, as text and parsed, and its own choice there.

    ``value`` is what a guide reads: the choice, or the whole response where there is but one.
    ``places`` are the members of the text where they were looked for.
    """

    reply: Reply
    text: str
    response: Mapping[str, Any]
    value: Any
    choice: str | None = None
    places: Sequence[Member] | None = None


CHAT = Api("chat", "/v1/chat/completions", "openai", True, "messages")
RESPONSES = Api("responses", "/v1/responses", "openai", False, "input")
MESSAGES = Api("messages", "/v1/messages", "anthropic", False, "messages")
APIS = (CHAT, RESPONSES, MESSAGES)


def composed(
    picked: Sequence[Candidate], every: Sequence[Candidate], about: Mapping[str, Any] | None = None
) -> str:
    """The answer with the picked candidates, in the first one's response, as the upstream sent it.

    ``usage`` is summed over the responses of ``every`` candidate; ``about`` is added as ``pgv``.
    """
    best = picked[0]
    changes: dict[str, Any] = {}
    if best.choice is not None and (len(picked) > 1 or len(best.response["choices"]) > 1):
        choices = [
            edited(str(c.choice), {"index": i}) if c.value.get("index") != i else str(c.choice)
            for i, c in enumerate(picked)
        ]
        changes["choices"] = Raw("[" + ",".join(choices) + "]")
    replies = {id(c.reply): c.response for c in every}
    if len(replies) > 1:
        total = summed([response.get("usage") for response in replies.values()])
        if total is not None:
            changes["usage"] = total
    if about is not None:
        changes["pgv"] = dict(about)
    return edited(best.text, changes, best.places) if changes else best.text


def summed(usages: Sequence[Any]) -> Any:
    """Several ``usage`` objects as one: numbers are added, other facts are the first one's."""
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    if all(isinstance(usage, Mapping) for usage in known):
        keys = dict.fromkeys(key for usage in known for key in usage)
        return {key: summed([usage.get(key) for usage in known]) for key in keys}
    if all(isinstance(u, int | float) and not isinstance(u, bool) for u in known):
        return sum(known)
    return known[0]


def plain(raw: str, body: Mapping[str, Any]) -> str:
    """A client's body without our own key."""
    return edited(raw, {"pgv": DROP}) if "pgv" in body else raw


def for_candidates(api: Api, raw: str, body: Mapping[str, Any], count: int) -> str:
    """A body that asks for ``count`` whole answers in one call (``count`` 1: no ``n``)."""
    changes: dict[str, Any] = {}
    for key in ("pgv", "stream", "stream_options"):
        if key in body:
            changes[key] = DROP
    if api.several and (count > 1 or "n" in body):
        changes["n"] = count if count > 1 else DROP
    return edited(raw, changes) if changes else raw


def with_words(api: Api, raw: str, body: Mapping[str, Any], words: str) -> str:
    """A body whose conversation ends with ``words`` of a user."""
    said = body[api.conversation]
    turn = {"role": "user", "content": words}
    if isinstance(said, str):
        return edited(raw, {api.conversation: [{"role": "user", "content": said}, turn]})
    return edited(raw, {api.conversation: [*said, turn]})
