"""Two real processes, joined by JAX over loopback, in a loop of sums over both."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.learner import distributed
from pgv_jax.learner.line import open_door
from pgv_jax.learner.place import PORTS, Options
from tests.compiled import flags_for

WORKER = """
import signal, sys
from pgv_jax.errors import PgvError
from pgv_jax.learner import distributed
from pgv_jax.learner.place import Options

mode, index, port = sys.argv[1], int(sys.argv[2]), sys.argv[3]
me = distributed.initialize(Options(f"127.0.0.1:{port}", 2, index, worker_timeout=60.0))
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

def loop():
    n = jax.device_count()
    mesh = jax.make_mesh((n,), ("d",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("d"))
    total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))
    x = jax.make_array_from_callback((n,), split, lambda i: np.arange(n, dtype=np.float32)[i])
    step = 0
    while True:
        said = float(total(x))
        if step == 0:
            with distributed.writer_first():
                print("prepares", flush=True)
            print("gathered", distributed.gather([index, said]), distributed.from_writer(index),
                  distributed.any_process(index == 1, False), flush=True)
        if mode == "fail" and index == 1 and step == 3:
            raise PgvError("The disk is full.")
        if distributed.agree_to_stop(bool(asked)):
            print("stops at", step, "asked", len(asked), flush=True)
            raise KeyboardInterrupt
        step += 1

try:
    with distributed.guarded():
        loop()
except PgvError as error:
    sys.exit(2)
except KeyboardInterrupt:
    assert distributed.processes() == distributed.ALONE
    sys.exit(130)
"""


def free_ports() -> int:
    """A port that is free together with the next one."""
    while True:
        with open_door(0) as door:
            port = door.getsockname()[1]
            try:
                open_door(port + 1).close()
            except PgvError:
                continue
            return port


@contextmanager
def two(mode: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Both processes, from the moment on when each has come through the first step."""
    port = free_ports()
    search = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, mode, str(index), str(port)],
            env=os.environ | {"XLA_FLAGS": flags_for(2), "PYTHONPATH": search},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    try:
        for index, process in enumerate(both):
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("gathered"):
                    break
            assert said[-1:] == ["gathered [[0, 6.0], [1, 6.0]] 0 (True, False)\n"], (
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
        assert both[1 - victim].returncode == distributed.LOST
        assert f"Process {victim} of 2" in sentence and "is gone" in sentence
        assert f"So process {1 - victim} stops too." in sentence


@pytest.mark.slow
def test_when_one_fails_the_other_says_why():
    with two("fail") as both:
        (sentence,) = errors(both[0])
        assert "Process 1 of 2" in sentence and "failed: The disk is full." in sentence
        assert errors(both[1]) == []  # its own words are the command line's to say
        assert [process.returncode for process in both] == [distributed.LOST, 2]


@pytest.mark.slow
def test_one_that_is_asked_to_stop_stops_all_at_the_same_step():
    with two("run") as both:
        both[1].send_signal(signal.SIGTERM)
        said = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [130, 130], said
        (zero,), (one,) = (
            [line for line in out.splitlines() if line.startswith("stops at")] for out, _ in said
        )
        assert zero.endswith("asked 0") and one.endswith("asked 1")
        assert zero.split()[2] == one.split()[2]


def test_alone_everything_is_plain():
    assert distributed.initialize(Options(), {}) == distributed.Processes(0, 1)
    assert distributed.is_writer()
    assert distributed.gather("a") == ["a"]
    assert distributed.from_writer({"b": 1}) == {"b": 1}
    assert distributed.any_process(True, False) == (True, False)
    with distributed.writer_first():
        pass
    with pytest.raises(ValueError, match="x"), distributed.guarded():
        raise ValueError("x")


MEETING = """
import sys
import jax
from pgv_jax.learner import distributed

jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", 2, int(sys.argv[1]))
print("meets at", distributed._meeting_point(), flush=True)
jax.distributed.shutdown()
"""


def test_process_0_of_a_pod_tells_the_others_where_to_meet():
    with open_door(0) as door:
        port = str(door.getsockname()[1])
    search = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": search}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, str(index), port],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for index in range(2)
    ]
    said = [process.communicate()[0].splitlines() for process in both]
    (zero,), (one,) = ([line for line in lines if line.startswith("meets")] for lines in said)
    host, _, port = zero.removeprefix("meets at ").rpartition(":")
    assert zero == one and int(port) in PORTS
    socket.create_server((host, 0)).close()  # it is an address of this machine


def test_a_tpu_host_that_shall_run_alone_is_not_asked_about_its_pod():
    tpu = {"TPU_ML_PLATFORM": "JAX"}
    assert distributed.initialize(Options(processes=1), tpu) == distributed.ALONE
    cpu = tpu | {"JAX_PLATFORMS": "cpu"}
    assert distributed.initialize(Options(), cpu) == distributed.ALONE


def test_log_lines_name_the_process(caplog: pytest.LogCaptureFixture):
    plain = logging.getLogRecordFactory()
    try:
        distributed._name_log_lines(distributed.Processes(1, 4))
        logging.getLogger("any").warning("%d rows", 3)
    finally:
        logging.setLogRecordFactory(plain)
    assert caplog.messages == ["[process 1 of 4] 3 rows"]


@pytest.mark.parametrize(
    ("words", "echo"),
    [
        ("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:28582", True),
        ("INTERNAL: NCCL operation ncclGroupEnd() failed: unhandled system error", True),
        ("DEADLINE_EXCEEDED: Barrier timed out. Id: save", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes", False),
        ("index 3 is out of bounds for axis 0 with size 2", False),
    ],
)
def test_only_what_may_echo_anothers_death_waits_for_its_name(words: str, echo: bool):
    assert bool(distributed.COLLECTIVE.search(words)) == echo
