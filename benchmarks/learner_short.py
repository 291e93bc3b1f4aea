"""``learner.py --accelerator --short``: what a lent accelerator is asked in at most six minutes.

The update as it trains, in float32 and bfloat16: the direct critic, the critic that imagines (with
its loss over sentences) and 16 goals a step, at a small and a large batch; OGBench's loop beside
the first of each. For each: updates and transitions a second, seconds to compile, kernels and gaps
from a trace, and how long the update's matrix products take by themselves. What no time is left
for is named. All in one process, so on a CPU the numbers mean little; there it is a test.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jax
from learner import RIVALS, Case, config_of, generated, ours, timed

from pgv_jax.critic.heads import Compute, CriticSpec, multiply
from pgv_jax.data.table import Table
from pgv_jax.files import write_json
from pgv_jax.learner.speed import flops_per_update, gemm_rate
from pgv_jax.learner.state import critic_spec


@dataclass(frozen=True)
class Sizes:
    """How large and how long: those of the question, or those of its test.

    ``copies`` of a product are one call, each of matrices of its own: XLA joins those that share
    one.
    """

    dim: int = 384
    hidden: tuple[int, ...] = (512, 512, 512)
    batches: tuple[int, ...] = (1024, 16384)
    goals: int = 16
    rows: int = 10_000
    updates: int = 100
    host_updates: int = 10
    rounds: int = 3
    seconds: float = 0.5
    copies: int = 16
    kinds: tuple[Compute, ...] = ("bfloat16", "float32")


TINY = Sizes(16, (8, 8), (16,), 2, 416, 4, 2, 2, 0.0, 1, ("bfloat16",))
"""For a test: everything happens once, and no number means anything."""


def cases_of(sizes: Sizes) -> list[Case]:
    """The cases, the most wanted first."""
    first, *_ = sizes.kinds
    small, large = sizes.batches[0], sizes.batches[-1]

    def case(batch: int, compute: str, q: str = "direct", goals: int = 1) -> Case:
        # The rival's arithmetic is the device's own choice, so it stands beside one of ours.
        against = ("host",) if (q, goals, compute) == ("direct", 1, first) else ()
        return Case(sizes.dim, sizes.hidden, batch, goals, compute, against=against, q=q)

    wanted = [case(batch, compute) for batch in sizes.batches for compute in sizes.kinds]
    for compute in sizes.kinds:
        wanted += [case(small, compute, "imagined"), case(small, compute, goals=sizes.goals)]
        wanted.append(case(large, compute, "imagined"))
    return list(dict.fromkeys(wanted))


# -- the matrix products by themselves -------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """``times`` products of [rows, inner] with [inner, columns] by each of ``members``."""

    members: int
    rows: int
    inner: int
    columns: int
    times: int

    @property
    def flops(self) -> int:
        """Floating-point operations of one."""
        return 2 * self.members * self.rows * self.inner * self.columns


def products_of(spec: CriticSpec, batch: int, goals: int) -> list[Product]:
    """The large products of an update, as ``speed.flops_per_update`` counts them.

    Left out: those of distinct tasks and of the last layer. A gradient's product counts as the
    forward one of the same three sizes.
    """
    width, triples = spec.hidden[0], batch * goals
    found = [
        # Q: forward, its slow copy's, the kernel's gradient. V's step: at s, at s', gradient.
        Product(1, batch, 2 * spec.dim, spec.ensemble * width, 3),
        Product(1, batch, spec.dim, spec.ensemble * width, 3),
        Product(1, batch, spec.dim, width, 3),
        Product(1, batch, spec.dim, width, 2),  # V's goals, once for s and s'
    ]
    for inner, columns in zip(spec.hidden, spec.hidden[1:], strict=False):
        # Two forward, two gradients: of the kernel and of the input.
        found.append(Product(spec.ensemble, triples, inner, columns, 4))
        found.append(Product(1, triples, inner, columns, 4))
    return found


def product_seconds(product: Product, compute: Compute, sizes: Sizes) -> float:
    """Seconds of one product, of calls of ``sizes.copies`` that are queued."""
    p, copies = product, sizes.copies

    def call(x_NERH: jax.Array, kernel_NEHK: jax.Array) -> list[jax.Array]:
        pairs = zip(x_NERH, kernel_NEHK, strict=True)
        return [multiply("erh,ehk->erk", x, kernel, compute) for x, kernel in pairs]

    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (copies, p.members, p.rows, p.inner))
    kernel = jax.random.normal(keys[1], (copies, p.members, p.inner, p.columns))
    run = jax.jit(call)
    jax.block_until_ready(run(x, kernel))
    seconds = []
    for _ in range(sizes.rounds):
        begin = time.perf_counter()
        jax.block_until_ready([run(x, kernel) for _ in range(2)][-1])
        seconds.append((time.perf_counter() - begin) / (2 * copies))
    return min(seconds)


# -- a trace ---------------------------------------------------------------------------------------


def traced(run: Callable[[], None], updates: int) -> dict[str, float] | None:
    """Kernels an update and how busy the device is, of one call; None where no device tells."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (file,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(file)).planes
        spans = sorted(
            (event.start_ns, event.start_ns + event.duration_ns)
            for plane in planes
            if plane.name.startswith("/device:") and "CUSTOM" not in plane.name
            for line in plane.lines
            if line.name.startswith(("Stream", "XLA Ops"))
            for event in line.events
        )
    return summary(spans, updates) if spans else None


def summary(spans: list[tuple[float, float]], updates: int) -> dict[str, float]:
    """What sorted spans [ns] of kernels say of ``updates`` updates; overlaps count once."""
    begin, end = spans[0][0], spans[0][0]
    busy = 0.0
    for first, last in spans:
        busy += max(0.0, last - max(first, end))
        end = max(end, last)
    return {
        "kernels_per_update": round(len(spans) / updates, 1),
        "busy_us_per_update": round(busy / 1e3 / updates, 2),
        "gaps_us_per_update": round((end - begin - busy) / 1e3 / updates, 2),
    }


# -- the run ---------------------------------------------------------------------------------------


def learner(name: str, table: Table, case: Case, updates: int) -> Callable[[], None]:
    """Ours, or a rival, of so many updates a call."""
    config = config_of(case)
    if name == "ours":
        return ours(table, config, updates)
    return RIVALS[name](table, case, config, updates)


def measure(case: Case, table: Table, sizes: Sizes) -> dict[str, Any]:
    """One case: compile, take turns with its rival, and trace."""
    begin = time.perf_counter()
    lengths = {"ours": sizes.updates} | dict.fromkeys(case.against, sizes.host_updates)
    learners = {name: learner(name, table, case, length) for name, length in lengths.items()}
    learners["ours"]()
    compiled = time.perf_counter() - begin
    for name in case.against:
        learners[name]()
    seen: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(sizes.rounds):
        for name, run in learners.items():
            seen[name].append(lengths[name] / timed(run, sizes.seconds)[0])
    rate = median(seen["ours"])
    told: dict[str, Any] = {
        "case": case.name,
        "updates_per_s": round(rate, 2),
        "range": [round(min(seen["ours"]), 2), round(max(seen["ours"]), 2)],
        "transitions_per_s": round(case.batch * rate),
        "triples_per_s": round(case.batch * case.goals * rate),
        "compile_s": round(compiled, 1),
        "trace": traced(learners["ours"], sizes.updates),
    }
    for name in case.against:
        ratios = [mine / its for mine, its in zip(seen["ours"], seen[name], strict=True)]
        told[name] = {
            "updates_per_s": round(median(seen[name]), 2),
            "ours_over_it": round(median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return told


def products(case: Case, sizes: Sizes) -> dict[str, Any]:
    """Microseconds of an update's products by themselves, and each one's rate."""
    config = config_of(case)
    spec = critic_spec(config.critic, config.objective, case.dim)
    compute = config.train.compute
    rows, total = [], 0.0
    for product in products_of(spec, case.batch, case.goals):
        seconds = product_seconds(product, compute, sizes)
        total += product.times * seconds
        told = {"us": round(1e6 * seconds, 2), "tflops": round(product.flops / seconds / 1e12, 3)}
        rows.append(asdict(product) | told)
    tasks = case.tasks if 0 < case.tasks < case.batch else None
    flops = flops_per_update(spec, case.batch, case.goals, tasks)
    return {"us_per_update": round(1e6 * total, 1), "gflop_per_update": flops / 1e9, "each": rows}


def table_of(found: list[dict[str, Any]], device: str) -> str:
    """The cases as a table in Markdown."""
    lines = [
        f"On {device}:",
        "",
        "| case | updates/s | transitions/s | over `host` | update, us | its products alone, us "
        "| kernels | busy, us | compiling, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for told in found:
        host, trace = told.get("host"), told["trace"]
        over = f"{host['ours_over_it']} {host['range']}" if host else "-"
        kernels = (
            f"{trace['kernels_per_update']} | {trace['busy_us_per_update']}" if trace else "- | -"
        )
        cells = [
            told["case"],
            f"{told['updates_per_s']:,}",
            f"{told['transitions_per_s']:,}",
            over,
            f"{1e6 / told['updates_per_s']:,.1f}",
            str(told["products"]["us_per_update"]) if told["products"] else "-",
            kernels,
            str(told["compile_s"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run(out: Path, sizes: Sizes, limit: float) -> dict[str, Any]:
    """Measure the cases for ``limit`` seconds or so; write ``out`` after each, print the table.

    A case is begun only where as long is left as the slowest one took so far.
    """
    started, slowest = time.perf_counter(), 0.0
    kinds = ("float32", "tensorfloat32", "bfloat16")
    about: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "sizes": asdict(sizes),
        "gemm_tflops": {kind: round(gemm_rate(kind) / 1e12, 3) for kind in kinds},
        "cases": [],
        "left_out": [],
    }
    tables: dict[bool, Table] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases_of(sizes):
            before, parts = time.perf_counter(), case.q == "imagined"
            if before - started + slowest > limit:
                about["left_out"].append(case.name)
                continue
            if parts not in tables:
                sentences = case.sentences if parts else 0
                tables[parts] = generated(sizes.rows, case.dim, case.tasks, Path(folder), sentences)
            told = measure(case, tables[parts], sizes)
            told["products"] = None if parts else products(case, sizes)
            about["cases"].append(told)
            slowest = max(slowest, time.perf_counter() - before)
            about["seconds"] = round(time.perf_counter() - started, 1)
            write_json(out, about)
            print(json.dumps(told), flush=True)
    print(table_of(about["cases"], about["device"]))
    if about["left_out"]:
        print(f"No time was left for: {', '.join(about['left_out'])}.")
    return about
