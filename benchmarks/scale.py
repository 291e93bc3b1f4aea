"""Tables that are larger than one likes to hold, and how speed grows with everything.

    python benchmarks/scale.py memory [--rows 1000000] [--dim 1024]
    python benchmarks/scale.py sweep [--rows 10000,1000000] [--dims 384,1024] ...
    python benchmarks/scale.py devices [--counts 1,2,4,8] [--processes 2]

``memory`` trains from a generated table once with the stream and once resident, each in a process
of its own, in turns, and prints updates a second and the most resident memory above what the
process had before it opened the table. ``sweep`` prints one JSON line for each combination of rows,
width, batch and goals: triples a second of the streamed learner. ``devices`` streams with so many
forced host devices, which share the machine's cores: it tells what spreading costs and not what
devices gain; the last line is of several processes. Files go to ``--folder`` and are removed.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from entry import begin

from pgv_jax.data.storage.array_files import new_vectors
from pgv_jax.data.table import FORMAT, SHARED, VERSION, Table
from pgv_jax.errors import PgvError

STEPS = 25
"""Steps of a generated episode; it has one row more."""
SHARDS = 8
TASKS = 50
CHUNK = 65536


def write_table(folder: Path, rows: int, dim: int, dtype: str) -> None:
    """A table of random vectors, a distinct observation a row; 64 thoughts a shard."""
    rng = np.random.default_rng(0)
    episodes = max(1, rows // SHARDS // (STEPS + 1))
    count = episodes * (STEPS + 1)
    thoughts = 64
    for s in range(SHARDS):
        part = folder / f"shard-{s:05d}"
        part.mkdir(parents=True)
        shape = (2 + thoughts + count, dim)
        vectors = new_vectors(part / "vectors.npy", dtype, shape)
        for start in range(0, len(vectors), CHUNK):
            size = min(CHUNK, len(vectors) - start)
            vectors[start : start + size] = rng.standard_normal((size, dim), np.float32) / dim**0.5
        last = np.arange(count) % (STEPS + 1) == STEPS
        note = 2 + thoughts + np.arange(count)
        arrays = {
            "row_obs": note,
            "row_note": note,
            "row_thought": np.where(last, -1, 2 + rng.integers(thoughts, size=count)),
            "row_episode": np.arange(count) // (STEPS + 1),
            "sentence_start": np.arange(count + 1),
            "sentence_ids": note,
            "episode_start": np.arange(episodes + 1) * (STEPS + 1),
            "episode_task": rng.integers(TASKS, size=episodes),
        }
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array.astype(np.int32))
        np.save(part / "episode_success.npy", rng.integers(2, size=episodes).astype(np.int8))
        np.save(part / "episode_terminal.npy", np.ones(episodes, np.int8))
    shared = {
        "tasks": rng.standard_normal((TASKS, dim), np.float32) / np.float32(dim**0.5),
        "mean": np.zeros((4, dim), np.float32),
        "scale": np.full(4, dim**-0.5, np.float32),
    }
    assert set(shared) == set(SHARED)
    for name, array in shared.items():
        np.save(folder / f"{name}.npy", array)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "shards": SHARDS,
        "dim": dim,
        "dtype": dtype,
        "checksums": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


@contextmanager
def table(folder: str | None, rows: int, dim: int, dtype: str = "float32") -> Iterator[Path]:
    """A generated table for as long as it is needed."""
    made = Path(tempfile.mkdtemp(dir=folder))
    try:
        write_table(made / "table", rows, dim, dtype)
        yield made / "table"
    finally:
        shutil.rmtree(made)


WORKER = """
import sys
sys.path[:0] = [{here!r}]
import json
from scale import train
print(json.dumps(train(**json.loads(sys.argv[1]))))
"""


def train(
    folder: str,
    feed: str,
    hidden: list[int],
    batch: int,
    goals: int,
    seconds: float,
    calls: int = 0,
    member: tuple[str, int, int] | None = None,
) -> dict[str, Any]:
    """Train for some seconds and say how fast and in how much memory; for a process of its own.

    Or for ``calls`` calls, where the processes of a run must do the same; ``member`` is the run's
    (address, number of processes, this one's).
    """
    import jax

    from pgv_jax.config import load_config
    from pgv_jax.learner import mesh as meshes
    from pgv_jax.learner.feed import make_feed
    from pgv_jax.learner.state import abstract_state, critic_spec, init_state, make_optimizer
    from pgv_jax.learner.step import make_update

    if member is not None:
        jax.distributed.initialize(*member)
    jax.jit(lambda x: x + 1)(1.0)  # the interpreter, JAX and its threads are there
    before = most_resident()
    opened = Table.open(folder, verify=False)
    config = load_config(
        None,
        [
            f"critic.hidden={hidden}",
            f"train.batch={batch}",
            f"train.goals={goals}",
            f"train.feed={feed}",
            "goals.form=note",
        ],
    )
    mesh = meshes.make_mesh(0, 1, len(opened.shards))
    spec = critic_spec(config.critic, config.objective, opened.manifest["dim"])
    optimizer = make_optimizer(config.train)
    abstract = abstract_state(spec, optimizer, mesh)
    update = make_update(spec, config.objective, config.train, optimizer, len(opened.shards))
    source = make_feed(opened, mesh, config, abstract, update)
    state, length = init_state(spec, optimizer, mesh, 0), 4
    for step in range(0, 2 * length, length):
        state, metrics = source.advance(state, step, length)
    jax.block_until_ready(metrics)
    step, begin, cpu = 2 * length, time.perf_counter(), time.process_time()
    while step // length - 2 < calls if calls else time.perf_counter() - begin < seconds:
        state, metrics = source.advance(state, step, length)
        jax.block_until_ready(metrics)
        step += length
    wall = time.perf_counter() - begin
    rate = (step - 2 * length) / wall
    after = most_resident()
    return {
        "devices": jax.device_count(),
        "updates_per_s": round(rate, 2),
        "triples_per_s": round(rate * batch * goals),
        "cpu_s_per_update": round((time.process_time() - cpu) / (rate * wall), 4),
        "resident_mb": (after - before) >> 10,
        "load": round(os.getloadavg()[0], 1),
    }


def most_resident() -> int:
    """KiB that were resident at most so far. Linux's ``ru_maxrss`` begins with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def begun(devices: int = 1, **options: Any) -> subprocess.Popen[str]:
    """``train`` in a process of its own, with so many forced host devices."""
    code = WORKER.format(here=str(Path(__file__).parent))
    forced = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    if devices > 1:
        environment["XLA_FLAGS"] = forced.strip()
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(options)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What ``train`` returned there."""
    said, _ = process.communicate()
    if process.returncode:
        raise PgvError(f"A process of the benchmark ended with status {process.returncode}.")
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    return told


def apart(devices: int = 1, **options: Any) -> dict[str, Any]:
    """``train`` in a process of its own."""
    return told_by(begun(devices, **options))


@click.group()
def main() -> None:
    """Measure large tables."""
    print(json.dumps({"python": platform.python_version(), "cpus": os.cpu_count()}), flush=True)


@main.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--dim", default=1024, show_default=True)
@click.option("--hidden", default="512,512,512", show_default=True)
@click.option("--batch", default=1024, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=15.0, show_default=True)
@click.option("--folder", type=click.Path(file_okay=False))
def memory(
    rows: int, dim: int, hidden: str, batch: int, rounds: int, seconds: float, folder: str | None
) -> None:
    """Stream and resident, in turns."""
    widths = [int(width) for width in hidden.split(",")]
    seen: dict[str, list[dict[str, Any]]] = {"stream": [], "resident": []}
    with table(folder, rows, dim) as made:
        for _ in range(rounds):
            for feed, told in seen.items():
                options: dict[str, Any] = {"hidden": widths, "batch": batch}
                options |= {"goals": 1, "seconds": seconds}
                told.append(apart(folder=str(made), feed=feed, **options))
                print(json.dumps({"feed": feed, **told[-1]}), flush=True)
    ratios = [
        stream["updates_per_s"] / resident["updates_per_s"]
        for stream, resident in zip(*seen.values(), strict=True)
    ]
    print(
        json.dumps(
            {
                "vectors_gb": round(rows * dim * 4 / 1e9, 2),
                "stream / resident": round(statistics.median(ratios), 3),
                "range": [round(min(ratios), 3), round(max(ratios), 3)],
                "stream_resident_mb": max(told["resident_mb"] for told in seen["stream"]),
            }
        )
    )


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    return [int(float(part)) for part in value.split(",")]


@main.command()
@click.option("--rows", default="1e4,1e5,1e6", show_default=True, callback=_numbers)
@click.option("--dims", default="384,1024,4096", show_default=True, callback=_numbers)
@click.option("--batches", default="256,4096,65536", show_default=True, callback=_numbers)
@click.option("--goals", default="1,4,16", show_default=True, callback=_numbers)
@click.option("--hidden", default="64,64", show_default=True, callback=_numbers)
@click.option("--dtype", default="float32", show_default=True, help="Of the table's vectors.")
@click.option("--most-gb", default=8.0, show_default=True, help="Larger tables are left out.")
@click.option(
    "--most-batch-gb", default=1.0, show_default=True, help="Larger batches, in float32, as well."
)
@click.option("--seconds", default=2.0, show_default=True)
@click.option("--folder", type=click.Path(file_okay=False))
def sweep(
    rows: list[int],
    dims: list[int],
    batches: list[int],
    goals: list[int],
    hidden: list[int],
    dtype: str,
    most_gb: float,
    most_batch_gb: float,
    seconds: float,
    folder: str | None,
) -> None:
    """The streamed learner over a grid."""
    width = 4 if dtype == "float32" else 2
    for count, dim in itertools.product(rows, dims):
        size = {"rows": count, "dim": dim, "table_gb": round(count * dim * width / 1e9, 2)}
        if size["table_gb"] > most_gb:
            print(json.dumps({**size, "left_out": "table above --most-gb"}), flush=True)
            continue
        with table(folder, count, dim, dtype) as made:
            for batch, per_step in itertools.product(batches, goals):
                case = {**size, "batch": batch, "goals": per_step}
                if per_step > batch // SHARDS:
                    continue
                # Observation, thought, next observation and goal, each a vector.
                if 4 * batch * dim * 4 > most_batch_gb * 1e9:
                    print(json.dumps({**case, "left_out": "above --most-batch-gb"}), flush=True)
                    continue
                options: dict[str, Any] = {"hidden": hidden, "batch": batch}
                options |= {"goals": per_step, "seconds": seconds}
                told = apart(folder=str(made), feed="stream", **options)
                print(json.dumps({**case, **told}), flush=True)


@main.command()
@click.option("--counts", default="1,2,4,8", show_default=True, callback=_numbers)
@click.option(
    "--processes", default=2, show_default=True, help="Of the last line; 1: no such line."
)
@click.option("--rows", default=10_000, show_default=True)
@click.option("--dim", default=384, show_default=True)
@click.option("--hidden", default="64,64", show_default=True, callback=_numbers)
@click.option("--batch", default=1024, show_default=True)
@click.option("--calls", default=10, show_default=True, help="Of four updates each, in each run.")
@click.option("--folder", type=click.Path(file_okay=False))
def devices(
    counts: list[int],
    processes: int,
    rows: int,
    dim: int,
    hidden: list[int],
    batch: int,
    calls: int,
    folder: str | None,
) -> None:
    """The streamed learner on forced host devices, and in several processes."""
    with table(folder, rows, dim) as made:
        options: dict[str, Any] = {"folder": str(made), "feed": "stream", "hidden": hidden}
        options |= {"batch": batch, "goals": 1, "seconds": 0.0, "calls": calls}
        for count in counts:
            print(json.dumps({"processes": 1, **apart(count, **options)}), flush=True)
        if processes > 1:
            with socket.socket() as held:
                held.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{held.getsockname()[1]}"
            members = [(address, processes, number) for number in range(processes)]
            running = [begun(1, member=member, **options) for member in members]
            told = [told_by(process) for process in running]
            print(json.dumps({"processes": processes, **told[0]}), flush=True)


if __name__ == "__main__":
    begin(main)
