"""A run that is killed -9 again and again and resumed each time is the run that was not.

Moments are drawn over the whole life of a process: at start-up, between updates, while a checkpoint
is being saved and, in the long form, anywhere. The seed is printed; by hand, with another one:
``PGV_KILL_UPDATES=600 PGV_KILL_SEED=1 pytest tests/learner/test_kills.py -s``.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import chain
from .test_processes import begin, end

pytestmark = pytest.mark.slow

UPDATES = int(os.environ.get("PGV_KILL_UPDATES", "200"))
LONG = UPDATES > 200
SEED = int(os.environ.get("PGV_KILL_SEED", "0"))
OPTIONS = (
    f"train.steps={UPDATES}",
    "train.scan=5",
    "train.log_every=5",
    "train.eval_every=50",
    "train.checkpoint_every=20",
    "train.checkpoint_seconds=0.4",
)
KILLS = ("start-up", "updates", "save", *(("save", "anywhere") if LONG else ()))
"""In another order each time, but for the last, which may find the run at its end or over."""


@dataclass(frozen=True)
class Life:
    """A process from its start to its end, and how long the one that nothing killed took."""

    process: subprocess.Popen[str]
    workdir: Path
    whole: float
    start_up: float

    def ready(self, kind: str, rng: random.Random) -> Callable[[], bool]:
        """What to wait for before a kill of this kind."""
        begun, metrics = time.monotonic(), self.workdir / "metrics.jsonl"
        if kind == "start-up":  # at the latest when the metrics' file is opened
            after, before = rng.uniform(0, self.start_up), opened(metrics)
            return lambda: time.monotonic() - begun >= after or opened(metrics) != before
        if kind == "anywhere":
            after = rng.uniform(0, self.whole)
            return lambda: time.monotonic() - begun >= after
        if kind == "updates":
            lines, before = rng.randint(1, UPDATES // 50), told(metrics)
            return lambda: told(metrics) >= before + lines
        old = unfinished(self.workdir).keys()
        return lambda: bool(unfinished(self.workdir).keys() - old)

    def kill(self, kind: str, rng: random.Random) -> bool:
        """Kill it at a moment of this kind; False if it came to its own end before."""
        ready = self.ready(kind, rng)
        while not ready():
            if self.process.poll() is not None:
                return False
            time.sleep(0.001)
        if kind in ("updates", "save"):
            time.sleep(rng.uniform(0, 0.03))
        self.process.kill()
        return self.process.wait() == -9


def opened(metrics: Path) -> int:
    return metrics.stat().st_ino if metrics.exists() else 0


def told(metrics: Path) -> int:
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def unfinished(workdir: Path) -> dict[int, str]:
    """Checkpoints that are being written, or never were to their end: inode, name."""
    try:
        found = [p for p in (workdir / "checkpoints").iterdir() if "tmp" in p.name]
        return {path.stat().st_ino: path.name for path in found}
    except FileNotFoundError:  # the folder is not there yet, or one has just got its name
        return {}


class Series:
    """The run that nothing interrupts, and how to kill others like it."""

    def __init__(self, folder: Path):
        chain.dataset(folder / "data")
        (folder / "empty.yaml").write_text("data: {dataset: data}\n")
        self._folder, self._begun = folder, time.monotonic()
        straight = begin(folder, "straight", 1, *OPTIONS)
        while not told(folder / "straight" / "metrics.jsonl") and straight.poll() is None:
            time.sleep(0.01)
        self._start_up = time.monotonic() - self._begun
        status, said = end(straight)
        assert status == 0, said
        self._whole = time.monotonic() - self._begun
        self.straight = folder / "straight"

    def __call__(self, name: str, kills: tuple[str, ...], devices: list[int]) -> Path:
        """Kill lives on ``devices[0]``, ``devices[1]``, ... and let the one after them end."""
        rng = random.Random(f"{SEED} {name}")
        workdir = self._folder / name
        waiting = [*rng.sample(kills[:-1], len(kills) - 1), kills[-1]]
        while waiting:
            process = begin(self._folder, name, devices[len(kills) - len(waiting)], *OPTIONS)
            kind = waiting[0]
            killed = Life(process, workdir, self._whole, self._start_up).kill(kind, rng)
            _, said = end(process)
            metrics, torn = told(workdir / "metrics.jsonl"), unfinished(workdir).values()
            print(
                f"seed {SEED} {name} {kind}: killed {killed}, {metrics} lines, unfinished {[*torn]}"
            )
            assert killed or process.returncode == 0, said
            if killed:
                waiting.pop(0)
            else:  # it ended first: a run that is over can be killed at its start-up
                waiting[0] = "start-up"
        status, said = end(begin(self._folder, name, devices[-1], *OPTIONS))
        assert status == 0, said
        return workdir


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Series:
    return Series(tmp_path_factory.mktemp("kills"))


def test_killed_again_and_again_it_is_to_the_bit_the_run_that_was_not(series):
    workdir = series("same", KILLS, [1] * (len(KILLS) + 1))
    for name in ("metrics.jsonl", "artifact/params.safetensors", "artifact/manifest.json"):
        assert (workdir / name).read_bytes() == (series.straight / name).read_bytes(), name
    assert files(workdir) == files(series.straight)
    speeds = [line["step"] for line in lines(workdir / "speed.jsonl")]
    assert speeds == list(range(5, UPDATES + 1, 5))


def test_resumed_once_on_two_devices_it_ends_with_the_same_losses(series):
    kills = KILLS if LONG else ("updates",)
    devices = [1] * (len(kills) + 1)
    devices[random.Random(SEED).randrange(1, len(devices))] = 2
    workdir = series("moved", kills, devices)
    np.testing.assert_allclose(losses(workdir), losses(series.straight), rtol=1e-4)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(workdir: Path) -> set[str]:
    """What lies in a folder, but for which checkpoints a clock had kept."""
    paths = {str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()}
    steps = {path.split("/")[1] for path in paths if path.startswith("checkpoints/")}
    assert str(UPDATES) in steps and len(steps) == 2, steps
    return {path for path in paths if not path.startswith("checkpoints/")}


def losses(workdir: Path) -> np.ndarray:
    curve = [line for line in lines(workdir / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in curve] == list(range(5, UPDATES + 1, 5))
    return np.asarray([[line[name] for name in ("loss", "q_loss", "v_loss")] for line in curve])
