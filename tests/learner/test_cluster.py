"""Two real processes, joined by JAX over loopback; and what JAX is told by flags and launchers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import pytest
from click.testing import CliRunner

from pgv_jax.cli.commands.train import train
from pgv_jax.errors import PgvError
from pgv_jax.learner import cluster
from tests.compiled import environ_for
from tests.conftest import RunPython

WORKER = """
import signal, sys
from pgv_jax.errors import PgvError
from pgv_jax.learner import cluster

mode, index, port, waits = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
try:
    place = () if mode == "slurm" else (f"127.0.0.1:{port}", 2, index)
    cluster.initialize(*place, worker_timeout=60, start_timeout=waits)
except PgvError as error:
    sys.exit(f"Error: {error}")

asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

def loop():
    step = 0
    while True:
        if step == 0:
            with cluster.writer_first():
                print("prepares", flush=True)
            third = cluster.from_writer({"b": (index + 1) / 3, "a": 2.0})
            print("agreed", third, cluster.any_process(index == 1, False, after=()), flush=True)
        if mode == "fail" and index == 1 and step == 3:
            raise PgvError("The disk is full.")
        (stop,) = cluster.any_process(bool(asked), after=())
        if stop:
            print("stops at", step, "asked", len(asked), flush=True)
            raise cluster.AgreedStop
        step += 1

try:
    with cluster.guarded():
        loop()
except PgvError as error:
    sys.exit(2)
except KeyboardInterrupt:
    assert cluster.count() == 1
    sys.exit(130)
"""


def free_port() -> int:
    """A free port of those in which JAX meets in SLURM: 61440 and a job's number below 4096."""
    for port in range(61440 + os.getpid() % 2048, 65536):
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


def worker(
    mode: str, index: int, port: int, waits: int = 300, **environ: str
) -> subprocess.Popen[str]:
    search = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, mode, str(index), str(port), str(waits)],
        env=os.environ | environ_for(2) | {"PYTHONPATH": search} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def task(index: int, port: int) -> dict[str, str]:
    """What srun tells a task of two on one node."""
    return {
        "SLURM_JOB_ID": str(4096 * 7 + port - 61440),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }


@contextmanager
def two(mode: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Both processes, from the moment on when each has come through the first step."""
    port = free_port()
    both = [
        worker(mode, index, port, **(task(index, port) if mode == "slurm" else {}))
        for index in (0, 1)
    ]
    try:
        for index, process in enumerate(both):
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("agreed"):
                    break
            assert said[-1:] == [f"agreed {{'b': {1 / 3}, 'a': 2.0}} (True, False)\n"], (
                index,
                said,
                process.stderr and process.stderr.read(),
            )
        yield both
    finally:
        for process in both:
            process.kill()
            process.communicate()


def errors(process: subprocess.Popen[str]) -> list[str]:
    _, stderr = process.communicate()
    return [line for line in stderr.splitlines() if line.startswith("Error:")]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_the_other_says_so_and_ends(victim: int):
    with two("run") as both:
        both[victim].send_signal(signal.SIGKILL)
        (sentence,) = errors(both[1 - victim])
        assert both[1 - victim].returncode == cluster.LOST
        # What notices it first decides: the collective that breaks, or JAX's watch.
        assert (
            f"Process {1 - victim} of 2 lost another one" in sentence
            or f"JAX ended process {1 - victim} of 2, most likely because another" in sentence
        )
        assert "Run the same command again" in sentence


@pytest.mark.slow
def test_when_one_fails_the_other_ends_too():
    with two("fail") as both:
        (sentence,) = errors(both[0])
        assert "another one" in sentence
        assert errors(both[1]) == []  # its own words are the command line's to say
        assert [process.returncode for process in both] == [cluster.LOST, 2]


@pytest.mark.slow
def test_one_that_is_asked_to_stop_stops_all_at_the_same_step():
    """Here as two tasks of a SLURM step, which JAX finds by itself."""
    with two("slurm") as both:
        both[1].send_signal(signal.SIGTERM)
        said = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [130, 130], said
        (zero,), (one,) = (
            [line for line in out.splitlines() if line.startswith("stops at")] for out, _ in said
        )
        assert zero.endswith("asked 0") and one.endswith("asked 1")
        assert zero.split()[2] == one.split()[2]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_one_whose_others_do_not_come_says_so(index: int):
    port = free_port()
    alone = worker("run", index, port, waits=2)
    (sentence,) = errors(alone)
    assert f"Not all processes met at 127.0.0.1:{port} within 2 s" in sentence
    assert alone.returncode == 2


def test_alone_everything_is_plain():
    cluster.initialize(environ={})
    assert cluster.is_writer() and cluster.count() == 1
    assert cluster.from_writer({"b": 1.5}) == {"b": 1.5}
    assert cluster.any_process(True, False, after=()) == (True, False)
    with cluster.writer_first():
        pass
    with pytest.raises(ValueError, match="x"), cluster.guarded():
        raise ValueError("x")


@pytest.mark.usefixtures("own_signals")
def test_a_signal_ends_the_waiting_for_the_writer(monkeypatch: pytest.MonkeyPatch):
    done = threading.Event()
    monkeypatch.setattr(cluster, "is_writer", lambda: False)
    monkeypatch.setattr(
        cluster.multihost, "get_barrier_sync_fn", lambda: lambda key, timeout_ms: done.wait(60)
    )
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    begin, came = time.monotonic(), []
    with pytest.raises(KeyboardInterrupt), cluster.writer_first():
        came.append("through")
    assert came == [] and time.monotonic() - begin < 30
    done.set()


SLURM = {
    "SLURM_STEP_NODELIST": "n[03-05,9],m1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x4)",
}
TPU = {"TPU_ML_PLATFORM": "JAX"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What JAX is told: coordinator, processes, process_id, devices. It joins nothing."""
    calls: list[tuple[Any, ...]] = []

    def initialize(*place: Any, local_device_ids: list[int], **times: int) -> None:
        calls.append((*place, local_device_ids))
        raise ValueError("nothing joins here.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    # Never set here: the handlers of a test's own process stay.
    monkeypatch.setattr(cluster, "_on_abort", lambda *_: None)
    return calls


@pytest.mark.parametrize(
    ("place", "environ", "expected"),
    [
        ({"coordinator": "a:1", "processes": 4, "process_id": 2}, SLURM, ("a:1", 4, 2, [])),
        ({}, SLURM, (None, 8, None, [])),
        ({"coordinator": "n04:999"}, SLURM, ("n04:999", 8, None, [])),
        ({}, SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (None, 8, None, [2, 3])),
        ({}, SLURM | {"CUDA_VISIBLE_DEVICES": "3"}, (None, 8, None, [])),
        (
            {},
            SLURM | {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "1(x8)"},
            (None, 8, None, []),
        ),
        (
            {"coordinator": "run-0.run:5000", "processes": 3},
            {"JOB_COMPLETION_INDEX": "2"},
            ("run-0.run:5000", 3, 2, []),
        ),
    ],
)
def test_jax_is_told_what_flags_and_launchers_say(
    told: list[Any], place: dict[str, Any], environ: Mapping[str, str], expected: tuple[Any, ...]
):
    with pytest.raises(PgvError, match=r"cannot join a run: nothing joins here; give --coordin"):
        cluster.initialize(**place, environ=environ)
    assert told == [expected]


@pytest.mark.parametrize(
    ("place", "environ"),
    [
        ({}, {}),
        ({"processes": 1}, SLURM | TPU),
        ({}, {"JOB_COMPLETION_INDEX": "3"}),  # every indexed Job has one
        ({}, {"SLURM_STEP_NUM_TASKS": "8"}),  # a batch script
        ({}, SLURM | {"SLURM_STEP_NUM_TASKS": "1"}),
        ({}, TPU | {"JAX_PLATFORMS": "cpu"}),
    ],
)
def test_a_process_that_nobody_describes_a_run_to_is_alone(
    told: list[Any], place: dict[str, Any], environ: Mapping[str, str]
):
    cluster.initialize(**place, environ=environ)
    assert told == [] and cluster.count() == 1


def test_a_tpu_host_without_a_pod_is_alone(told: list[Any]):
    cluster.initialize(environ=TPU)
    assert told == [(None, None, None, [])]


@pytest.mark.parametrize(
    ("place", "environ", "words"),
    [
        ({"coordinator": "a", "processes": 2, "process_id": 1}, {}, "is 'a'; write .* HOST:PORT"),
        ({"coordinator": "a:70000", "process_id": 0}, {}, "is 'a:70000'; write"),
        (
            {},
            SLURM | {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "3"},
            "3 tasks share a node with 2 GPUs",
        ),
    ],
)
def test_what_does_not_fit_is_said(place: dict[str, Any], environ: dict[str, str], words: str):
    with pytest.raises(PgvError, match=words):
        cluster.initialize(**place, environ=environ)


def test_what_jax_misses_is_said(run_python: RunPython):
    """JAX looks at a place before it connects to anything, in a process that is still untouched."""
    said = run_python("""
from pgv_jax.errors import PgvError
from pgv_jax.learner import cluster
for place in [(None, 2, 0), ("a:1", None, 1), ("a:1", 2, None), ("a:1", 2, 2)]:
    try:
        cluster.initialize(*place)
    except PgvError as error:
        print(error)
""").stdout
    wants = ("coordinator_address", "Number of processes", "process id of the current", "id=2, num")
    for sentence, missing in zip(said.splitlines(), wants, strict=True):
        assert sentence.startswith("This process cannot join a run: ") and missing in sentence
        assert "; give --coordinator HOST:PORT, --processes and a --process-id from" in sentence


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as door:
        taken = door.getsockname()[1]
        with pytest.raises(PgvError, match=f"cannot open port {taken} .*; name another"):
            cluster.initialize(f"127.0.0.1:{taken}", 2, 0)


def test_the_command_reads_jax_s_own_variables(monkeypatch: pytest.MonkeyPatch):
    given: dict[str, Any] = {}
    monkeypatch.setattr("pgv_jax.cli.commands.train._train", lambda *args: given.update(args[-1]))
    environ = {
        "JAX_COORDINATOR_ADDRESS": "run-0.run:5000",
        "JAX_NUM_PROCESSES": "3",
        "JAX_PROCESS_ID": "1",
    }
    done = CliRunner().invoke(train, ["gc_iql", "--process-id", "2"], env=environ)
    assert done.exit_code == 0, done.output
    assert given == {
        "coordinator": "run-0.run:5000",
        "processes": 3,
        "process_id": 2,
        "worker_timeout": 100,
        "start_timeout": 300,
    }
    wrong = CliRunner().invoke(train, ["gc_iql"], env=environ | {"JAX_NUM_PROCESSES": "two"})
    assert wrong.exit_code == 2 and "'two' is not a valid integer" in wrong.output


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer"), True),
        (jax.errors.JaxRuntimeError("INTERNAL: NCCL operation ncclGroupEnd() failed"), True),
        (jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: save"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1"), False),
        (ConnectionError("The encoder's server hung up: connection reset"), False),
        (PgvError("The connection to the encoder's server is lost."), False),
    ],
)
def test_only_what_a_lost_process_causes_is_said_to_be_one(error: Exception, lost: bool):
    assert cluster.echoes_loss(error) == lost
