"""Servers on loopback for the tests: a scripted upstream, and ours in front of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pgv_jax.guide.guide import Guide
from pgv_jax.serve.app import Serving
from pgv_jax.serve.options import Settings
from pgv_jax.serve.process import listen, run_loop, server_of
from tests.guide.toy import WordCritic

Script = Callable[[dict[str, Any]], Any]


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve an application from a thread; yields its address."""
    listener: socket.socket = listen("127.0.0.1", 0)
    server = server_of(app)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            with listener:
                run_loop(server.serve(sockets=[listener]))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    assert not ended


class Upstream:
    """Answers each POST by ``script(body)``: an object, bytes, a Response or an iterator of bytes.

    ``seen`` keeps (path, headers, raw body); ``sent`` what went out.
    """

    def __init__(self) -> None:
        self.script: Script = lambda body: {}
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.sent: list[bytes] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        self.seen.append((request.url.path, dict(request.headers), raw))
        body = json.loads(raw) if raw else {}
        made = await asyncio.to_thread(self.script, body)
        if isinstance(made, Response):
            return made
        if isinstance(made, bytes):
            self.sent.append(made)
            return Response(made, media_type="application/json")
        if isinstance(made, dict):
            # Spaces and an escape that no other writer would choose.
            self.sent.append(json.dumps(made, indent=1).encode())
            return Response(self.sent[-1], media_type="application/json")
        return StreamingResponse(made, media_type="text/event-stream")

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(raw) for _, _, raw in self.seen]


class Ours:
    """A running server of ours: ``post`` asks it, ``critic`` is what it asks."""

    def __init__(self, serving: Serving, address: str, critic: WordCritic):
        self.serving, self.address, self.critic = serving, address, critic
        self.client = httpx.Client(base_url=address, timeout=30)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]
        return sum(found)


@contextmanager
def ours(upstream: str | None, **settings: Any) -> Iterator[Ours]:
    """Our server in front of an upstream, with a ``WordCritic``."""
    critic = WordCritic()
    serving = Serving(Settings("toy", upstream, **settings), Guide(critic))
    with running(serving.app()) as address:
        found = Ours(serving, address, critic)
        with found.client:
            yield found


def message(content: str | None, *calls: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A chat message, with tool calls."""
    out: dict[str, Any] = {"role": "assistant", "content": content, **more}
    if calls:
        out["tool_calls"] = [
            {
                "id": f"call_{name}_{i}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for i, (name, arguments) in enumerate(calls)
        ]
    return out


def completion(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chat completion with a choice a message."""
    choices = [
        {
            "index": i,
            "message": said,
            "finish_reason": "tool_calls" if said.get("tool_calls") else "stop",
        }
        for i, said in enumerate(messages)
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": choices,
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        **more,
    }
