"""The learner against two baselines: updates (and triples) a second, sampling included.

    python benchmarks/learner.py [--rounds 21] [--seconds 0.5] [--case NAME]... [--accelerator]
    python benchmarks/learner.py --accelerator --short [--out FILE] [--limit 330]

Baselines, in our own words: ``host`` samples and relabels each batch with numpy, makes one jitted
call an update without donation, steps Adam over the slow copy's leaves too and reports the largest,
the smallest and the norm of the gradient and statistics of Q and V (as OGBench's agents do in each
update; ours reports norms and quantiles); ``scan`` is the honest rival: the same losses, the data
resident, sampling in jit, a donated scan, the fields concatenated (as unifloral does). Ours is the
project's learner as it trains.

``--accelerator`` measures the cases for one instead, in full float32, in what the device makes of
float32 by itself (TensorFloat-32 on GPUs, which is how the baselines run there) and in bfloat16,
with the share of what one large matrix product of that precision reaches. ``--short`` asks a lent
accelerator what matters most in a few minutes instead (``learner_short.py``).

Each learner is in a process of its own, and they take turns, A B C A B C: nothing that one leaves
behind (threads, memory, caches) is in another's way. The median of the ratios within a round with
quartiles, minimum and maximum, CPU milliseconds beside wall time. Prints one JSON line a case.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import jax
import numpy as np
from entry import begin
from learner_rivals import STEPS, host, scan

from pgv_jax.config import Config, load_config
from pgv_jax.data.layout import build_table
from pgv_jax.data.table import Table
from pgv_jax.errors import PgvError
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.feed import make_feed
from pgv_jax.learner.speed import flops_per_update, gemm_rate
from pgv_jax.learner.state import abstract_state, critic_spec, init_state, make_optimizer
from pgv_jax.learner.step import NoteSpec, make_update
from pgv_jax.types import Episode, Step


@dataclass(frozen=True)
class Case:
    """What is learned on: width of the embeddings, hidden layers, batch, goals, precision.

    ``tasks`` distinct ones recur over the episodes, as in most logs; 0: each episode has its own.
    ``q`` is "direct" or "imagined"; the latter's notes are of ``sentences`` each, out of
    ``SENTENCES`` that recur.
    """

    dim: int
    hidden: tuple[int, ...]
    batch: int
    goals: int = 1
    compute: str = "float32"
    tasks: int = 50
    against: tuple[str, ...] = ("host", "scan")
    q: str = "direct"
    sentences: int = 4

    @property
    def name(self) -> str:
        """Such as ``D384 64x2 B256``."""
        shape = f"{self.hidden[0]}x{len(self.hidden)}"
        extra = f" G{self.goals}" if self.goals > 1 else ""
        own = "" if self.tasks else " own tasks"
        own += f" imagined {self.sentences}" if self.q == "imagined" else ""
        return f"D{self.dim} {shape} B{self.batch}{extra} {self.compute}{own}"


OURS_FLOAT32, OURS_DIRECT = "ours float32", "ours direct"
SENTENCES = 200
"""Of which the notes of a critic that imagines are made."""
RIVALS = {"host": host, "scan": scan}
SPAWN = get_context("spawn")

CASES = (
    Case(384, (64, 64), 256),
    Case(384, (64, 64), 256, tasks=0),
    Case(384, (64, 64), 1024),
    Case(384, (512, 512, 512), 256),
    Case(384, (512, 512, 512), 1024),
    Case(384, (512, 512, 512), 1024, tasks=0),
    Case(4096, (64, 64), 256, goals=16, against=("scan",)),
    Case(384, (64, 64), 256, goals=16, against=("scan",)),
    Case(384, (512, 512, 512), 1024, compute="bfloat16", against=(OURS_FLOAT32,)),
    Case(384, (64, 64), 256, against=(OURS_DIRECT,), q="imagined", sentences=40),
)
WIDE = (512, 512, 512)
ACCELERATOR_CASES = (
    Case(384, WIDE, 1024, compute="float32"),
    Case(384, WIDE, 1024, compute="tensorfloat32"),
    Case(384, WIDE, 1024, compute="bfloat16"),
    *(
        Case(384, WIDE, batch, compute=compute, against=(OURS_FLOAT32,))
        for batch in (16384, 65536)
        for compute in ("tensorfloat32", "bfloat16")
    ),
    Case(4096, WIDE, 16384, compute="bfloat16", against=(OURS_FLOAT32,)),
    Case(384, (64, 64), 256, compute="tensorfloat32"),
    Case(4096, (64, 64), 256, goals=16, compute="tensorfloat32", against=("scan",)),
)


def generated(rows: int, dim: int, tasks: int, folder: Path, sentences: int = 0) -> Table:
    """A table of ``rows`` distinct observations in episodes of ``STEPS`` steps, random vectors.

    ``sentences`` above 0: of notes of so many sentences that recur, and with what the next-note
    model reads.
    """
    rng = np.random.default_rng(0)

    def lookup(texts: Any) -> np.ndarray:
        vectors = rng.standard_normal((len(texts), dim), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def note(e: int, t: int) -> str:
        if not sentences:
            return f"Place {e}-{t}."
        return " ".join(f"Fact {n} holds." for n in rng.integers(SENTENCES, size=sentences))

    episodes = []
    for e in range(rows // (STEPS + 1)):
        steps = tuple(Step(note(e, t), f"I go on from {e}-{t}.", "go") for t in range(STEPS))
        last = note(e, STEPS)
        episodes.append(
            Episode(f"{e}", f"{e}", f"Task {e % (tasks or rows)}.", steps, last, success=e % 2 == 0)
        )
    encoder = {"name": "random", "fingerprint": str(dim)}
    return build_table(
        folder / f"{rows}-{dim}-{tasks}-{sentences}",
        episodes,
        lookup,
        split="train",
        shards=8,
        history=0,
        encoder=encoder,
        data_fingerprint=f"{rows} {tasks} {sentences}",
        parts=bool(sentences),
    )


def config_of(case: Case) -> Config:
    """The project's configuration of a case; note goals, as the baselines have, or sentences."""
    notes = ["texts.history=0", "data.encoder=sentences:minilm"] if case.q == "imagined" else []
    return load_config(
        None,
        [
            *notes,
            f"critic.hidden={list(case.hidden)}",
            f"train.batch={case.batch}",
            f"train.goals={case.goals}",
            f"train.compute={case.compute}",
            f"goals.form={'sentence' if case.q == 'imagined' else 'note'}",
            f"critic.q={case.q}",
            "goals.outcome=0",
            "train.feed=resident",
        ],
    )


def ours(table: Table, config: Config, length: int) -> Callable[[], None]:
    """``length`` updates of the project's learner a call."""
    mesh = meshes.make_mesh(0, 1, len(table.shards))
    spec = critic_spec(config.critic, config.objective, table.manifest["dim"])
    optimizer = make_optimizer(config.train)
    abstract = abstract_state(spec, optimizer, mesh)
    notes = None
    if spec.note_width:
        notes = NoteSpec.of(config, table.manifest["parts"]["in_notes"])
    update = make_update(spec, config.objective, config.train, optimizer, len(table.shards), notes)
    feed = make_feed(table, mesh, config, abstract, update)
    state = [init_state(spec, optimizer, mesh, 0)]

    def run() -> None:
        state[0], metrics = feed.advance(state[0], 0, length)
        jax.block_until_ready(metrics)

    return run


# -- measuring -------------------------------------------------------------------------------------


def timed(run: Callable[[], None], seconds: float) -> tuple[float, float]:
    """(wall, CPU) seconds a call, over at least ``seconds``."""
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while calls == 0 or time.perf_counter() - wall < seconds:
        run()
        calls += 1
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def length_of(case: Case) -> int:
    """Updates of one call."""
    length = 20 if case.hidden[0] > 64 or case.dim > 1000 else 50
    return length if jax.default_backend() == "cpu" else 10 * length


def take_turns(pipe: Connection, case: Case, name: str, rows: int) -> None:
    """Build the learner ``name``, then measure it as often as the other side asks."""
    length = length_of(case)
    with tempfile.TemporaryDirectory() as folder:
        sentences = case.sentences if case.q == "imagined" else 0
        table = generated(rows, case.dim, case.tasks, Path(folder), sentences)
        if name in RIVALS:
            run = RIVALS[name](table, case, config_of(case), length)
        else:
            run = ours(table, config_of(case), length)
        run()
        pipe.send(None)
        while (seconds := pipe.recv()) is not None:
            pipe.send(timed(run, seconds))


@contextmanager
def learner(case: Case, name: str, rows: int) -> Iterator[Callable[[float], tuple[float, float]]]:
    """``timed`` of a learner in a process of its own."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=take_turns, args=(there, case, name, rows))
    process.start()
    there.close()  # so that the end of the process is the end of the pipe

    def turn(seconds: float) -> tuple[float, float]:
        here.send(seconds)
        return here.recv()

    try:
        here.recv()
        yield turn
        here.send(None)
    finally:
        here.close()
        process.join()


def measure(case: Case, rows: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Let the learners take turns and relate them round by round."""
    cases = {name: case for name in ("ours", *case.against)}
    if OURS_FLOAT32 in cases:
        cases[OURS_FLOAT32] = replace(case, compute="float32")
    if OURS_DIRECT in cases:
        cases[OURS_DIRECT] = replace(case, q="direct")
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    with ExitStack() as stack:
        turns = {name: stack.enter_context(learner(its, name, rows)) for name, its in cases.items()}
        for _ in range(rounds):
            for name, turn in turns.items():
                seen[name].append(turn(seconds))
    length = length_of(case)
    triples = {name: 1 if name in RIVALS else case.goals for name in cases}
    out: dict[str, Any] = {"case": case.name, "load": os.getloadavg()[0]}
    for name, pairs in seen.items():
        wall, cpu = (median(p[i] for p in pairs) for i in (0, 1))
        out[name] = {
            "updates_per_s": round(length / wall, 2),
            "triples_per_s": round(case.batch * triples[name] * length / wall),
            "cpu_ms_per_update": round(1e3 * cpu / length, 3),
        }
        if name not in RIVALS:
            out[name] |= share(cases[name], length / wall)
    for name in case.against:
        ratios = [
            triples["ours"] * theirs[0] / (triples[name] * mine[0])
            for mine, theirs in zip(seen["ours"], seen[name], strict=True)
        ]
        quarter, _, three_quarters = quantiles(ratios, n=4)
        out[f"ours / {name}"] = {
            "median": round(median(ratios), 2),
            "quartiles": [round(quarter, 2), round(three_quarters, 2)],
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return out


def share(case: Case, rate: float) -> dict[str, float]:
    """The arithmetic that our learner needs a second, and its share of one large product's."""
    tasks = case.tasks if case.tasks and case.tasks < case.batch else None
    config = config_of(case)
    spec = critic_spec(config.critic, config.objective, case.dim)
    flops = rate * flops_per_update(spec, case.batch, case.goals, tasks)
    peak = gemm_rate(config.train.compute)
    return {"tflops": round(flops / 1e12, 3), "gemm_share": round(flops / peak, 3)}


@click.command()
@click.option("--rounds", default=21, show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="A round of one learner, at least.")
@click.option("--rows", default=10_000, show_default=True)
@click.option("--case", "wanted", multiple=True, help="Only cases whose name holds this.")
@click.option("--accelerator", is_flag=True, help="The cases for a GPU or TPU.")
@click.option("--short", is_flag=True, help="With --accelerator: what fits into six minutes.")
@click.option("--tiny", is_flag=True, help="With --short: sizes of its test.")
@click.option("--limit", default=330.0, show_default=True, help="Seconds of --short, at most.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("learner-short.json"))
def main(
    rounds: int,
    seconds: float,
    rows: int,
    wanted: tuple[str, ...],
    accelerator: bool,
    short: bool,
    tiny: bool,
    limit: float,
    out: Path,
) -> None:
    """Measure the cases one after the other."""
    # several processes share an accelerator
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if short:
        import learner_short

        if not accelerator:
            raise PgvError("--short is for an accelerator; add --accelerator.")
        learner_short.run(out, learner_short.TINY if tiny else learner_short.Sizes(), limit)
        return
    versions = {"jax": jax.__version__, "python": platform.python_version()}
    device = jax.devices()[0].device_kind
    kinds = ("float32", "tensorfloat32", "bfloat16")
    peaks = {kind: round(gemm_rate(kind) / 1e12, 3) for kind in kinds}
    about = {"versions": versions, "device": device, "cpus": os.cpu_count(), "gemm_tflops": peaks}
    print(json.dumps(about), flush=True)
    for case in ACCELERATOR_CASES if accelerator else CASES:
        if wanted and not any(part in case.name for part in wanted):
            continue
        count = rows if case.dim < 1000 else rows // 4
        print(json.dumps(measure(case, count, rounds, seconds)), flush=True)


if __name__ == "__main__":
    begin(main)
