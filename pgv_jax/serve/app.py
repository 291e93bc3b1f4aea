"""The server's routes, and what stands around every one of them: keys, counts, errors' form."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pgv_jax.errors import PgvError
from pgv_jax.guide.guide import Guide
from pgv_jax.serve.apis.bodies import read_json
from pgv_jax.serve.apis.candidates import APIS, Api
from pgv_jax.serve.decisions import DecisionLog
from pgv_jax.serve.options import Settings, is_loopback
from pgv_jax.serve.prometheus import Metrics
from pgv_jax.serve.proxy import Proxy
from pgv_jax.serve.refusals import RefusalError, refusal
from pgv_jax.serve.rerank import rerank, score
from pgv_jax.serve.upstream import Upstream
from pgv_jax.serve.work import passed_on

log = logging.getLogger(__name__)
LOCAL = ["localhost", "127.0.0.1", "[::1]"]
Handler = Callable[[Request], Awaitable[Response]]


class Serving:
    """One server: an open critic, an upstream, and the application that joins them."""

    def __init__(self, settings: Settings, guide: Guide):
        self.settings, self.guide = settings, guide
        self.metrics = Metrics(lambda: self.guide.critic.lookups)
        log_folder = settings.log
        self.decisions = DecisionLog(log_folder, settings.redact) if log_folder else None
        self.proxy: Proxy | None = None
        self.ready = False

    def app(self) -> Starlette:
        """The ASGI application; its lifespan opens the upstream and the log."""
        routes = [
            *(self._route(api.path, self._api(api), api.form, forwarded=True) for api in APIS),
            self._route("/v1/models", self._models, "openai", methods=["GET"], forwarded=True),
            *(self._route(path, self._rerank, "rerank") for path in RERANK),
            self._route("/v1/score", self._score, "openai"),
            self._route("/v1/outcomes", self._outcome, "openai"),
            self._route("/metrics", self._page, "openai", methods=["GET"]),
            Route("/health", self._health),
            Route("/ready", self._readiness),
        ]
        local = is_loopback(self.settings.host) and not self.settings.key
        # A page in a browser may not reach a server without a key by a name of its own.
        hosts = [Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL)] if local else []
        return Starlette(
            routes=routes,
            middleware=hosts,
            lifespan=self._lifespan,
            exception_handlers={404: _not_found, 405: _not_found},
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        settings = self.settings
        address = settings.upstream or "http://127.0.0.1:9"
        async with Upstream(address, settings.timeout, settings.upstream_key) as upstream:
            self.proxy = Proxy(settings, self.guide, upstream, self.metrics, self.decisions)
            self.ready = True
            yield
            self.ready = False
            await self.proxy.finish()
        if self.decisions is not None:
            self.decisions.close()

    async def reload(self, load: Callable[[], Guide]) -> bool:
        """Open the artifact anew and take it from the next request on; else keep the old one."""
        try:
            guide = await asyncio.to_thread(load)
        except Exception as error:  # a half-written artifact must not end the server
            log.error("The artifact could not be opened anew, the old one stays: %s", error)
            self.metrics.reloads.labels("failed").inc()
            return False
        self.guide = guide
        if self.proxy is not None:
            self.proxy.guide = guide
        self.metrics.reloads.labels("done").inc()
        log.info("The artifact was opened anew.")
        return True

    def _route(
        self,
        path: str,
        handler: Handler,
        form: str,
        methods: list[str] | None = None,
        forwarded: bool = False,
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            with self.metrics.in_flight.track_inprogress():
                try:
                    self._check_key(request, forwarded)
                    if forwarded and self.settings.upstream is None:
                        raise RefusalError(501, "The server was started without --upstream.")
                    response = await handler(request)
                except RefusalError as error:
                    response = refusal(form, error)
                except Exception:  # the outermost place: a fault of ours is logged and answered
                    log.exception("A request failed")
                    why = "The server failed; its log says why."
                    response = refusal(form, RefusalError(500, why))
            self.metrics.requests.labels(path, str(response.status_code)).inc()
            self.metrics.request_seconds.observe(time.perf_counter() - started)
            return response

        return Route(path, endpoint, methods=methods or ["POST"])

    def _check_key(self, request: Request, forwarded: bool) -> None:
        """Refuse who lacks the server's key.

        Where a client's Authorization goes upstream, our key stands in ``x-pgv-key``.
        """
        key = self.settings.key
        if key is None:
            return
        given = request.headers.get("x-pgv-key", "")
        if not given and (not forwarded or self.settings.upstream_key is not None):
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            given = given or request.headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise RefusalError(401, "The server's key is missing or wrong.", "invalid_api_key")

    def _api(self, api: Api) -> Handler:
        async def handler(request: Request) -> Response:
            assert self.proxy is not None
            return await self.proxy.answer(api, request)

        return handler

    async def _models(self, request: Request) -> Response:
        assert self.proxy is not None
        return passed_on(await self.proxy.upstream.ask(request, None), {})

    async def _rerank(self, request: Request) -> Response:
        return await rerank(self.guide, request, self.settings.max_body)

    async def _score(self, request: Request) -> Response:
        return await score(self.guide, request, self.settings.max_body)

    async def _outcome(self, request: Request) -> Response:
        _, body = await read_json(request, self.settings.max_body)
        if self.decisions is None:
            raise RefusalError(409, "The server keeps no log, so an outcome has nothing to join.")
        record = outcome_of(body)
        record["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            self.decisions.outcome(record)
        except OSError as error:
            raise RefusalError(507, f"The outcome was not written: {error.strerror}.") from None
        return JSONResponse({"recorded": True})

    async def _page(self, request: Request) -> Response:
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readiness(self, request: Request) -> Response:
        ready = {True: (200, "ready"), False: (503, "not ready")}[self.ready]
        return JSONResponse({"status": ready[1], "critic": self.guide.critic.name}, ready[0])


RERANK = ("/v1/rerank", "/v2/rerank", "/rerank")


def outcome_of(body: dict[str, Any]) -> dict[str, Any]:
    """An outcome as it is logged; RefusalError (400) for what is none."""
    names = {key: body[key] for key in ("request_id", "session_id") if body.get(key)}
    if len(names) != 1 or not all(isinstance(name, str) for name in names.values()):
        raise RefusalError(400, "Give either a request_id or a session_id.")
    said = {key: body[key] for key in ("success", "reward", "score") if body.get(key) is not None}
    if not said:
        raise RefusalError(400, "Give a success (true or false), a reward or a score.")
    for key, value in said.items():
        if isinstance(value, bool) != (key == "success") or not isinstance(value, int | float):
            wanted = "true or false" if key == "success" else "a number"
            raise RefusalError(400, f"'{key}' must be {wanted}.")
    return {**names, **said}


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return refusal(
        "openai", RefusalError(status, f"{request.method} {request.url.path} is not served.")
    )


def open_guide(settings: Settings) -> Guide:
    """The guide that a server asks; every shape that its default needs is compiled."""
    try:
        guide = Guide.load(settings.artifact, goals=settings.ask.goals, store=settings.store)
        guide.warm_up(settings.ask.candidates + 1)  # refine adds one
    except ValueError as error:
        raise PgvError(f"The critic {settings.artifact} cannot be opened: {error}.") from error
    return guide
