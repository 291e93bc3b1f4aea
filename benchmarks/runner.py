"""What the rollout runner adds to waiting: many episodes at once against a slow model server.

``python benchmarks/runner.py [--at-once 64] [--each 1] [--steps 20] [--latency 1] [--rounds 3]``
prints one JSON line a case. The server runs in a process of its own and costs little, so that what
is measured is the other side. Ideal is ``each * steps * latency`` seconds: ``at-once`` episodes
wait at the same time, ``each`` one after the other, and nothing else takes any. The start costs
once: 64 calls at the same instant are sent one by one. Cases, alternating:

- ``wire``: prepared bytes over bare sockets, the least that this machine and this server take;
- ``client``: the calls through the client alone, with neither cache nor ledger;
- ``runner``: ``pgv rollout`` as it is (client, cache, ledger, episodes on disk), a trivial task,
  from settings to the last episode;
- ``textworld``: the same with cooking games, whose steps are computed in this process.

``cpu_ms`` is this process's CPU time a decision; ``others_cpu`` is how much of the machine's CPU
time went to processes that are neither this one nor its server: near 0 on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entry import begin

from pgv_jax.agents.propose import build_messages
from pgv_jax.config import load_config
from pgv_jax.llm.api_client import ClientOptions
from pgv_jax.llm.client import Request
from pgv_jax.llm.limits import Retry
from pgv_jax.llm.providers.opening import open_client
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.tasks.base import TASKS, TextEnv

LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


def length_of(head: bytes) -> int:
    """The length of a body by its HTTP head."""
    found = LENGTH.search(head)
    assert found, head
    return int(found[1])


NOTE = " ".join(f"The thing {i} is on the shelf {i}." for i in range(12))
ACTIONS = [f"take the thing {i}" for i in range(12)]


class Waiting(TextEnv):
    """A task in which nothing happens, with notes of a usual length."""

    name = "waiting"

    def __init__(self, episodes: int = 64, steps: int = 20):
        super().__init__()
        self.episodes, self.steps, self.turn = episodes, steps, 0

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return tuple(f"task {i}" for i in range(self.episodes))

    def admissible_actions(self) -> list[str]:
        return ACTIONS

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.task_id, self.turn = self._choose_task(options), 0
        return self._note(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        return self._note(), 0.0, False, self.turn >= self.steps, self._info()

    def _note(self) -> str:
        return f"{NOTE} It is {self.turn} o'clock."

    def _info(self) -> dict[str, Any]:
        about = {"task_id": self.task_id, "task": "Wait.", "admissible_actions": ACTIONS}
        return {**about, "success": False, "score": 0.0}


def answer(body: dict[str, Any]) -> str:
    """Any of the possible actions but those that end a cooking game."""
    user = str(body["messages"][-1]["content"])
    lines = user.rpartition("Possible actions:\n")[2].splitlines()
    actions = [line[2:] for line in lines if line.startswith("- ")]
    moves = [a for a in actions if a.split()[0] in ("go", "open", "close")] or actions
    action = moves[(body.get("seed") or 0) % len(moves)]
    return f"Thought: I {action}, as I have to begin somewhere.\nAction: {action}"


class Slow(asyncio.Protocol):
    """Answers each chat request ``latency`` seconds after its last byte came; some 0.1 ms of CPU.

    ``ScriptedServer`` takes over 1 ms a call, which 64 calls at once would wait for. The reply is
    made before its time, so that only sending it is left.
    """

    latency = 1.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = length_of(head)
        if len(rest) >= length:
            self.received = rest[length:]
            loop = asyncio.get_running_loop()
            due = loop.time() + self.latency
            loop.call_at(due, self.transport.write, self._reply(rest[:length]))

    def _reply(self, content: bytes) -> bytes:
        message = {"role": "assistant", "content": answer(json.loads(content))}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}
        about = {"id": "x", "object": "chat.completion", "created": 0, "model": "slow"}
        body = json.dumps({**about, "choices": [choice], "usage": usage}).encode()
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
        return f"{head}{len(body)}\r\n\r\n".encode() + body


def exact_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers do not wait for the next whole millisecond, as epoll's do."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def serve(latency: float) -> None:
    """Serve until the standard input ends; the address is the first line of the output."""
    Slow.latency = latency
    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def serving(latency: float) -> Iterator[tuple[str, int]]:
    """The address of a slow server in another process, and that process's id."""
    words = [sys.executable, __file__, "--serve", "--latency", str(latency)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        try:
            yield server.stdout.readline().strip(), server.pid
        finally:
            server.stdin.close()  # it ends with its input


def messages_of(step: int) -> list[Any]:
    """What is asked at a step of ``Waiting``."""
    return list(build_messages("Wait.", f"{NOTE} It is {step} o'clock.", ACTIONS))


def wire(url: str, episodes: int, steps: int) -> int:
    """The calls of ``runner`` as prepared bytes; returns their number."""
    port = urlsplit(url).port
    asked = []
    for step in range(steps):
        body = json.dumps({"messages": messages_of(step), "max_tokens": 256}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
        asked.append(head.encode() + body)

    async def episode() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in asked:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(length_of(head))
        writer.close()

    async def play() -> None:
        await asyncio.gather(*(episode() for _ in range(episodes)))

    asyncio.run(play())
    return episodes * steps


def client_alone(url: str, episodes: int, steps: int) -> int:
    """The calls of ``runner`` without a runner; returns their number."""
    options = ClientOptions(base_url=url, key_env="", concurrency=episodes, retry=Retry())

    async def episode(client: Any, i: int) -> None:
        for step in range(steps):
            seed = 1000 * i + step
            await client.complete(Request(messages_of(step), max_tokens=256, seed=seed))

    async def play() -> None:
        async with open_client("scripted", options) as client:
            await asyncio.gather(*(episode(client, i) for i in range(episodes)))

    asyncio.run(play())
    return episodes * steps


def runner(url: str, episodes: int, steps: int, task: list[str]) -> int:
    """A rollout; returns the number of its decisions."""
    words = [*task, "client=openai:scripted", f"api.base_url={url}", "api.key_env=''"]
    words += [
        f"concurrency={episodes}",
        f"api.concurrency={episodes}",
        f"task.max_steps={steps}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = load_config(None, [*words, "history=0"], RolloutConfig)
        played = Rollout(settings, Path(folder)).run()
    return sum(len(episode.steps) for episode in played)


def cpu_seconds(pid: int | None = None) -> float:
    """CPU seconds of a process, or of the whole machine, so far."""
    path = Path("/proc/stat") if pid is None else Path(f"/proc/{pid}/stat")
    if pid is None:
        fields = path.read_text().splitlines()[0].split()[1:]
        used = [int(fields[i]) for i in (0, 1, 2, 5, 6, 7)]  # not idle, not waiting for disks
    else:
        used = [int(n) for n in path.read_text().rpartition(")")[2].split()[11:13]]
    return sum(used) / os.sysconf("SC_CLK_TCK")


def measure(play: Callable[[], int], server: int) -> dict[str, float]:
    """Play once, and see what it took."""
    pids = (None, os.getpid(), server)
    before, started = [cpu_seconds(pid) for pid in pids], time.perf_counter()
    own = time.process_time()
    decisions = play()
    wall, own = time.perf_counter() - started, time.process_time() - own
    whole, me, served = (cpu_seconds(pid) - old for pid, old in zip(pids, before, strict=True))
    others = max(0.0, whole - me - served) / (wall * (os.cpu_count() or 1))
    return {
        "wall_s": wall,
        "cpu_ms": 1000 * own / decisions,
        "server_ms": 1000 * served / decisions,
        "others_cpu": others,
        "decisions": decisions,
    }


def cases(url: str, asked: argparse.Namespace) -> dict[str, tuple[int, Callable[[], int]]]:
    """Name -> episodes at once, and what plays them."""
    episodes, steps, each = asked.at_once, asked.steps, asked.each
    waiting = ["task.name=waiting", f"task.args={{episodes: {episodes * each}, steps: {steps}}}"]
    repeats = -(-episodes // 12)
    games = [f"task.args={{folder: {asked.games}}}", f"task.repeats={repeats}"]
    found: dict[str, tuple[int, Callable[[], int]]] = {
        "wire": (episodes, partial(wire, url, episodes, each * steps)),
        "client": (episodes, partial(client_alone, url, episodes, each * steps)),
        "runner": (episodes, partial(runner, url, episodes, steps, waiting)),
    }
    if each == 1 and Path(asked.games).exists():
        found["textworld"] = (12 * repeats, partial(runner, url, 12 * repeats, steps, games))
    return found


def main() -> None:
    """Measure and print, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at-once", type=int, default=64, help="episodes")
    parser.add_argument("--each", type=int, default=1, help="episodes one after the other")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds a call")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--games", default="runs/scripted/games")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    if asked.serve:
        with asyncio.Runner(loop_factory=exact_loop) as loop:
            loop.run(serve(asked.latency))
        return
    TASKS["waiting"] = "__main__:Waiting"
    found: dict[str, list[dict[str, float]]] = {}
    with serving(asked.latency) as (url, server):
        plays = cases(url, asked)
        client_alone(url, 4, 1)  # imports
        for _ in range(asked.rounds):
            for case, (_, play) in plays.items():
                if not case.startswith(asked.only):
                    continue
                found.setdefault(case, []).append(measure(play, server))
    ideal = asked.each * asked.steps * asked.latency
    for case, rounds in found.items():
        middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        walls = [r["wall_s"] for r in rounds]
        about = {
            "case": case,
            "episodes_at_once": plays[case][0],
            "decisions": int(middle["decisions"]),
            "ideal_s": round(ideal, 3),
            "wall_s": round(middle["wall_s"], 3),
            "range_s": [round(min(walls), 3), round(max(walls), 3)],
            "added": round(middle["wall_s"] / ideal - 1, 4),
            "cpu_ms": round(middle["cpu_ms"], 3),
            "server_ms": round(middle["server_ms"], 3),
            "others_cpu": round(middle["others_cpu"], 3),
        }
        print(json.dumps(about))


if __name__ == "__main__":
    begin(main)
