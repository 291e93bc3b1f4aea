"""Two kill -9s under 30 % faults: every episode ends once, and no finished call is paid twice."""

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.llm.budget import Budget
from pgv_jax.llm.cache import ResponseCache, cache_key
from pgv_jax.llm.client import Request
from pgv_jax.llm.scripted.server import ScriptedServer

pytestmark = pytest.mark.slow

EPISODES = int(os.environ.get("PGV_KILL_EPISODES", "40"))  # 500: the long form, by hand
FAULTS = {"429": 0.08, "500": 0.07, "reset": 0.05, "truncate": 0.05, "garbage": 0.04, "stall": 0.01}
AT_ONCE = 32

WORKER = """
import sys
from pgv_jax.tasks.base import TASKS
TASKS["corridor"] = "tests.agents.toy:Corridor"
from pgv_jax.cli.main import main
main(sys.argv[1:])
"""

CONFIG = f"""
task: {{name: corridor, repeats: {EPISODES // 2}, args: {{last: 3, max_steps: 6}}}}
client: openai:scripted
concurrency: 64
max_tokens: 16
api: {{key_env: "", timeout: 1.0, concurrency: {AT_ONCE}, tries: 40, retry_base: 1.0e-3,
      retry_cap: 0.05}}
"""


def _policy(request: Request, index: int) -> str:
    move = "right" if (request.seed or 0) % 5 else "left"
    return f"Thought: I go {move}.\nAction: go {move}"


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


def _key(server: ScriptedServer, request: Request) -> str:
    """The cache's key of a request as the server saw it (each is for sample 0)."""
    identity = {
        "provider": "openai",
        "base_url": server.url + "/v1",
        "model": "scripted",
        "extra": {},
        "omit": [],
    }
    return cache_key(identity, request, 0)


def test_all_episodes_end_once_and_no_finished_call_is_paid_twice(tmp_path: Path) -> None:
    killer = _Killer([EPISODES, 2 * EPISODES])
    ends = []
    finished: list[tuple[set[str], int]] = []
    out = tmp_path / "out"
    (tmp_path / "rollout.yaml").write_text(CONFIG)
    with ScriptedServer(killer, faults=FAULTS, seed=1, retry_after=0.002) as server:
        words = ["rollout", str(tmp_path / "rollout.yaml"), f"api.base_url={server.url}/v1"]
        arguments = [sys.executable, "-c", WORKER, *words, "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        while not ends or ends[-1] != 0:
            assert len(ends) < 3, "the worker was killed twice and must end by itself now"
            killer.worker = subprocess.Popen(arguments, env=environment)
            ends.append(killer.worker.wait(timeout=300))
            cache = ResponseCache(out / "cache")
            keys = {_key(server, call.request) for call in server.calls if call.paid}
            finished.append(({key for key in keys if key in cache}, len(server.calls)))
        calls = list(server.calls)
    assert ends == [-9, -9, 0]

    episodes = [episode.episode_id for episode in read_jsonl(out / "episodes.jsonl")]
    assert len(episodes) == EPISODES == len(set(episodes))

    shares = Counter(call.fault for call in calls)
    assert sum(shares[fault] for fault in FAULTS) > 0.2 * len(calls)
    for before, count in finished:
        assert before  # each time there was something to lose
        later = {_key(server, call.request) for call in calls[count:]}
        assert not later & before
    delivered = Counter(
        _key(server, call.request) for call in calls if call.delivered and call.paid
    )
    # twice: delivered in the instant of a kill, before the worker could read it
    assert sum(count - 1 for count in delivered.values()) <= 2 * AT_ONCE

    budget = Budget(ledger=out / "ledger")
    assert sum(call.paid for call in calls) <= budget.spent.requests  # none is missing there
    budget.close()
    twice = sum(delivered.values()) - len(delivered)
    print(f"{len(calls)} calls, faults {dict(shares)}, delivered twice {twice}")
