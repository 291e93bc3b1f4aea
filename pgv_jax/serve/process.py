"""A server that runs: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pgv_jax.errors import PgvError
from pgv_jax.serve.app import Serving, open_guide
from pgv_jax.serve.options import Settings

STREAM_SECONDS = 30
"""How long a stopping server waits for answers under way."""
HEAD_BYTES = 65_536
"""What may come of a request before its head, a part of its body or its end is whole."""


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, and end what is under way; SIGHUP opens the artifact anew."""
    listener = listen(settings.host, settings.port)
    serving = Serving(settings, open_guide(settings))
    freeze_heap()
    say(f"Serving on http://{settings.host}:{listener.getsockname()[1]}/v1")
    run_loop(_serve(server_of(serving.app()), listener, serving))


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a server's coroutine to its end on the event loop that servers have."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def freeze_heap() -> None:
    """Take what lives on out of the garbage collector's rounds.

    A full round over all that is loaded takes a tenth of a second, in which nobody is answered.
    """
    gc.unfreeze()  # a critic that was exchanged may go
    gc.collect()
    gc.freeze()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; PgvError where the address cannot be had."""
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # The protocol is named since asyncio sets TCP_NODELAY only then: 40 ms a call without.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise PgvError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
    return listener


class Server(uvicorn.Server):
    """uvicorn's, which leaves the signals to its caller: its own way ends a process by them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's over httptools, which by itself would wait for the end of any head."""

    _waiting = 0

    def data_received(self, data: bytes) -> None:
        """Read on; 400 for a head beyond ``HEAD_BYTES``."""
        self._waiting += len(data)
        super().data_received(data)
        if self._waiting > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"A request's head may have {HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._waiting = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        self._waiting = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._waiting = 0
        super().on_message_complete()


def server_of(app: Starlette) -> Server:
    """What serves an application, quietly."""
    return Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STREAM_SECONDS,
        )
    )


async def _serve(server: Server, listener: socket.socket, serving: Serving) -> None:
    load = partial(open_guide, serving.settings)
    under_way: set[asyncio.Task[None]] = set()

    async def anew() -> None:
        await serving.reload(load)
        freeze_heap()

    def reload() -> None:
        task = asyncio.create_task(anew())
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    with listener:
        await server.serve(sockets=[listener])
