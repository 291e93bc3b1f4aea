"""What the rollout runner adds to waiting: many episodes at once against a slow model server.

``python benchmarks/runner.py [--episodes 64] [--steps 20] [--latency 0.2] [--rounds 3]`` prints one
JSON line a case. The scripted server runs in a process of its own. Ideal is ``steps * latency``
seconds: all episodes wait at the same time and nothing else takes any. Cases, alternating:

- ``client``: the same calls through the client alone, with neither cache nor ledger;
- ``runner``: ``pgv rollout`` as it is (client, cache, ledger, episodes on disk), a trivial task;
- ``textworld``: the same with cooking games, whose steps are computed in this process.

``cpu_ms`` is this process's CPU time a decision.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgv_jax.config import load_config
from pgv_jax.rollout.client import Request
from pgv_jax.rollout.config import RolloutConfig
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.limits import Retry
from pgv_jax.rollout.paid import ClientOptions
from pgv_jax.rollout.propose import build_messages
from pgv_jax.rollout.providers import open_client
from pgv_jax.rollout.scripted_server import ScriptedServer
from pgv_jax.tasks.base import TASKS, TextEnv

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


def answer(request: Request, index: int) -> str:
    """Any of the possible actions but those that end a cooking game."""
    user = str(request.messages[-1]["content"])
    lines = user.rpartition("Possible actions:\n")[2].splitlines()
    actions = [line[2:] for line in lines if line.startswith("- ")]
    moves = [a for a in actions if a.split()[0] in ("go", "open", "close")] or actions
    action = moves[(request.seed or 0) % len(moves)]
    return f"Thought: I {action}, as I have to begin somewhere.\nAction: {action}"


@contextmanager
def serving(latency: float) -> Iterator[str]:
    """The address of a scripted server in another process."""
    words = [sys.executable, __file__, "--serve", "--latency", str(latency)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()  # it ends with its input


def client_alone(url: str, episodes: int, steps: int) -> int:
    """The calls of ``runner`` without a runner; returns their number."""
    options = ClientOptions(base_url=url, key_env="", concurrency=episodes, retry=Retry())

    async def episode(client: Any, i: int) -> None:
        for step in range(steps):
            note = f"{NOTE} It is {step} o'clock."
            messages = build_messages("Wait.", note, ACTIONS)
            await client.complete(Request(messages, max_tokens=256, seed=1000 * i + step))

    async def play() -> None:
        async with open_client("scripted", options) as client:
            await asyncio.gather(*(episode(client, i) for i in range(episodes)))

    asyncio.run(play())
    return episodes * steps


def runner(url: str, episodes: int, steps: int, task: list[str]) -> int:
    """A rollout; returns the number of its decisions."""
    words = [*task, "client=openai:scripted", f"api.base_url={url}", "api.key_env=''"]
    words += [f"concurrency={episodes}", f"api.concurrency={episodes}", f"task.max_steps={steps}"]
    with tempfile.TemporaryDirectory() as folder:
        settings = load_config(None, [*words, "history=0"], RolloutConfig)
        played = Rollout(settings, Path(folder)).run()
    return sum(len(episode.steps) for episode in played)


def main() -> None:
    """Measure and print, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--games", default="runs/quickstart/games")
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    if asked.serve:
        with ScriptedServer(answer, latency=asked.latency) as server:
            print(server.url + "/v1", flush=True)
            sys.stdin.read()
        return
    TASKS["waiting"] = "__main__:Waiting"
    size = f"episodes: {asked.episodes}, steps: {asked.steps}"
    waiting = ["task.name=waiting", f"task.args={{{size}}}"]
    repeats = -(-asked.episodes // 12)
    games = [f"task.args={{folder: {asked.games}}}", f"task.repeats={repeats}"]
    found: dict[str, list[dict[str, float]]] = {}
    with serving(asked.latency) as url:
        client_alone(url, asked.episodes, 1)  # warm
        for _ in range(asked.rounds):
            for case, play in (
                ("client", lambda: client_alone(url, asked.episodes, asked.steps)),
                ("runner", lambda: runner(url, asked.episodes, asked.steps, waiting)),
                ("textworld", lambda: runner(url, 12 * repeats, asked.steps, games)),
            ):
                wall, cpu = time.perf_counter(), time.process_time()
                decisions = play()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                found.setdefault(case, []).append(
                    {"wall_s": wall, "cpu_ms": 1000 * cpu / decisions, "decisions": decisions}
                )
    ideal = asked.steps * asked.latency
    for case, rounds in found.items():
        middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        walls = [r["wall_s"] for r in rounds]
        print(
            json.dumps(
                {
                    "case": case,
                    "episodes_at_once": asked.episodes if case != "textworld" else 12 * repeats,
                    "decisions": int(middle["decisions"]),
                    "ideal_s": round(ideal, 3),
                    "wall_s": round(middle["wall_s"], 3),
                    "range_s": [round(min(walls), 3), round(max(walls), 3)],
                    "added": round(middle["wall_s"] / ideal - 1, 4),
                    "cpu_ms": round(middle["cpu_ms"], 3),
                }
            )
        )


if __name__ == "__main__":
    main()
