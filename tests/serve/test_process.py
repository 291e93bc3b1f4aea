"""The command itself: ready, asked, reloaded, stopped, killed; no answered decision is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from pgv_jax.critic import artifact
from tests.serve.servers import Upstream, completion, message, running

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Go."}]}
ROOT = Path(__file__).parents[2]


class Process:
    """A `pgv serve` of its own."""

    def __init__(self, critic: Path, upstream: str, folder: Path):
        self.folder = folder
        words = ["serve", str(critic), "--upstream", upstream, "--port", "0", "-n", "2"]
        search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgv_jax.cli.main", *words, "--log", str(folder)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": search},
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said.startswith("Serving on http://127.0.0.1:"), said
        self.client = httpx.Client(base_url=said.split()[-1], timeout=60)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(self) -> str:
        answer = self.client.post("/chat/completions", json=ASKED)
        assert answer.status_code == 200
        return answer.headers["x-pgv-request-id"]

    @property
    def logged(self) -> set[str]:
        texts = [file.read_text("utf-8") for file in self.folder.glob("decisions-*.jsonl")]
        lines = [line for text in texts for line in text.splitlines()]
        return {json.loads(line)["request_id"] for line in lines}


@pytest.mark.slow
def test_a_served_process(toy_critic, tmp_path):
    upstream = Upstream()
    upstream.script = lambda body: completion(message("walk"), message("run"))
    critic = shutil.copytree(toy_critic, tmp_path / "artifact")
    with running(upstream.app()) as address, Process(critic, address, tmp_path / "log") as first:
        answered = {first.ask() for _ in range(3)}
        # SIGHUP: a changed artifact is taken, and a damaged one is not.
        artifact.annotate(critic, "note", "new")
        os.kill(first.process.pid, signal.SIGHUP)
        while 'pgv_reloads_total{result="done"} 1.0' not in metrics(first):
            time.sleep(0.1)
        (critic / "manifest.json").write_text("{")
        os.kill(first.process.pid, signal.SIGHUP)
        while 'pgv_reloads_total{result="failed"} 1.0' not in metrics(first):
            time.sleep(0.1)
        answered.add(first.ask())
        # SIGTERM: what is under way ends.
        asked, release = threading.Event(), threading.Event()

        def slow(body):
            asked.set()
            release.wait(60)
            return completion(message("walk"), message("run"))

        upstream.script = slow
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(first.ask)
            asked.wait(60)
            first.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            release.set()
            answered.add(last.result())
        assert first.process.wait(60) == 0
        assert first.logged == answered


@pytest.mark.slow
def test_a_killed_process_has_logged_what_it_answered(toy_critic, tmp_path):
    upstream = Upstream()
    upstream.script = lambda body: completion(message("walk"), message("run"))
    log = tmp_path / "log"
    with running(upstream.app()) as address, Process(toy_critic, address, log) as killed:
        answered: list[str] = []

        def ask() -> None:
            while True:
                try:
                    answered.append(killed.ask())
                except httpx.TransportError:
                    return

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(ask)
            while len(answered) < 20:
                time.sleep(0.01)
            killed.process.kill()
        killed.process.wait(60)
        assert set(answered) <= killed.logged
        assert len(killed.logged) <= len(answered) + 4


def metrics(server: Process) -> str:
    address = str(server.client.base_url).removesuffix("/v1/")
    return httpx.get(f"{address}/metrics").text
