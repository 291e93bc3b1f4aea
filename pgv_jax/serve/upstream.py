"""The model's own server: requests go there as the client wrote them, answers come back as sent.

Redirects are never followed, so that a key reaches no other host; cookies are neither kept nor
sent; proxies of the environment are not used.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO

import aiohttp
from starlette.requests import Request

from pgv_jax.serve.refusals import RefusalError

NOT_SENT = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
    *("transfer-encoding", "upgrade", "host", "content-length", "accept-encoding", "expect"),
    *("cookie", "x-pgv-key", "x-pgv-session"),
}
"""What belongs to one connection, or to us."""
NOT_PASSED_ON = {
    *NOT_SENT,
    "content-encoding",
    "set-cookie",
    "location",
    "alt-svc",
    "server",
    "date",
}
CONNECT_SECONDS = 10.0
BLOCK = 65_536
MOST_BYTES = 64 << 20
"""Of an answer that is read whole."""
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header of ours may hold."""


@dataclass(frozen=True)
class Reply:
    """A whole answer of the upstream."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the upstream says that it did what was asked."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Stream:
    """An answer whose body is still coming."""

    status: int
    headers: Mapping[str, str]
    blocks: AsyncIterator[bytes]


class Upstream:
    """One server, over a pool of connections; ``key`` replaces the clients' own."""

    def __init__(self, address: str, timeout: float, key: str | None = None):
        self.root = address.rstrip("/").removesuffix("/v1")
        self._key, self._timeout = key, timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(None, None, self._timeout, CONNECT_SECONDS),
            headers={"Accept-Encoding": "identity"},
            skip_auto_headers=("User-Agent", "Content-Type"),
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._session is not None
        await self._session.close()

    def headers(self, request: Request) -> dict[str, str]:
        """What of a client's headers goes upstream."""
        out = {k: v for k, v in request.headers.items() if k not in NOT_SENT}
        if self._key is not None:
            by_name = "x-api-key" in out  # older clients of Anthropic's
            out = {k: v for k, v in out.items() if k not in ("authorization", "x-api-key")}
            out |= {"x-api-key": self._key} if by_name else {"authorization": f"Bearer {self._key}"}
        return out

    async def ask(self, request: Request, body: bytes | None) -> Reply:
        """Ask what ``request`` asks, with ``body``, and read the whole answer."""
        answer = bytearray()
        async with self.open(request, body) as stream:
            async for block in stream.blocks:
                answer += block
                if len(answer) > MOST_BYTES:
                    raise RefusalError(
                        502,
                        f"The upstream's answer is longer than {MOST_BYTES >> 20} MB.",
                        "upstream_failed",
                    )
        return Reply(stream.status, stream.headers, bytes(answer))

    @asynccontextmanager
    async def open(self, request: Request, body: bytes | None) -> AsyncIterator[Stream]:
        """Ask, and give the answer as it comes; RefusalError (502, 504) where none does."""
        assert self._session is not None
        query = request.scope["query_string"].decode("latin-1")
        address = f"{self.root}{request.scope['path']}{'?' if query else ''}{query}"
        try:
            async with self._session.request(
                request.method,
                address,
                data=BytesIO(body) if body and len(body) > BLOCK else body,
                headers=self.headers(request),
                allow_redirects=False,
            ) as found:
                if 300 <= found.status < 400:
                    raise RefusalError(
                        502,
                        f"The upstream redirects ({found.status}), and redirects are not followed; "
                        "start the server with the address itself.",
                        "upstream_redirect",
                    )
                if not 200 <= found.status < 600:
                    raise RefusalError(
                        502,
                        f"The upstream answers with a status that none has ({found.status}).",
                        "upstream_failed",
                    )
                headers = {
                    k.lower(): v
                    for k, v in found.headers.items()
                    if k.lower() not in NOT_PASSED_ON and not CONTROL.search(v)
                }
                yield Stream(found.status, headers, found.content.iter_chunked(BLOCK))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise interrupted(error) from None


def interrupted(error: Exception) -> RefusalError:
    """What a failed connection is to the client: 504 where time ran out, else 502."""
    if isinstance(error, TimeoutError):
        return RefusalError(504, "The upstream did not answer in time.", "upstream_timeout")
    return RefusalError(
        502, f"The upstream gave no whole answer ({type(error).__name__}).", "upstream_failed"
    )
