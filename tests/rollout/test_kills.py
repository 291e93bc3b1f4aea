"""Two kill -9s under 30 % faults: every episode ends once, and no finished call is paid twice."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from pgv_jax.rollout.budget import Budget
from pgv_jax.rollout.cache import ResponseCache, cache_key
from pgv_jax.rollout.client import Request
from pgv_jax.rollout.scripted_server import ScriptedServer

EPISODES = 500
FAULTS = {"429": 0.08, "500": 0.07, "reset": 0.05, "truncate": 0.05, "garbage": 0.04, "stall": 0.01}

WORKER = """
import asyncio, json, sys
from pathlib import Path
from pgv_jax.rollout.budget import Budget
from pgv_jax.rollout.cache import CachedClient, ResponseCache
from pgv_jax.rollout.client import Request
from pgv_jax.rollout.limits import Retry
from pgv_jax.rollout.paid import ClientOptions
from pgv_jax.rollout.providers import open_client

url, folder, episodes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
options = ClientOptions(base_url=url, key_env="", timeout=2.0, concurrency=32,
                        retry=Retry(base=1e-3, cap=0.05, tries=40))

async def play(client, i, file, turns):
    said = ""
    async with turns:
        for step in range(2):
            content = f"episode {i} step {step} after {said}"
            request = Request([{"role": "user", "content": content}], n=2, max_tokens=16)
            first, second = await client.complete(request)
            said = first.text
        file.write(json.dumps({"episode": i, "said": said}).encode() + b"\\n")

async def main():
    log = folder / "episodes.jsonl"
    done = {json.loads(l)["episode"] for l in log.read_bytes().splitlines()} if log.exists() else ()
    cache = ResponseCache(folder / "cache")
    async with open_client("scripted", options, budget=Budget(ledger=folder / "ledger")) as paid:
        client, turns = CachedClient(paid, cache), asyncio.Semaphore(64)
        with log.open("ab", buffering=0) as file:
            todo = [i for i in range(episodes) if i not in done]
            await asyncio.gather(*(play(client, i, file, turns) for i in todo))

asyncio.run(main())
"""


def _policy(request: Request, index: int) -> str:
    return f"{index} heard {len(request.messages[0]['content'])}"


def _finished(folder: Path, server: ScriptedServer) -> list[str]:
    """Contents of the requests whose samples are both in the cache."""
    cache = ResponseCache(folder / "cache")
    identity = {
        "provider": "openai",
        "base_url": server.url + "/v1",
        "model": "scripted",
        "extra": {},
        "omit": [],
    }
    asked = {call.request.messages[0]["content"] for call in server.calls if call.paid}
    requests = [Request([{"role": "user", "content": text}], n=2, max_tokens=16) for text in asked]
    return [
        request.messages[0]["content"]
        for request in requests
        if all(cache_key(identity, request, index) in cache for index in range(2))
    ]


class _Killer:
    """A policy that kills the worker -9 when the server has seen so many requests."""

    def __init__(self, after: list[int]):
        self.after, self.seen = after, 0
        self.worker: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def __call__(self, request: Request, index: int) -> str:
        with self.lock:
            self.seen += 1
            if self.after and self.seen >= self.after[0] and self.worker is not None:
                self.after.pop(0)
                self.worker.kill()
        return _policy(request, index)


def test_500_episodes_end_once_and_no_finished_call_is_paid_twice(tmp_path: Path) -> None:
    killer = _Killer([500, 1400])
    ends = []
    finished: list[tuple[list[str], int]] = []
    with ScriptedServer(killer, faults=FAULTS, seed=1, retry_after=0.002) as server:
        arguments = [sys.executable, "-c", WORKER, server.url + "/v1", str(tmp_path), str(EPISODES)]
        while not ends or ends[-1] != 0:
            assert len(ends) < 3, "the worker was killed twice and must end by itself now"
            killer.worker = subprocess.Popen(arguments, env=dict(os.environ))
            ends.append(killer.worker.wait(timeout=120))
            finished.append((_finished(tmp_path, server), len(server.calls)))
        calls = list(server.calls)
    assert ends == [-9, -9, 0]

    lines = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_bytes().splitlines()]
    assert sorted(line["episode"] for line in lines) == list(range(EPISODES))

    shares = Counter(call.fault for call in calls)
    assert sum(shares[fault] for fault in FAULTS) > 0.2 * len(calls)
    for before, count in finished:
        assert before  # each time there was something to lose
        later = {call.request.messages[0]["content"] for call in calls[count:]}
        assert not later & set(before)
    delivered = Counter(
        call.request.messages[0]["content"] for call in calls if call.delivered and call.paid
    )
    assert len(delivered) == 2 * EPISODES
    # twice: delivered in the instant of a kill, before the worker could read it (32 at a time)
    assert sum(count - 1 for count in delivered.values()) <= 2 * 32

    budget = Budget(ledger=tmp_path / "ledger")
    paid = sum(call.paid for call in calls)
    assert paid <= budget.spent.requests  # nothing that was charged is missing in the ledger
    budget.close()
