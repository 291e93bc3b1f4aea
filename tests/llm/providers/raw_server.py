"""A server on loopback that answers with any bytes, and a client of each vendor that asks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pgv_jax.llm.api_client import ApiClient, ClientOptions
from pgv_jax.llm.budget import Budget
from pgv_jax.llm.client import Completion, Request
from pgv_jax.llm.limits import Retry
from pgv_jax.llm.providers.opening import open_client
from pgv_jax.llm.scripted import wire

VENDORS = ["openai", "anthropic", "google"]
KEY = "sk-very-secret-0123456789"
ASK = Request([{"role": "user", "content": "What next?"}], max_tokens=64)

Answer = Callable[[str, dict[str, str], bytes], bytes]
"""(first line, headers, body) of a request -> the bytes that answer it."""


def good(vendor: str, **more: Any) -> dict[str, Any]:
    """The JSON of a vendor's reply "East.", with fields exchanged."""
    dialects = {"openai": wire.OPENAI, "anthropic": wire.ANTHROPIC, "google": wire.GOOGLE}
    return dialects[vendor].reply("m", ASK, ["East."], "") | more


def reply(body: bytes | dict[str, Any], status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP reply as bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "\r\n"]).encode() + content


@contextmanager
def answering(answer: Answer | bytes) -> Iterator[str]:
    """Serve; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            said = answer(self.requestline, headers, body) if callable(answer) else answer
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, *about: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def opened(vendor: str, url: str, budget: Budget | None = None, tries: int = 1) -> ApiClient:
    """A client of ``vendor`` at ``url``; the key is in PGV_TEST_KEY."""
    options = ClientOptions(
        base_url=url,
        key_env="PGV_TEST_KEY",
        timeout=20.0,
        retry=Retry(base=1e-4, tries=tries, host_tries=tries),
    )
    return open_client(f"{vendor}:m", options, budget=budget)


def ask(client: ApiClient, *requests: Request) -> list[Completion]:
    """One answer to each request, one after the other."""

    async def main() -> list[Completion]:
        async with client:
            return [(await client.complete(request))[0] for request in requests or (ASK,)]

    return asyncio.run(main())
