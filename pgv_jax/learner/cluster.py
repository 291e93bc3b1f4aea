"""Many processes as one run: how they find each other, what they agree on, and how they end.

JAX joins the processes (hosts of a TPU pod, SLURM tasks, Kubernetes pods), carries what they agree
on, and notices one that is lost. Then it aborts the others from C++; here the abort becomes one
sentence and a status of its own. A run does everything after ``initialize`` in ``guarded``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.pool import ThreadPool
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from pgv_jax.errors import PgvError

log = logging.getLogger(__name__)
LOST = 3
"""Exit status of a process that leaves because another one is gone: start the run again."""
ECHO = re.compile(r"gloo|nccl|connection|barrier|heartbeat|unavailable|deadline|aborted", re.I)
"""In the message of an error that another process's death causes in this one."""
AGAIN = "Run the same command again, on any number of them, to continue from the last checkpoint."
WAIT_MS = 7 * 24 * 3600 * 1000
"""Longer than process 0 prepares data; its loss ends the waiting earlier."""

_SIGNAL_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_abort_handlers: list[object] = []  # the C library knows an address only: Python must not free it
_leaving = threading.Lock()
_barriers = itertools.count()


class AgreedStop(KeyboardInterrupt):
    """All processes stop here because one was asked to: an orderly end, and not a loss."""


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    worker_timeout: int = 100,
    start_timeout: int = 300,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Join the run that the arguments, a SLURM step or a TPU pod describe; nothing where none does.

    ``coordinator`` is process 0's ``host:port``; ``processes=1`` runs this process alone, whatever
    the environment says. ``worker_timeout``: seconds of silence after which JAX counts a process
    as lost; ``start_timeout``: seconds that all may take to come, or this process ends with a
    sentence. Call it before anything touches a device. Raises PgvError for what does not fit.
    """
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", "1"))
    slurm = tasks > 1 and "SLURM_STEP_NODELIST" in environ  # a batch script itself is no task
    # JAX sets this on import where it finds TPU chips and their library.
    tpu = environ.get("TPU_ML_PLATFORM") == "JAX" and "tpu" in environ.get("JAX_PLATFORMS", "tpu")
    asked = slurm or any(one is not None for one in (coordinator, processes, process_id))
    if processes == 1 or not (asked or tpu):
        return
    if process_id is None and asked and "JOB_COMPLETION_INDEX" in environ:
        process_id = int(environ["JOB_COMPLETION_INDEX"])  # of an indexed Kubernetes Job
    if coordinator is not None:
        _check_address(coordinator, process_id)
    devices = _own_devices(environ)
    # JAX's own handler would take SIGTERM from whoever saves a checkpoint then.
    jax.config.update("jax_enable_preemption_service", False)
    _on_abort(
        2,  # as after any wrong input
        f"Not all processes met at {coordinator or 'their first host'} within {start_timeout} s; "
        "is each running, with a --process-id of its own, and can it reach that address?",
    )
    try:
        jax.distributed.initialize(
            coordinator,
            tasks if slurm and processes is None else processes,
            process_id,
            local_device_ids=devices,
            initialization_timeout=start_timeout,
            heartbeat_timeout_seconds=worker_timeout,
            shutdown_timeout_seconds=WAIT_MS // 1000,
        )
        of, index = jax.process_count(), jax.process_index()
    except Exception as error:
        _on_abort(1, "JAX ended this process; the lines above say why.")
        if not asked and isinstance(error, ValueError):
            return  # a TPU host that no pod is described around
        raise PgvError(
            f"This process cannot join a run: {str(error).rstrip('.')}; give --coordinator "
            "HOST:PORT, --processes and a --process-id from 0, or --processes 1 to run it alone."
        ) from None
    _on_abort(
        LOST,
        f"JAX ended process {index} of {of}, most likely because another one is gone; the lines "
        f"above say which. {AGAIN}",
    )
    log.info("process %d of %d, with %d devices", index, of, jax.local_device_count())


def count() -> int:
    """How many processes the run has."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_writer() -> bool:
    """Whether this process writes what the run writes once: metrics, the artifact, the console."""
    return count() == 1 or jax.process_index() == 0


def from_writer(numbers: Mapping[str, float]) -> dict[str, float]:
    """Process 0's values, where each may have others: what a clock says, for one. Keys are shared.

    Call it once the devices are done, as ``any_process`` waits for it.
    """
    # As halves of float64, which JAX would round.
    halves = np.fromiter(numbers.values(), np.float64, len(numbers)).view(np.uint32)
    said = np.asarray(multihost_utils.broadcast_one_to_all(halves)).view(np.float64)
    return dict(zip(numbers, said.tolist(), strict=True))


def any_process(*flags: bool, after: Any) -> tuple[bool, ...]:
    """For each flag, whether any process raises it; the same answer everywhere.

    ``after`` holds the arrays of the program launched last, and is waited for: on CPUs, collectives
    of two programs at once may wait for each other's processes for ever.
    """
    if count() == 1:
        return flags
    jax.block_until_ready(after)
    return tuple(multihost_utils.process_allgather(np.array(flags)).any(0).tolist())


@contextlib.contextmanager
def writer_first() -> Iterator[None]:
    """Process 0 goes through the block alone; then the others, who find its work done.

    However long it takes: only a process that is gone ends the waiting.
    """
    if not is_writer():
        _meet()
    yield
    if is_writer() and count() > 1:
        _meet()


def _meet() -> None:
    """Wait until all processes are here, in a thread: a signal ends the waiting for it."""
    wait, name = multihost.get_barrier_sync_fn(), f"pgv {next(_barriers)}"
    with ThreadPool(1) as pool:  # a daemon, which may outlive the pool
        pool.apply(wait, kwds={"key": name, "timeout_ms": WAIT_MS})


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Everything of a run after ``initialize``: ends with the others, in good order or bad.

    Without an error, or with ``AgreedStop``, waits until all have come to the end. After an error
    this process ends at once, with its own status, and so the others lose it and end too. Where
    the error is another process's death, it ends with one sentence and the status ``LOST``.
    """
    try:
        yield
    except AgreedStop:
        jax.distributed.shutdown()  # waits for all
        raise
    except BaseException as error:
        if jax.distributed.is_initialized():
            _fail(error)
        raise
    jax.distributed.shutdown()


def echoes_loss(error: BaseException) -> bool:
    """Whether an error is what another process's death causes here; on CPUs, a ValueError."""
    kinds = (jax.errors.JaxRuntimeError, ValueError)
    return isinstance(error, kinds) and bool(ECHO.search(str(error)))


def _fail(error: BaseException) -> None:
    """See to it that this process ends; JAX's own shutdown at exit would wait for the others."""
    if echoes_loss(error):
        mine = f"Process {jax.process_index()} of {jax.process_count()}"
        _leave(LOST, f"{mine} lost another one ({' '.join(str(error).split())}). {AGAIN}")
    # The command line's convention (pgv_jax.cli.main).
    interrupted = isinstance(error, KeyboardInterrupt)
    status = 2 if isinstance(error, PgvError) else 130 if interrupted else 1
    atexit.register(_leave, status)
    late = threading.Timer(60, _leave, (status,))  # a thread that will not be joined
    late.daemon = True
    late.start()


def _leave(status: int, sentence: str = "") -> NoReturn:
    """End this process at once, whatever its threads wait for; the first caller says why."""
    _leaving.acquire()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if sentence:
        with contextlib.suppress(OSError):
            os.write(2, f"\nError: {sentence}\n".encode())
    os._exit(status)


def _on_abort(status: int, sentence: str) -> None:
    """Let the thread in which JAX's C++ aborts leave with a sentence.

    JAX has no public name for what it calls then, and Python's handlers would come too late.
    """
    handler = _SIGNAL_HANDLER(lambda number: _leave(status, sentence))
    _abort_handlers.append(handler)
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


def _check_address(coordinator: str, process_id: int | None) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise PgvError(f"--coordinator is '{coordinator}'; write process 0's HOST:PORT.")
    if process_id == 0:  # JAX may crash on a port that is taken
        try:
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise PgvError(f"Process 0 cannot open port {port} ({error}); name another.") from None


def _own_devices(environ: Mapping[str, str]) -> list[int]:
    """Share a node's GPUs out among its SLURM tasks; empty: all it sees. JAX would take one."""
    visible = [gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    tasks = re.match(r"\d+", environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    local = environ.get("SLURM_LOCALID", "")
    if len(visible) < 2 or not tasks or int(tasks[0]) < 2 or not local.isdecimal():
        return []
    share = len(visible) // int(tasks[0])
    if share == 0:
        raise PgvError(
            f"{tasks[0]} tasks share a node with {len(visible)} GPUs; use at most one task a GPU."
        )
    return list(range(int(local) * share, (int(local) + 1) * share))
