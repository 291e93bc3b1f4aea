"""One request under way: its candidates, the critic's say, the answer, the record for the log."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from pgv_jax.serve.apis.candidates import Api, Candidate, composed, with_words
from pgv_jax.serve.apis.json_text import parsed_object
from pgv_jax.serve.apis.streaming import events
from pgv_jax.serve.choosing import Ruling, rule
from pgv_jax.serve.options import Ask
from pgv_jax.serve.refusals import refusal
from pgv_jax.serve.upstream import Reply, interrupted

if TYPE_CHECKING:
    from pgv_jax.serve.proxy import Proxy

log = logging.getLogger(__name__)
REFINE = """\
A critic that learned from earlier attempts looked at this plan for your next step.

Plan: {thought}
{critique}

Answer the conversation above anew: keep the plan if it is good, else choose a better one. Do not \
mention the critic."""


class Work:
    """One request under way; ``guide`` stays the one that it began with."""

    def __init__(self, proxy: Proxy, api: Api, request: Request, body: dict[str, Any], ask: Ask):
        self.api, self.request, self.body, self.ask = api, request, body, ask
        self._proxy, self._guide = proxy, proxy.guide
        self.told, self._known = proxy.conversation({k: v for k, v in body.items() if k != "pgv"})
        self.id = f"pgv_{uuid.uuid4().hex}"

    async def steered(self, raw: str, count: int) -> Response:
        """The answer with the ``count`` best of the candidates."""
        proposals = await self._proxy.propose(self, raw, max(count, self.ask.candidates))
        if not proposals.candidates:
            assert proposals.failed is not None
            return passed_on(proposals.failed, self.headers(None, 0))
        candidates = proposals.candidates
        ruling = await self.ruled([c.value for c in candidates])
        if self.ask.strategy == "refine" and not ruling.fallback:
            candidates, ruling = await self._refined(raw, candidates, ruling)
        order = ruling.order[:count]
        picked = [candidates[i] for i in order]
        self._proxy.record(self, [c.value for c in candidates], ruling)
        self._proxy.remember(self, picked[0].response)
        text = composed(picked, candidates, self.about(ruling) if self.ask.details else None)
        headers = {**picked[0].reply.headers, **self.headers(ruling, len(candidates))}
        if self.body.get("stream") is True:
            headers["content-type"] = "text/event-stream; charset=utf-8"
            _, answer = parsed_object(text)
            # All is known, so the events go out at once.
            return Response(b"".join(events(self.api.name, self.body, answer)), 200, headers)
        return Response(text.encode("utf-8", "surrogatepass"), picked[0].reply.status, headers)

    async def ruled(self, values: Sequence[Any]) -> Ruling:
        """The critic's say on candidates."""
        if not self._known:
            return Ruling(tuple(range(len(values))), None, "unknown_conversation", 0.0)
        return await rule(self._guide, self.told, values, self.ask)

    async def _refined(
        self, raw: str, candidates: tuple[Candidate, ...], ruling: Ruling
    ) -> tuple[tuple[Candidate, ...], Ruling]:
        """The candidates and one that has seen what the critic says of the best."""
        best = candidates[ruling.order[0]]
        try:
            async with asyncio.timeout(self.ask.deadline):
                critique = await self._guide.acritique(self.told, best.value, self.ask.goals)
                told = self._guide.fields(self.told, [best.value], task=self.ask.task)
            words = REFINE.format(thought=told.thoughts[0], critique=critique)
            anew = with_words(self.api, raw, self.body, words)
            more = await self._proxy.propose(self, anew, 1)
            every = (*candidates, *more.candidates)
            if len(every) == len(candidates):
                return candidates, replace(ruling, fallback="refine_failed")
            again = await self.ruled([c.value for c in every])
        except Exception as error:  # the best of the first round stands, whatever broke
            log.exception("A refinement failed, and the best candidate is passed on: %s", error)
            return candidates, replace(ruling, fallback="refine_failed")
        return (candidates, ruling) if again.fallback else (every, again)

    def headers(self, ruling: Ruling | None, candidates: int) -> dict[str, str]:
        """What is said of the decision beside the answer."""
        out = {
            "x-pgv-request-id": self.id,
            "x-pgv-strategy": self.ask.strategy,
            "x-pgv-candidates": str(candidates),
        }
        if ruling is not None:
            out["x-pgv-choice"] = str(ruling.order[0])
            if ruling.value is not None:
                out["x-pgv-value"] = f"{ruling.value:.4f}"
            if ruling.fallback:
                out["x-pgv-fallback"] = ruling.fallback
        return out

    def about(self, ruling: Ruling) -> dict[str, Any]:
        """The ``pgv`` object of an answer."""
        said = {} if ruling.choice is None else ruling.choice.to_json()
        said.pop("index", None)
        return {
            "request_id": self.id,
            "strategy": self.ask.strategy,
            "order": list(ruling.order),
            "fallback": ruling.fallback or None,
            **said,
        }

    def decision(self, values: Sequence[Any], ruling: Ruling) -> dict[str, Any]:
        """The record of the log; see ``data.importers.formats.chats.served``."""
        named = {"session_id": self.ask.session, "task": self.ask.task}
        about = self.about(ruling)
        return {
            "pgv_decision": 1,
            "request_id": about.pop("request_id"),
            **{key: value for key, value in named.items() if value is not None},
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "api": self.api.name,
            "request": self.told,
            "candidates": list(values),
            "chosen": ruling.order[0],
            **about,
            "seconds": round(ruling.seconds, 6),
            "critic": self._guide.critic.name,
        }


def broken(api: Api, error: Exception) -> bytes:
    """The event that says that a stream broke off."""
    body = refusal(api.form, interrupted(error)).body
    mark = b"event: error\n" if api.name != "chat" else b""
    return mark + b"data: " + bytes(body) + b"\n\n"


def passed_on(reply: Reply, headers: Mapping[str, str]) -> Response:
    """An upstream's answer as it came, errors too."""
    return Response(reply.body, reply.status, {**reply.headers, **headers})
