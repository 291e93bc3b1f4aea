"""Many processes as one run: who this one is, and what happens when another one dies.

A run of several processes (hosts of a TPU pod, SLURM tasks, Kubernetes pods) starts with
``initialize`` and does everything else inside ``guarded``::

    processes = initialize(Options())
    with guarded():
        ...

Then a process that is lost, whatever the cause, ends all the others with one sentence and status
``LOST``, also where they wait in a collective for ever. Alone, both do nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from pgv_jax import __version__
from pgv_jax.errors import PgvError
from pgv_jax.learner.line import open_door, own_address
from pgv_jax.learner.place import PORTS, Options, Place, place_of
from pgv_jax.learner.roll_call import Guest, Host, RollCall

log = logging.getLogger(__name__)

LOST = 3
"""Exit status of a process that leaves because another one is gone: start the run again."""

COLLECTIVE = re.compile(
    r"gloo|nccl|connection|peer|socket|barrier|heartbeat|unavailable|deadline|aborted", re.I
)
"""In the message of an error that may be nothing but the echo of another process's death."""


ECHO_SECONDS = 5.0
"""Longer than the watch needs, after its own time-out, to end this process."""


@dataclass(frozen=True)
class Processes:
    """This process's number, from 0, and how many there are."""

    index: int
    count: int


ALONE = Processes(0, 1)


@dataclass
class _Run:
    """What this process knows of its run."""

    processes: Processes = ALONE
    call: RollCall | None = None
    stopping: bool = False
    plain_records: Callable[..., logging.LogRecord] = logging.LogRecord


_run = _Run()


def initialize(options: Options, environ: Mapping[str, str] = os.environ) -> Processes:
    """Join the run that the flags or the environment describe; one process alone needs nothing.

    Call it before anything else touches a device. PgvErrors: flags that are incomplete or do not
    fit each other, a coordinator that is not reached and processes that do not come within
    ``options.start_timeout``, processes of other versions.
    """
    if _run.call is not None:
        raise PgvError(f"This process is already number {_run.processes.index} of a run.")
    place = place_of(options, environ)
    if place is not None:
        call = _call_roll(place, options)
        _join(place, options, call)
    elif options.processes is None and (place := _join_tpu(options, environ)) is not None:
        call = _call_roll(place, options)
    else:
        return _run.processes
    _run.call, _run.processes = call, Processes(place.index, place.count)
    _name_log_lines(_run.processes)
    log.info(
        "joined a run of %d processes with %d devices, %d of them here; coordinator %s",
        place.count,
        jax.device_count(),
        jax.local_device_count(),
        place.coordinator,
    )
    return _run.processes


def processes() -> Processes:
    """Who this process is; ``Processes(0, 1)`` alone."""
    return _run.processes


def is_writer() -> bool:
    """Whether this process writes what the run writes once: metrics, the artifact, the console."""
    return _run.processes.index == 0


def gather(value: Any) -> list[Any]:
    """Every process's ``value`` (JSON), in the order of processes; all must call it alike.

    Costs a round trip on the hosts' network and touches no device.
    """
    return [value] if _run.call is None else _run.call.gather(value)


def from_writer(value: Any) -> Any:
    """Process 0's ``value`` (JSON), where each may have another: what a clock says, for one."""
    return gather(value)[0]


def any_process(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether any process raises it; the same answer everywhere."""
    return tuple(map(any, zip(*gather(flags), strict=True)))


def agree_to_stop(asked: bool) -> bool:
    """Whether any process was asked to stop: all learn it in the same call, and then end alike.

    A KeyboardInterrupt that leaves ``guarded`` afterwards is an orderly end, and not a loss.
    """
    _run.stopping = any_process(asked)[0]
    return _run.stopping


@contextlib.contextmanager
def writer_first() -> Iterator[None]:
    """Process 0 goes through the block alone; then the others, who find its work done.

    However long it takes: only a process that is gone ends the waiting.
    """
    if not is_writer():
        gather("waits")
    yield
    if is_writer():
        gather("done")


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Everything of a run after ``initialize``: ends with the others, in good order or bad.

    Without an error, waits until all have come to the end. An error here is told to the others,
    who leave; an error that only echoes another process's death waits for the watch to say whose.
    """
    call = _run.call
    if call is None:
        yield
        return
    interrupt = None
    try:
        try:
            yield
        except KeyboardInterrupt as error:
            if not _run.stopping:
                raise
            interrupt = error
        call.gather("end", last=True)
    except BaseException as error:
        _fail(call, error)
        raise
    jax.distributed.shutdown()
    call.close()
    _on_abort(None)
    logging.setLogRecordFactory(_run.plain_records)
    _run.call, _run.processes, _run.stopping = None, ALONE, False
    if interrupt is not None:
        raise interrupt


def leave(sentence: str) -> NoReturn:
    """Say why and end this process at once, whatever its threads wait for."""
    mine = f"process {_run.processes.index}" if _run.call is not None else "this process"
    _exit(
        LOST,
        f"Error: {sentence} So {mine} stops too. Run the same command again, on as many processes "
        "as are left or more, to continue from the last checkpoint.",
    )


def _exit(status: int, sentence: str = "") -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if sentence:
        with contextlib.suppress(OSError):
            os.write(2, f"\n{sentence}\n".encode())
    os._exit(status)


def _fail(call: RollCall, error: BaseException) -> None:
    """Tell the others why this process ends, and see to it that it does end, with its own status.

    JAX's shutdown at exit waits for all processes and then aborts; so it is not reached.
    """
    words = " ".join(str(error).split())
    if not isinstance(error, PgvError) and COLLECTIVE.search(words):
        threading.Event().wait(call.timeout + ECHO_SECONDS)  # if so, the watch ends this process
    kind = "" if isinstance(error, PgvError) else type(error).__name__
    call.fail(": ".join(filter(None, (kind, words.rstrip(".")))) + ".")
    # The command line's convention (pgv_jax.cli.main).
    status = (
        2 if isinstance(error, PgvError) else 130 if isinstance(error, KeyboardInterrupt) else 1
    )
    atexit.register(_exit, status)
    late = threading.Timer(call.timeout, _exit, (status,))  # a thread that will not be joined
    late.daemon = True
    late.start()


def _call_roll(place: Place, options: Options) -> RollCall:
    """Wait until all have come; the port is the one after JAX's."""
    facts = {
        "processes": str(place.count),
        "pgv_jax": __version__,
        "jax": jax.__version__,
    }
    host, port = place.address
    times = (options.worker_timeout, options.start_timeout)
    if place.index == 0:
        with open_door(port):
            pass  # JAX 0.10 may crash on a port that is taken
        return Host(port + 1, place.count, facts, *times, leave)
    return Guest((host, port + 1), place.index, place.count, facts, *times, leave)


def _join(place: Place, options: Options, call: RollCall) -> None:
    """Start JAX's own coordination; all processes are known to be here."""
    if any(name.lower() in ("http_proxy", "https_proxy", "grpc_proxy") for name in os.environ):
        # A proxy is for the world outside; gRPC would ask it for the coordinator too.
        os.environ.update(no_grpc_proxy=place.address[0])
    _on_abort("sleep")
    seconds = options.start_timeout
    late = threading.Timer(
        seconds,
        leave,
        [
            f"All {place.count} processes are here, but JAX's coordination at {place.coordinator} "
            f"did not start within {seconds:g} s; is that port open between the hosts?"
        ],
    )
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.count,
            place.index,
            local_device_ids=place.devices,
            cluster_detection_method="deactivate",
            **_times(options),
        )
        jax.devices()  # the processes exchange their devices, and so wait for each other, here
    except Exception as error:
        words = " ".join(str(error).split())
        call.fail(f"{words.rstrip('.')}.")
        raise PgvError(
            f"JAX could not start process {place.index} of {place.count} at {place.coordinator}: "
            f"{words.rstrip('.')}."
        ) from None
    finally:
        late.cancel()


def _join_tpu(options: Options, environ: Mapping[str, str]) -> Place | None:
    """Let JAX find the pod that this TPU is part of, if there is more of it than this host."""
    # JAX sets the first on import where it finds TPU chips and their library.
    if environ.get("TPU_ML_PLATFORM") != "JAX" or "tpu" not in environ.get("JAX_PLATFORMS", "tpu"):
        return None
    try:
        jax.distributed.initialize(options.coordinator, **_times(options))
    except ValueError:
        return None  # no pod is described around this host
    except Exception as error:
        raise PgvError(
            f"JAX could not start from the TPU's own description of its pod: {error}. Give "
            "--coordinator, --processes and --process-id, or --processes 1 for this host alone."
        ) from None
    if jax.process_count() == 1:
        return None
    _on_abort("sleep")
    return Place(_meeting_point(), jax.process_index(), jax.process_count())


def _meeting_point() -> str:
    """``host:port`` of process 0 with two free ports, which it tells the others over the devices.

    JAX has joined them already, at an address for which it has no public name.
    """
    said = np.zeros(64, np.int32)
    if jax.process_index() == 0:
        words = f"{own_address()}:{_free_port()}".encode()
        said[: len(words)] = list(words)
    told = np.asarray(multihost_utils.broadcast_one_to_all(said))
    return bytes(told.astype(np.uint8)).rstrip(b"\0").decode()


def _free_port() -> int:
    for port in PORTS:
        with contextlib.suppress(PgvError), open_door(port), open_door(port + 1):
            return port
    raise PgvError(f"None of the ports {PORTS.start} to {PORTS.stop} of this machine is free.")


def _times(options: Options) -> dict[str, Any]:
    """JAX's own time-outs, behind ours: it aborts without a sentence."""
    # JAX's handler would take SIGTERM from whoever saves a checkpoint then.
    jax.config.update("jax_enable_preemption_service", False)
    return {
        "initialization_timeout": int(options.start_timeout * 2) + 60,
        "heartbeat_timeout_seconds": int(options.worker_timeout * 2) + 60,
        "shutdown_timeout_seconds": int(options.worker_timeout * 2) + 60,
    }


def _on_abort(function: str | None) -> None:
    """Let an aborting thread call ``function`` of the C library, with the signal's number: 6.

    When process 0 dies, JAX aborts the others from C++ within milliseconds. An aborting thread
    that sleeps for 6 s first leaves the watch the time to say why in a sentence. None undoes it.
    """
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal.restype = ctypes.c_void_p
    handler = ctypes.cast(getattr(library, function), ctypes.c_void_p) if function else None
    library.signal(signal.SIGABRT, handler)  # None: SIG_DFL


def _name_log_lines(processes: Processes) -> None:
    """Begin every record's message with this process's number, whoever handles it."""
    _run.plain_records = logging.getLogRecordFactory()

    def named(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = _run.plain_records(*args, **kwargs)
        record.msg = f"[process {processes.index} of {processes.count}] {record.msg}"
        return record

    logging.setLogRecordFactory(named)
