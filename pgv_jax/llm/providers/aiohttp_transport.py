"""aiohttp as a transport of httpx2 that reads every reply whole."""

from __future__ import annotations

import ssl

import aiohttp
import httpx2

_NAMES: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ClientError, httpx2.ReadError),
    (OSError, httpx2.ReadError),
)
"""aiohttp's errors, the particular ones first, and what httpx2 calls them."""


class Aiohttp(httpx2.AsyncBaseTransport):
    """One pool of connections; ``tls`` is needed for https alone.

    How many calls are under way at once is not bounded here: ``AdaptiveLimit`` does it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None):
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request`` and read its reply to the end; raises httpx2's errors."""
        if self._session is None:
            self._session = self._open()  # it belongs to the loop of the first call
        waits = request.extensions["timeout"]
        try:
            async with self._session.request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=await request.aread(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    sock_connect=waits["connect"], sock_read=waits["read"]
                ),
            ) as reply:
                content = await reply.read()
        except (aiohttp.ClientError, OSError) as error:
            name = next(name for kind, name in _NAMES if isinstance(error, kind))
            raise name(str(error)) from error
        return httpx2.Response(
            reply.status, headers=reply.raw_headers, content=content, request=request
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5.0, ssl=self._tls or True),
            auto_decompress=False,  # httpx2 does it
            cookie_jar=aiohttp.DummyCookieJar(),
        )
