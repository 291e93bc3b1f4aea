"""What `pgv serve` adds to an upstream: latency and memory under 64 clients.

    python benchmarks/serve.py ARTIFACT [--requests 5000] [--clients 64] [--latency 0.2] [-n 8]

Three processes on loopback: a scripted upstream that waits ``latency`` and answers ``n`` choices of
60 words, the server, and this one, which asks first the bare upstream and then the server, both for
n choices. ``--distinct`` is the number of different answers, so that 0 makes every text new.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WORDS = [f"word{i}" for i in range(400)]


def upstream(port: int, latency: float, distinct: int) -> None:
    """Serve choices of 60 words."""
    numbers = itertools.count()

    async def answer(request: Request) -> JSONResponse:
        body = await request.json()
        await asyncio.sleep(latency)
        choices = []
        for index in range(body.get("n", 1)):
            number = next(numbers)
            draw = random.Random(number % distinct if distinct else number)
            said = {"role": "assistant", "content": " ".join(draw.choices(WORDS, k=60))}
            choices.append({"index": index, "message": said, "finish_reason": "stop"})
        usage = {"prompt_tokens": 9, "completion_tokens": 80 * len(choices), "total_tokens": 9}
        return JSONResponse(
            {"id": "x", "object": "chat.completion", "choices": choices, "usage": usage}
        )

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="error")


async def load(
    address: str, requests: int, clients: int, n: int, own: dict[str, object]
) -> np.ndarray:
    """The seconds of every request; an answer that is no 200 ends the run."""
    seconds: list[float] = []
    left = iter(range(requests))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            for number in left:
                question = {"role": "user", "content": f"Question {number % 50}."}
                body = {"model": "m", "messages": [question], **own}
                started = time.perf_counter()
                async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
                    await answer.read()
                    if answer.status != 200:
                        sys.exit(f"{address} answered {answer.status}: {await answer.text()}")
                seconds.append(time.perf_counter() - started)

        await asyncio.gather(*(client() for _ in range(clients)))
    return np.array(seconds)


def wait_for(address: str) -> None:
    """Return once something listens there."""
    import socket

    host, port = address.removeprefix("http://").split(":")
    for _ in range(600):
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{address} did not come up")


def resident(process: subprocess.Popen[bytes]) -> float:
    """Megabytes of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--distinct", type=int, default=2000)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("-n", type=int, default=8)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.upstream:
        upstream(given.port, given.latency, given.distinct)
        return
    bare, ours = (f"http://127.0.0.1:{given.port + i}" for i in (0, 1))
    own = [sys.executable, __file__, *sys.argv[1:], "--upstream"]
    serve = [sys.executable, "-m", "pgv_jax.cli.main", "serve", given.artifact, "--upstream", bare]
    serve += ["--port", str(given.port + 1), "--no-log", "-n", str(given.n), "--deadline", "60"]
    with subprocess.Popen(own) as one, subprocess.Popen(serve) as two:
        try:
            wait_for(bare)
            wait_for(ours)
            asked = (given.clients, given.n)
            asyncio.run(load(ours, 2 * given.clients, *asked, {}))  # warm
            before = resident(two)
            alone = asyncio.run(load(bare, given.requests, *asked, {"n": given.n}))
            served = asyncio.run(load(ours, given.requests, *asked, {}))
            after = resident(two)
        finally:
            one.terminate()
            two.terminate()
    ms = {
        name: {f"p{q}": round(1000 * float(np.percentile(found, q)), 1) for q in (50, 99)}
        for name, found in (("bare", alone), ("served", served))
    }
    added = {q: round(ms["served"][q] - ms["bare"][q], 1) for q in ("p50", "p99")}
    memory = {"before_mb": round(before), "after_mb": round(after)}
    print(json.dumps({"ms": ms, "added_ms": added, **memory, "requests": given.requests}))


if __name__ == "__main__":
    main()
