"""The proxy: requests passed on as they are, and what all requests share; ``work`` decides one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pgv_jax.guide.guide import Guide
from pgv_jax.serve.apis.bodies import read_json
from pgv_jax.serve.apis.candidates import Api, plain
from pgv_jax.serve.apis.gathering import Gathering
from pgv_jax.serve.choosing import Ruling
from pgv_jax.serve.decisions import DecisionLog
from pgv_jax.serve.options import Settings
from pgv_jax.serve.prometheus import Metrics
from pgv_jax.serve.proposing import Proposals, Proposer
from pgv_jax.serve.upstream import Reply, Stream, Upstream
from pgv_jax.serve.work import Work, broken, passed_on

log = logging.getLogger(__name__)
REMEMBERED = 512
"""Responses of the Responses API whose conversations are kept in memory."""


class Proxy:
    """Answers the three APIs; ``guide`` may be exchanged between two requests."""

    def __init__(
        self,
        settings: Settings,
        guide: Guide,
        upstream: Upstream,
        metrics: Metrics,
        decisions: DecisionLog | None,
    ):
        self.settings, self.guide, self.upstream = settings, guide, upstream
        self._metrics, self._decisions = metrics, decisions
        self._proposer = Proposer(upstream)
        self._later: set[asyncio.Task[None]] = set()
        self._replied: OrderedDict[str, list[Any]] = OrderedDict()

    async def answer(self, api: Api, request: Request) -> Response:
        """Answer a request of one API; RefusalError where it or the upstream fails."""
        raw, body = await read_json(request, self.settings.max_body)
        ask = self.settings.ask.with_own(body.get("pgv"))
        if ask.session is None and (session := request.headers.get("x-pgv-session")):
            ask = replace(ask, session=session)
        own = body.get("n") if api.several else 1
        count = own if isinstance(own, int) and not isinstance(own, bool) and own > 1 else 1
        if ask.strategy == "off":
            return await self._pass(Work(self, api, request, body, ask), plain(raw, body), False)
        work = Work(self, api, request, body, ask)
        if ask.strategy == "shadow" or (
            max(count, ask.candidates) == 1 and ask.strategy != "refine"
        ):
            return await self._pass(work, plain(raw, body), True)
        return await work.steered(raw, count)

    async def _pass(self, work: Work, text: str, valued: bool) -> Response:
        """Pass a request through as it is; where ``valued``, look at the answer behind it."""
        body = text.encode("utf-8", "surrogatepass")
        if work.body.get("stream") is True:
            stack = AsyncExitStack()
            stream = await stack.enter_async_context(self.upstream.open(work.request, body))
            blocks = self._watched(work, stream, stack, valued)
            headers = {**stream.headers, **work.headers(None, 1)}
            # Also where the client is gone before the first block.
            close = BackgroundTask(stack.aclose)
            return StreamingResponse(blocks, stream.status, headers, background=close)
        reply = await self.upstream.ask(work.request, body)
        response = passed_on(reply, work.headers(None, 1))
        if valued and reply.ok:
            response.background = BackgroundTask(self._shadow, work, reply)
        return response

    async def _watched(
        self, work: Work, stream: Stream, stack: AsyncExitStack, valued: bool
    ) -> AsyncIterator[bytes]:
        gathering = Gathering(work.api.name)
        try:
            async for block in stream.blocks:
                if valued:
                    gathering.feed(block)
                yield block
            gathering.ended = True
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The status is out already; an end without a word would pass for a whole answer.
            valued = False
            yield broken(work.api, error)
        finally:  # also where the client hangs up at the last event
            answer = gathering.answer if valued and gathering.ended else None
            if answer is not None:
                values = answer.get("choices", []) if work.api.several else [answer]
                self.later(self._value_later(work, values, answer))

    async def _shadow(self, work: Work, reply: Reply) -> None:
        try:
            candidates = work.api.candidates(reply)
        except (ValueError, StopIteration, RecursionError):
            return
        values = [candidate.value for candidate in candidates]
        await self._value_later(work, values, candidates[0].response)

    async def _value_later(
        self, work: Work, values: Sequence[Any], response: Mapping[str, Any]
    ) -> None:
        if values:
            ruling = await work.ruled(values)
            self.record(work, values, replace(ruling, order=tuple(range(len(values)))))
            self.remember(work, response)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something behind an answer; a stopping server waits for it."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def finish(self) -> None:
        """Wait for what is still to be done behind answers."""
        while self._later:
            await asyncio.gather(*self._later, return_exceptions=True)

    def conversation(self, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """A request's body with what its ``previous_response_id`` stands for; is that known?"""
        before = body.get("previous_response_id")
        if not before or before not in self._replied:
            return body, not before
        own = body.get("input")
        items = [{"role": "user", "content": own}] if isinstance(own, str) else list(own or ())
        return {**body, "input": [*self._replied[before], *items]}, True

    def remember(self, work: Work, response: Mapping[str, Any]) -> None:
        """Keep a response of the Responses API for the requests that name it."""
        if work.api.name != "responses" or not isinstance(response.get("id"), str):
            return
        told = work.told.get("input")
        items = [{"role": "user", "content": told}] if isinstance(told, str) else list(told or ())
        self._replied[response["id"]] = [*items, *response.get("output", ())]
        while len(self._replied) > REMEMBERED:
            self._replied.popitem(last=False)

    def record(self, work: Work, values: Sequence[Any], ruling: Ruling) -> None:
        """Count a decision, and log it where there is a log."""
        metrics = self._metrics
        metrics.candidates.labels(work.api.name).inc(len(values))
        metrics.critic_seconds.observe(ruling.seconds)
        if ruling.fallback:
            metrics.fallbacks.labels(ruling.fallback).inc()
        if ruling.order[0] != 0:
            metrics.steered.inc()
        if ruling.value is not None:
            metrics.values.observe(ruling.value)
        if self._decisions is None:
            return
        try:
            self._decisions.write(work.decision(values, ruling))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            metrics.unlogged.inc()
            log.error("A decision could not be logged: %s", error)

    async def propose(self, work: Work, raw: str, count: int) -> Proposals:
        """Ask the upstream for candidates."""
        started = time.perf_counter()
        proposals = await self._proposer.propose(
            work.api, work.request, raw, work.body, count, work.ask.patience
        )
        self._metrics.upstream_seconds.observe(time.perf_counter() - started)
        self._metrics.missing.labels(work.api.name).inc(
            count - min(count, len(proposals.candidates))
        )
        return proposals
