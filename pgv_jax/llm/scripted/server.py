"""The scripted model behind a real HTTP server on loopback that speaks the vendors' wire.

OpenAI chat (n, tools, streaming), embeddings and models, and the one call each that the Anthropic
and Google clients need. It misbehaves on demand and keeps a record of every call that a vendor
would have charged for. For tests and rehearsals: it never listens beyond this machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Request
from pgv_jax.llm.scripted import wire

Policy = Callable[[Request, int], str]

FAULTS = (
    *("429", "500", "reset", "stall", "truncate", "garbage"),  # these pass
    *("empty", "content_filter", "refusal", "tool_calls", "length", "context", "quota", "wrapped"),
)
"""What can be asked for: ``next_faults`` takes these names, ``faults`` their probabilities."""

_PAID = {"stall", "truncate", "garbage", "refusal", "tool_calls", "length"}


@dataclass(frozen=True, slots=True)
class Call:
    """One chat request as the server saw it; ``delivered``: its reply was sent whole."""

    request: Request
    fault: str
    paid: bool
    delivered: bool
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


class ScriptedServer:
    """``with ScriptedServer(policy) as server:`` serves at ``server.url`` from a thread.

    ``faults`` maps names to probabilities (drawn from ``seed``); ``next_faults`` come first.
    ``capacity``: more calls than this at once are answered 429. ``latency`` and ``retry_after``
    are in seconds. With ``key`` set, any other key is refused, and named in the refusal.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        model: str = "scripted",
        faults: Mapping[str, float] | None = None,
        seed: int = 0,
        latency: float = 0.0,
        retry_after: float = 0.01,
        capacity: int | None = None,
        key: str | None = None,
        honours_n: bool = True,
        context_window: int = 1 << 20,
        embedding_dim: int = 64,
        port: int = 0,
    ):
        self.faults = dict(faults or {})
        if unknown := set(self.faults) - set(FAULTS):
            raise PgvError(f"Fault '{min(unknown)}' is unknown; use one of {', '.join(FAULTS)}.")
        self.model, self.key, self.capacity = model, key, capacity
        self.latency, self.retry_after = latency, retry_after
        self.honours_n, self.context_window = honours_n, context_window
        self.next_faults: deque[str] = deque()
        self.calls: list[Call] = []
        self.in_flight = self.most_in_flight = 0
        self._policy = policy
        self._encoder = HashEncoder(embedding_dim)
        self._rng = random.Random(seed)
        self._port = port
        self._transports: dict[Any, asyncio.Transport] = {}
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._looping = threading.Event()

    @property
    def url(self) -> str:
        """Root address; OpenAI clients take ``url + "/v1"``."""
        return f"http://127.0.0.1:{self._port}"

    def forget(self) -> None:
        """Start the record anew, without faults that were still to come."""
        self.calls.clear()
        self.next_faults.clear()
        self.most_in_flight = self.in_flight

    def paid_calls(self) -> Counter[str]:
        """How often each request (by ``fingerprint``) was charged for."""
        return Counter(wire.fingerprint(call.request) for call in self.calls if call.paid)

    def __enter__(self) -> ScriptedServer:
        # The socket listens before the thread runs, so that nobody has to wait for the server
        # (the protocol is named since asyncio sets TCP_NODELAY only then: 40 ms a call without)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(1024)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app(),
            http=_remembering(self._transports),
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._looping.wait()
        self._server.should_exit = True
        self._loop.call_soon_threadsafe(self._closing.set)
        assert self._thread is not None
        self._thread.join()

    def _run(self, listener: socket.socket) -> None:
        asyncio.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._looping.set()
        with listener:
            await self._server.serve(sockets=[listener])

    def app(self) -> Starlette:
        """The ASGI application, for a server of one's own."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat(wire.OPENAI), methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                Route("/v1/messages", self._chat(wire.ANTHROPIC), methods=["POST"]),
                Route("/{version}/models/{model:path}", self._chat(wire.GOOGLE), methods=["POST"]),
            ]
        )

    async def _models(self, http: HttpRequest) -> Response:
        if refusal := self._refuse_key(http):
            return refusal
        row = {"id": self.model, "object": "model", "created": 0, "owned_by": "scripted"}
        return JSONResponse({"object": "list", "data": [row]})

    async def _embeddings(self, http: HttpRequest) -> Response:
        if refusal := self._refuse_key(http):
            return refusal
        body = await http.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = self._encoder.encode(texts)
        return JSONResponse(wire.embeddings(body, self.model, texts, vectors))

    def _chat(self, dialect: wire.Dialect) -> Callable[[HttpRequest], Any]:
        async def endpoint(http: HttpRequest) -> Response:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                return await self._answer(http, dialect)
            finally:
                self.in_flight -= 1

        return endpoint

    async def _answer(self, http: HttpRequest, dialect: wire.Dialect) -> Response:
        body = await http.json()
        request, model = dialect.read(body, http.path_params)
        if refusal := self._refuse_key(http) or self._refuse_model(model):
            return refusal
        fault = self._fault()
        if fault in ("429", "500", "reset", "context", "quota", "content_filter"):
            self._record(http, request, fault, False)
            return self._fail(http, fault)
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault == "stall":
            self._record(http, request, fault, False)
            await self._stall(http)
            return Response(status_code=504)
        if wire.prompt_tokens(request) > self.context_window:
            self._record(http, request, "context", False)
            return self._fail(http, "context")
        count = request.n if self.honours_n else 1
        texts = [self._policy(request, request.first + index) for index in range(count)]
        if body.get("stream"):
            self._record(http, request, fault, True)
            return StreamingResponse(
                wire.stream(body, self.model, request, texts), media_type="text/event-stream"
            )
        reply = dialect.reply(self.model, request, texts, fault)
        delivered = fault not in ("truncate", "garbage")
        self._record(http, request, fault, delivered)
        return _garble(_Escaped(reply), fault)

    def _fault(self) -> str:
        if self.next_faults:
            return self.next_faults.popleft()
        if self.capacity is not None and self.in_flight > self.capacity:
            return "429"
        draw = self._rng.random()
        for name, probability in self.faults.items():
            draw -= probability
            if draw < 0:
                return name
        return ""

    def _record(self, http: HttpRequest, request: Request, fault: str, delivered: bool) -> None:
        paid = not fault or fault in _PAID
        self.calls.append(Call(request, fault, paid, delivered, dict(http.headers)))

    def _fail(self, http: HttpRequest, fault: str) -> Response:
        if fault == "reset":
            transport = self._transports.get(tuple(http.client or ()))
            if transport is not None:
                # lingering for 0 s turns the close into a reset, as a dying host sends
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
            return Response(status_code=500)
        status, code, message = wire.REFUSALS[fault]
        headers = {"Retry-After": f"{self.retry_after:g}"} if fault == "429" else {}
        return _error(status, code, message, headers)

    async def _stall(self, http: HttpRequest) -> None:
        """Say nothing until the client hangs up or the server stops."""
        gone = asyncio.ensure_future(_disconnected(http))
        closing = asyncio.ensure_future(self._closing.wait())
        _, pending = await asyncio.wait([gone, closing], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    def _refuse_key(self, http: HttpRequest) -> Response | None:
        given = http.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or http.headers.get("x-api-key") or http.headers.get("x-goog-api-key") or ""
        if self.key is None or given == self.key:
            return None
        return _error(401, "invalid_api_key", f"Incorrect API key provided: {given}.")

    def _refuse_model(self, model: str) -> Response | None:
        if model == self.model:
            return None
        return _error(404, "model_not_found", f"The model `{model}` does not exist.")


class _Escaped(JSONResponse):
    """JSON in ASCII, as many servers write it: an escape can carry what UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def _error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An error in a form that all three vendors' libraries can read."""
    error = {"message": message, "type": code, "code": code, "status": code.upper()}
    return JSONResponse({"type": "error", "error": error}, status, dict(headers or {}))


def _garble(response: Response, fault: str) -> Response:
    if fault == "truncate":  # whole by its length, cut short inside: what a broken proxy sends
        return Response(response.body[: len(response.body) // 2], media_type="application/json")
    if fault == "garbage":
        return Response("<html>gateway</html>", media_type="text/html")
    return response


async def _disconnected(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _remembering(transports: dict[Any, asyncio.Transport]) -> type[H11Protocol]:
    """uvicorn's protocol, which also keeps each client's transport so that it can be reset."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                transports[tuple(self.client)] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                transports.pop(tuple(self.client), None)
            super().connection_lost(exc)

    return Protocol
