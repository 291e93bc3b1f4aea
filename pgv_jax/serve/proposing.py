"""Several candidates from an upstream: by one call with ``n``, or by several calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from pgv_jax.serve.apis.candidates import Api, Candidate, for_candidates
from pgv_jax.serve.refusals import RefusalError
from pgv_jax.serve.upstream import Reply, Upstream

REFUSES_N = (400, 404, 405, 422, 501)
"""What an upstream may say that knows no ``n``."""


@dataclass(frozen=True)
class Proposals:
    """What came: the candidates, or the reply that says why there is none."""

    candidates: tuple[Candidate, ...]
    wanted: int
    failed: Reply | None = None


class Proposer:
    """Asks for candidates and remembers whether the upstream knows ``n``."""

    def __init__(self, upstream: Upstream):
        self._upstream = upstream
        self.knows_n = True

    async def propose(
        self,
        api: Api,
        request: Request,
        raw: str,
        body: Mapping[str, Any],
        count: int,
        patience: float,
    ) -> Proposals:
        """``count`` candidates, or as many as came in time.

        Where no call gives one, ``failed`` is what the upstream said first; RefusalError where it
        said nothing at all.
        """
        found: list[Candidate] = []
        refused = False
        if api.several and count > 1 and self.knows_n:
            reply = await self._upstream.ask(request, _bytes(api, raw, body, count))
            found, unread = _read(api, [reply])
            if not found:
                if reply.status not in REFUSES_N:
                    return Proposals((), count, unread)
                self.knows_n, refused = False, True
            elif len(found) < count:
                self.knows_n = False
        if len(found) >= count:
            return Proposals(tuple(found), count)
        one = _bytes(api, raw, body, 1)
        if refused:
            # The plain call tells a refusal of n from a refusal of the request.
            reply = await self._upstream.ask(request, one)
            found, unread = _read(api, [reply])
            if not found:
                self.knows_n = True
                return Proposals((), count, unread)
        more, failed = await self._at_once(api, request, one, count - len(found), patience, found)
        return Proposals((*found, *more), count, failed)

    async def _at_once(
        self,
        api: Api,
        request: Request,
        body: bytes,
        count: int,
        patience: float,
        before: Sequence[Candidate],
    ) -> tuple[list[Candidate], Reply | None]:
        """Candidates by ``count`` calls; once one is there, the others have ``patience`` s."""
        tasks = [asyncio.create_task(self._upstream.ask(request, body)) for _ in range(count)]
        try:
            pending, here = set(tasks), bool(before)
            while pending and not here:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                here = any(not task.exception() and task.result().ok for task in done)
            if pending:
                await asyncio.wait(pending, timeout=patience)
        finally:
            for task in tasks:
                task.cancel()
        ended = [task for task in tasks if task.done() and not task.cancelled()]
        replies = [task.result() for task in ended if not task.exception()]
        found, unread = _read(api, replies)
        if not found and not before and unread is None:
            errors = [task.exception() for task in ended]
            refusals = [error for error in errors if isinstance(error, RefusalError)]
            raise refusals[0] if refusals else RefusalError(502, "The upstream gave no answer.")
        return found, None if found or before else unread


def _bytes(api: Api, raw: str, body: Mapping[str, Any], count: int) -> bytes:
    return for_candidates(api, raw, body, count).encode("utf-8", "surrogatepass")


def _read(api: Api, replies: Sequence[Reply]) -> tuple[list[Candidate], Reply | None]:
    """The candidates of replies, and the first reply that holds none."""
    found: list[Candidate] = []
    unread: Reply | None = None
    for reply in replies:
        with suppress(ValueError, StopIteration, RecursionError):
            found += api.candidates(reply) if reply.ok else []
        if unread is None and not (found and found[-1].reply is reply):
            unread = reply
    return found, unread
