"""The HTTP clients under the openai library, with less work for each call than its own.

64 episodes at once wait for one thread, so that a millisecond of it a call is seen in all of them.
Neither client adds to a request what the library has settled already (headers, address), and over
aiohttp a reply is read whole where httpx2 would lead it through sign-in, redirects, cookies and two
streams: together three tenths of a call's CPU time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

import httpx2

if TYPE_CHECKING:
    from pgv_jax.rollout.over_aiohttp import Aiohttp


class LeanClient(httpx2.AsyncClient):
    """An HTTP client for requests that are settled: it reads an address once, and adds nothing."""

    _addresses: dict[str, httpx2.URL]

    def build_request(self, method: str, url: Any, **more: Any) -> httpx2.Request:
        """As httpx2's, without what only requests of other kinds (files, parameters) need."""
        if any(more[key] for key in more.keys() - {"content", "headers", "timeout"}):
            return super().build_request(method, url, **more)
        addresses = self.__dict__.setdefault("_addresses", {})
        if url not in addresses:
            addresses[url] = httpx2.URL(url)
        return httpx2.Request(
            method,
            addresses[url],
            content=more.get("content"),
            headers=more.get("headers"),
            extensions={"timeout": httpx2.Timeout(more.get("timeout", self.timeout)).as_dict()},
        )


class WholeClient(LeanClient):
    """Sends straight over ``transport``, which reads replies whole."""

    def __init__(self, transport: Aiohttp):
        super().__init__(transport=transport, follow_redirects=True)
        self._whole = transport

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **more: Any
    ) -> httpx2.Response:
        """As httpx2's; streams, sign-ins and redirects go its own way."""
        if not stream and not more:
            response = await self._whole.handle_async_request(request)
            if not response.has_redirect_location:
                return response
        return await super().send(request, stream=stream, **more)


def client_maker(library: Any, url: str, over_aiohttp: bool) -> Callable[[], httpx2.AsyncClient]:
    """Makes clients for the address ``url``, as ``library`` (openai) sets its own up.

    All share one TLS context, as reading the certificates takes 20 ms. Where the environment names
    a proxy, aiohttp is driven by the library's own client, which knows how to use one.
    """
    if over_aiohttp and not getproxies():
        from pgv_jax.rollout.over_aiohttp import Aiohttp

        secure = not url.lower().startswith("http://")
        tls = httpx2.create_ssl_context() if secure else None
        return lambda: WholeClient(Aiohttp(tls))
    client = library.DefaultAioHttpClient if over_aiohttp else library.DefaultAsyncHttpxClient
    return partial(type("Lean", (LeanClient, client), {}), verify=httpx2.create_ssl_context())
