"""One run in several processes, through the command line: the same run, and it ends as one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.compiled import environ_for

from . import chain
from .test_cluster import free_port

pytestmark = pytest.mark.slow

STEPS = 100
OPTIONS = (
    *chain.TINY,
    "data.encoder=hash:16",
    "train.scan=20",
    "train.log_every=10",
    "train.eval_every=50",
    "train.checkpoint_every=40",
)
PGV = [sys.executable, "-m", "pgv_jax.cli.main", "train"]


def begin(folder: Path, workdir: str, devices: int, *extra: str) -> subprocess.Popen[str]:
    """Start ``pgv train`` on forced host devices."""
    search = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [*PGV, "empty.yaml", *OPTIONS, *extra, "--workdir", workdir],
        cwd=folder,
        env=os.environ | environ_for(devices) | {"PYTHONPATH": search},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin_two(
    folder: Path, workdir: str, *extra: str, devices: int = 2
) -> list[subprocess.Popen[str]]:
    port = free_port()
    place = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process-id"]
    return [begin(folder, workdir, devices, *extra, *place, str(index)) for index in (0, 1)]


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate()
    return process.returncode, said


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    chain.dataset(folder / "data")
    (folder / "empty.yaml").write_text("data: {dataset: data}\n")
    return folder


def curve(workdir: Path) -> np.ndarray:
    told = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in told if "loss" in line] == list(range(10, STEPS + 1, 10))
    return np.asarray([line["loss"] for line in told if "loss" in line])


@pytest.fixture(scope="module")
def eight(folder) -> np.ndarray:
    """The run of one process with eight devices."""
    status, said = end(begin(folder, "eight", 8, f"train.steps={STEPS}"))
    assert status == 0, said
    return curve(folder / "eight")


def shards_read(process: subprocess.Popen[str]) -> set[str]:
    """The shards of whose vectors a process reads rows, as Linux tells.

    A mapping holds a file open, too, and a process maps all shards alike; who reads rows holds it
    once more.
    """
    held: Counter[str] = Counter()
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            file = Path(os.readlink(link))
            if file.match("train/*/vectors.npy"):
                held[file.parent.name] += 1
    return {shard for shard, times in held.items() if times > min(held.values())}


def test_two_processes_draw_the_same_learning_curve_as_one(folder, eight):
    both = begin_two(folder, "two", f"train.steps={STEPS}", devices=4)
    (status, said), (other, silent) = map(end, both)
    assert (status, other) == (0, 0), said + silent
    np.testing.assert_allclose(curve(folder / "two"), eight, rtol=1e-4)
    assert "pgv evaluate" in said and "pgv evaluate" not in silent
    assert (folder / "two" / "artifact" / "manifest.json").exists()
    # Only one of them writes.
    speeds = (folder / "two" / "speed.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in speeds][-1] == STEPS


def test_a_killed_process_ends_the_other_and_one_alone_goes_on(folder, eight):
    """Another topology continues from the last checkpoint; nothing of the curve changes.

    The two stream the table, which draws the same curve as a resident one; each reads the vectors
    of the shards that its devices hold, and of no others.
    """
    options = [f"train.steps={STEPS}", "train.feed=stream"]
    both = begin_two(folder, "killed", *options, "--worker-timeout", "30")
    checkpoints = folder / "killed" / "checkpoints"
    while not (checkpoints.exists() and any(p.name.isdigit() for p in checkpoints.iterdir())):
        assert all(process.poll() is None for process in both), [end(p) for p in both]
        time.sleep(0.05)
    if os.path.exists("/proc/self/fd"):
        read, names = [*map(shards_read, both)], [f"shard-{s:05d}" for s in range(8)]
        alive = all(process.poll() is None for process in both)
        assert not alive or read == [set(names[:4]), set(names[4:])]
    both[1].send_signal(signal.SIGKILL)
    status, said = end(both[0])
    end(both[1])
    if status == 0:
        pytest.skip("the run was over before the process was killed")
    assert status == 3, said
    (error,) = [line for line in said.splitlines() if line.startswith("Error:")]
    assert "another one" in error and "continue from the last checkpoint" in error
    assert not (folder / "killed" / "artifact").exists()
    status, said = end(begin(folder, "killed", 2, f"train.steps={STEPS}"))
    assert status == 0, said
    np.testing.assert_allclose(curve(folder / "killed"), eight, rtol=1e-4)


def test_one_that_is_interrupted_stops_both_after_saving(folder, eight):
    both = begin_two(folder, "stopped", "train.steps=100000")
    metrics = folder / "stopped" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert all(process.poll() is None for process in both), [end(p) for p in both]
        time.sleep(0.05)
    both[1].send_signal(signal.SIGTERM)
    ended = [end(process) for process in both]
    assert [status for status, _ in ended] == [130, 130], ended
    assert all("Run the same command again" in said for _, said in ended)
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert str(last) in os.listdir(folder / "stopped" / "checkpoints")
