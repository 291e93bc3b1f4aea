"""Where a process stands in its run, read from flags and from what its launcher has set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pgv_jax.errors import PgvError

SOURCES = {
    # Flags come first, then these variables, in this order.
    "coordinator": ("--coordinator", ("JAX_COORDINATOR_ADDRESS",)),
    "processes": ("--processes", ("JAX_NUM_PROCESSES",)),
    "process_id": ("--process-id", ("JAX_PROCESS_ID", "JOB_COMPLETION_INDEX")),
}
PORTS = range(61440, 65534, 2)
"""Where a SLURM job's two ports are, outside of the ports that Linux hands out by itself."""


@dataclass(frozen=True)
class Options:
    """What the flags say; None is for the environment to say. Times in seconds.

    ``worker_timeout``: silence after which a process counts as dead. ``start_timeout``: how long
    all may take to come. ``processes=1`` runs this process alone, whatever the environment says.
    """

    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    worker_timeout: float = 100.0
    start_timeout: float = 300.0


@dataclass(frozen=True)
class Place:
    """The ``index``-th of ``count`` processes that meet at ``coordinator`` (``host:port``).

    ``devices`` are the numbers of the accelerators that are this process's; None: all it sees.
    """

    coordinator: str
    index: int
    count: int
    devices: tuple[int, ...] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The coordinator's host and port."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def place_of(options: Options, environ: Mapping[str, str]) -> Place | None:
    """Find this process's place, or None for a process that is alone.

    Flags, then JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (or an indexed
    Kubernetes Job's JOB_COMPLETION_INDEX), then a SLURM step's own variables. Raises PgvError for
    what is missing, malformed or out of range.
    """
    if options.worker_timeout <= 0 or options.start_timeout <= 0:
        raise PgvError(
            f"The time-outs must be positive; --worker-timeout is {options.worker_timeout:g} s and "
            f"--start-timeout {options.start_timeout:g} s."
        )
    if options.processes == 1:
        return None
    given = {
        "coordinator": options.coordinator,
        "processes": options.processes,
        "process_id": options.process_id,
    }
    asked = any(value is not None for value in given.values())
    for key, (_, variables) in SOURCES.items():
        for variable in variables:
            if given[key] is None and environ.get(variable):
                given[key] = environ[variable]
                asked |= variable.startswith("JAX_")  # every indexed Job has an index
    slurm = _slurm_step(environ)
    if not asked and slurm is None:
        return None
    for key, value in (slurm or {}).items():
        given[key] = value if given[key] is None else given[key]
    if given["processes"] is not None and _whole("processes", given["processes"]) == 1:
        return None
    missing = [key for key, value in given.items() if value is None]
    if missing:
        raise PgvError(_incomplete(missing))
    count = _whole("processes", given["processes"])
    index = _whole("process_id", given["process_id"])
    if not 0 <= index < count:
        raise PgvError(
            f"Process number {index} is not one of {count} processes; they count from 0, so use "
            f"--process-id 0 to {count - 1}."
        )
    return Place(_address(str(given["coordinator"])), index, count, _own_devices(environ))


def _incomplete(missing: list[str]) -> str:
    ways = [f"{flag} (or {variables[0]})" for flag, variables in map(SOURCES.get, missing)]  # type: ignore[misc]
    return (
        f"A run of several processes needs a coordinator, a number of processes and each one's "
        f"number; add {' and '.join(ways)}, or --processes 1 to run this process alone."
    )


def _whole(key: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        flag, variables = SOURCES[key]
        raise PgvError(
            f"{flag} (or {' or '.join(variables)}) is '{value}', which is not a whole number."
        ) from None


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    # The port after it is used too.
    if not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise PgvError(
            f"The coordinator's address is '{text}'; write process 0's HOST:PORT, with PORT below "
            "65535."
        )
    return text


def _slurm_step(environ: Mapping[str, str]) -> dict[str, str] | None:
    """What ``srun`` tells a task; nothing in a batch script itself, which is no task."""
    nodes, tasks = environ.get("SLURM_STEP_NODELIST"), environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not nodes or not tasks.isdecimal() or int(tasks) < 2:
        return None
    found = {"processes": tasks, "process_id": environ.get("SLURM_PROCID", "")}
    job = environ.get("SLURM_JOB_ID", "0")
    port = PORTS[int(job) % len(PORTS)] if job.isdecimal() else PORTS[0]
    return {"coordinator": f"{_first_node(nodes)}:{port}", **found}


def _first_node(nodes: str) -> str:
    """``node03`` of ``node[03-07,12],other1``; suffixes after the brackets are kept."""
    match = re.match(r"([^,\[]+)(?:\[([^,\-\]]+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


def _own_devices(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Share a node's GPUs out among its SLURM tasks, where SLURM itself has not bound them.

    A task that sees one GPU, or is alone on its node, takes what it sees.
    """
    visible = [gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    tasks = re.match(r"\d+", environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    local = environ.get("SLURM_LOCALID", "")
    if len(visible) < 2 or not tasks or int(tasks[0]) < 2 or not local.isdecimal():
        return None
    share = len(visible) // int(tasks[0])
    if share == 0:
        raise PgvError(
            f"{tasks[0]} tasks share a node with {len(visible)} GPUs; use at most one task a GPU."
        )
    return tuple(range(int(local) * share, (int(local) + 1) * share))
