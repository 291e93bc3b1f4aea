"""What `pgv serve` adds to an upstream: latency and memory under 64 clients.

    python benchmarks/serve.py ARTIFACT [--requests 5000] [--clients 64] [--latency 0.2] [-n 8]

Three processes on loopback: a scripted upstream that waits ``latency`` and answers ``n`` choices of
60 words, the server, which logs every decision, and this one, which asks first the bare upstream
and then the server, both for n choices. ``--distinct`` is the number of different answers, so that
0 makes every text new.

All clients ask in the same instant. With ``--spread`` they start evenly over one ``latency``
instead, as clients that know nothing of each other do on average. With ``--opened`` each has asked
once before, so that connections are open on the whole way in both arms. ``--strategy off`` lets the
server pass each request on unread, the floor for a proxy of its stack. ``cpu_ms`` is the CPU time
of a request by process, ``lost`` counts answered decisions that are not in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WORDS = [f"word{i}" for i in range(400)]


def upstream(port: int, latency: float, distinct: int) -> None:
    """Serve choices of 60 words; ``distinct`` ones are written before the first request."""

    def message(number: int) -> str:
        said = " ".join(random.Random(number).choices(WORDS, k=60))
        return json.dumps({"role": "assistant", "content": said})

    numbers, written = itertools.count(), [message(number) for number in range(distinct)]

    async def answer(request: Request) -> Response:
        body = await request.json()
        await asyncio.sleep(latency)
        choices = []
        for index in range(body.get("n", 1)):
            number = next(numbers)
            said = written[number % distinct] if distinct else message(number)
            choices.append(f'{{"index": {index}, "message": {said}, "finish_reason": "stop"}}')
        usage = {"prompt_tokens": 9, "completion_tokens": 80 * len(choices), "total_tokens": 9}
        head = '{"id": "x", "object": "chat.completion", "choices": ['
        text = f'{head}{", ".join(choices)}], "usage": {json.dumps(usage)}}}'
        return Response(text, media_type="application/json")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


async def load(
    address: str,
    requests: int,
    clients: int,
    n: int | None,
    spread: float = 0.0,
    opened: bool = False,
) -> np.ndarray:
    """The seconds of every request; an answer that is no 200 ends the run.

    The clients start evenly over ``spread`` seconds, and each asks again once it is answered.
    ``opened``: each has asked once before, uncounted.
    """
    seconds: list[float] = []
    left = iter(range(requests))
    own = {} if n is None else {"n": n}
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> float:
            question = {"role": "user", "content": f"Question {number % 50}."}
            body = json.dumps({"model": "m", "messages": [question], **own}).encode()
            started = time.perf_counter()
            asked = session.post(f"{address}/v1/chat/completions", data=body, headers=headers)
            async with asked as answer:
                await answer.read()
                if answer.status != 200:
                    sys.exit(f"{address} answered {answer.status}: {await answer.text()}")
            return time.perf_counter() - started

        async def client(wait: float) -> None:
            await asyncio.sleep(wait)
            for number in left:
                seconds.append(await ask(number))

        if opened:
            await asyncio.gather(*(ask(number) for number in range(clients)))
        await asyncio.gather(*(client(spread * i / clients) for i in range(clients)))
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


def resident(process: int) -> float:
    """Megabytes of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cpu_ms(process: int) -> float:
    """Milliseconds of CPU time that a process took so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--distinct", type=int, default=2000)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--opened", action="store_true")
    parser.add_argument("--strategy", choices=("best-of-n", "off"), default="best-of-n")
    parser.add_argument("-n", type=int, default=8)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.upstream:
        upstream(given.port, given.latency, given.distinct)
        return
    bare, ours = (f"http://127.0.0.1:{given.port + i}" for i in (0, 1))
    own = [sys.executable, __file__, *sys.argv[1:], "--upstream"]
    serve = [sys.executable, "-m", "pgv_jax.cli.main", "serve", given.artifact, "--upstream", bare]
    serve += ["--port", str(given.port + 1), "-n", str(given.n), "--deadline", "60"]
    serve += ["--strategy", given.strategy]
    chooses = given.strategy != "off"
    log = tempfile.TemporaryDirectory()
    with log, subprocess.Popen(own) as one, subprocess.Popen([*serve, "--log", log.name]) as two:
        processes = {"server": two.pid, "upstream": one.pid, "clients": os.getpid()}
        spread = given.latency if given.spread else 0.0
        found, cpu, warm = {}, {}, 2 * given.clients
        asked_for = warm + given.requests + given.clients * given.opened
        try:
            wait_for(bare)
            wait_for(ours)
            asyncio.run(load(ours, warm, given.clients, None))
            before = resident(two.pid)
            arms = (("bare", bare, given.n), ("served", ours, None if chooses else given.n))
            for name, address, n in arms:
                begun = {name: cpu_ms(pid) for name, pid in processes.items()}
                asked = (given.requests, given.clients, n, spread, given.opened)
                found[name] = asyncio.run(load(address, *asked))
                cpu[name] = {
                    name: round((cpu_ms(pid) - begun[name]) / given.requests, 2)
                    for name, pid in processes.items()
                }
            after = resident(two.pid)
        finally:
            one.terminate()
            two.terminate()
            two.wait()
        logged = sum(path.read_bytes().count(b"\n") for path in Path(log.name).glob("*.jsonl"))
    ms = {
        name: {f"p{q}": round(1000 * float(np.percentile(each, q)), 1) for q in (50, 97, 99)}
        for name, each in found.items()
    }
    added = {q: round(ms["served"][q] - ms["bare"][q], 1) for q in ms["bare"]}
    memory = {"before_mb": round(before), "after_mb": round(after)}
    told = {"requests": given.requests, "lost": asked_for * chooses - logged}
    print(json.dumps({"ms": ms, "added_ms": added, **memory, "cpu_ms": cpu, **told}))


if __name__ == "__main__":
    main()
