"""How requests of the openai library are built and sent with less work than it takes by itself.

64 episodes at once wait for one thread, so that a millisecond of it a call is seen in all of them.
The requests of a client differ in their body alone, so the library builds the first and the others
follow it. Over aiohttp a reply is read whole, where httpx2 would lead it through sign-in,
redirects, cookies and two streams.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

import httpx2

if TYPE_CHECKING:
    from pgv_jax.llm.providers.aiohttp_transport import Aiohttp

_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def settled(library: Any) -> Any:
    """``library.AsyncOpenAI`` for calls to one address that differ in their JSON body alone."""

    class AsyncOpenAI(library.AsyncOpenAI):  # the library names itself to servers by this name
        _like: dict[str, Any] | None = None

        def _build_request(self, options: Any, **more: Any) -> httpx2.Request:
            """As the library's, which builds the first one (all, where it has no such step)."""
            if self._like is None:
                first = super()._build_request(options, **more)
                headers = [(k, v) for k, v in first.headers.raw if k.lower() != b"content-length"]
                self._like = {"headers": headers, "extensions": first.extensions}
                self._like |= {"method": first.method, "url": first.url}
                return first
            return httpx2.Request(content=_compact(options.json_data).encode(), **self._like)

    return AsyncOpenAI


class WholeClient(httpx2.AsyncClient):
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
    """Makes HTTP clients for the address ``url``, as ``library`` (openai) sets its own up.

    All share one TLS context, as reading the certificates takes 20 ms. Where the environment names
    a proxy, aiohttp is driven by the library's own client, which knows how to use one.
    """
    if over_aiohttp and not getproxies().keys() - {"no"}:  # NO_PROXY alone names none
        from pgv_jax.llm.providers.aiohttp_transport import Aiohttp

        secure = not url.lower().startswith("http://")
        tls = httpx2.create_ssl_context() if secure else None
        return lambda: WholeClient(Aiohttp(tls))
    client = library.DefaultAioHttpClient if over_aiohttp else library.DefaultAsyncHttpxClient
    return partial(client, verify=httpx2.create_ssl_context())
