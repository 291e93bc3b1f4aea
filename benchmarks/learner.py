"""The learner against two baselines: updates (and triples) a second, sampling included.

    python benchmarks/learner.py [--rounds 7] [--seconds 1.0] [--case NAME]... [--accelerator]

Baselines, in our own words: ``host`` samples and relabels each batch with numpy, makes one jitted
call an update without donation, steps Adam over the slow copy's leaves too and reports the largest,
the smallest and the norm of the gradient and statistics of Q and V (as OGBench's agents do in each
update; ours reports norms and quantiles); ``scan`` is the honest rival: the same losses, the data
resident, sampling in jit, a donated scan, the fields concatenated (as unifloral does). Ours is the
project's learner as it trains.

``--accelerator`` measures the cases for one instead, in full float32, in what the device makes of
float32 by itself (TensorFloat-32 on GPUs, which is how the baselines run there) and in bfloat16,
with the share of what one large matrix product of that precision reaches.

One process, rounds A B C A B C, the median of the ratios within a round with minimum and maximum,
CPU milliseconds beside wall time. Prints one JSON line a case.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pgv_jax.config import Config, load_config
from pgv_jax.data.layout import build_table
from pgv_jax.data.table import Table
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.feed import make_feed
from pgv_jax.learner.speed import flops_per_update, gemm_rate
from pgv_jax.learner.standardize import standards_of
from pgv_jax.learner.state import abstract_state, critic_spec, init_state, make_optimizer
from pgv_jax.learner.step import make_update
from pgv_jax.objectives.losses import cross_entropy, expectile_weight
from pgv_jax.types import Episode, Step

STEPS = 25
"""Steps of a generated episode."""


@dataclass(frozen=True)
class Case:
    """What is learned on: width of the embeddings, hidden layers, batch, goals, precision.

    ``tasks`` distinct ones recur over the episodes, as in most logs; 0: each episode has its own.
    """

    dim: int
    hidden: tuple[int, ...]
    batch: int
    goals: int = 1
    compute: str = "float32"
    tasks: int = 50
    against: tuple[str, ...] = ("host", "scan")

    @property
    def name(self) -> str:
        """Such as ``D384 64x2 B256``."""
        shape = f"{self.hidden[0]}x{len(self.hidden)}"
        extra = f" G{self.goals}" if self.goals > 1 else ""
        own = "" if self.tasks else " own tasks"
        return f"D{self.dim} {shape} B{self.batch}{extra} {self.compute}{own}"


CASES = (
    Case(384, (64, 64), 256),
    Case(384, (64, 64), 256, tasks=0),
    Case(384, (64, 64), 1024),
    Case(384, (512, 512, 512), 256),
    Case(384, (512, 512, 512), 1024),
    Case(384, (512, 512, 512), 1024, tasks=0),
    Case(4096, (64, 64), 256, goals=16, against=("scan",)),
    Case(384, (64, 64), 256, goals=16, against=("scan",)),
    Case(384, (512, 512, 512), 1024, compute="bfloat16", against=("ours float32",)),
)
WIDE = (512, 512, 512)
ACCELERATOR_CASES = (
    Case(384, WIDE, 1024, compute="float32"),
    Case(384, WIDE, 1024, compute="tensorfloat32"),
    Case(384, WIDE, 1024, compute="bfloat16"),
    *(
        Case(384, WIDE, batch, compute=compute, against=("ours float32",))
        for batch in (16384, 65536)
        for compute in ("tensorfloat32", "bfloat16")
    ),
    Case(4096, WIDE, 16384, compute="bfloat16", against=("ours float32",)),
    Case(384, (64, 64), 256, compute="tensorfloat32"),
    Case(4096, (64, 64), 256, goals=16, compute="tensorfloat32", against=("scan",)),
)


def generated(rows: int, dim: int, tasks: int, folder: Path) -> Table:
    """A table of ``rows`` distinct observations in episodes of ``STEPS`` steps, random vectors."""
    rng = np.random.default_rng(0)

    def lookup(texts: Any) -> np.ndarray:
        vectors = rng.standard_normal((len(texts), dim), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    episodes = []
    for e in range(rows // (STEPS + 1)):
        steps = tuple(Step(f"Place {e}-{t}.", f"I go on from {e}-{t}.", "go") for t in range(STEPS))
        last = f"Place {e}-{STEPS}."
        episodes.append(
            Episode(f"{e}", f"{e}", f"Task {e % (tasks or rows)}.", steps, last, success=e % 2 == 0)
        )
    encoder = {"name": "random", "fingerprint": str(dim)}
    return build_table(
        folder / f"{rows}-{dim}-{tasks}",
        episodes,
        lookup,
        split="train",
        shards=8,
        history=0,
        encoder=encoder,
        data_fingerprint=f"{rows} {tasks}",
    )


def config_of(case: Case, compute: str = "") -> Config:
    """The project's configuration of a case; note goals, as the baselines have."""
    return load_config(
        None,
        [
            f"critic.hidden={list(case.hidden)}",
            f"train.batch={case.batch}",
            f"train.goals={case.goals}",
            f"train.compute={compute or case.compute}",
            "goals.form=note",
            "goals.outcome=0",
            "train.feed=resident",
        ],
    )


def ours(table: Table, config: Config, length: int) -> Callable[[], None]:
    """``length`` updates of the project's learner a call."""
    mesh = meshes.make_mesh(0, 1, len(table.shards))
    spec = critic_spec(config, table.manifest["dim"])
    optimizer = make_optimizer(config.train)
    abstract = abstract_state(spec, optimizer, mesh)
    update = make_update(spec, config, optimizer, len(table.shards), standards_of(table))
    feed = make_feed(table, mesh, config, abstract, update)
    state = [init_state(spec, optimizer, mesh, 0)]

    def run() -> None:
        state[0], metrics = feed.advance(state[0], 0, length)
        jax.block_until_ready(metrics)

    return run


# -- the baselines ---------------------------------------------------------------------------------


def mlp_init(key: jax.Array, widths: list[int], ensemble: int) -> list[dict[str, jax.Array]]:
    """``ensemble`` MLPs as plain arrays."""
    layers = []
    for k, (a, b) in zip(jax.random.split(key, len(widths) - 1), pairwise(widths), strict=True):
        kernel = jax.random.normal(k, (ensemble, a, b)) / np.sqrt(a)
        layers.append({"kernel": kernel, "bias": jnp.zeros((ensemble, 1, b))})
    return layers


def mlp(layers: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    """[B, in] -> [E, B]."""
    h = jnp.broadcast_to(x, (layers[0]["kernel"].shape[0], *x.shape))
    for i, layer in enumerate(layers):
        h = jnp.einsum("ebi,eio->ebo", h, layer["kernel"]) + layer["bias"]
        h = jax.nn.gelu(h) if i + 1 < len(layers) else h
    return h[..., 0]


def baseline_loss(
    params: Any, target: Any, batch: dict[str, jax.Array], config: Config
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The same IQL losses on concatenated inputs; the values of Q and V beside them."""
    now = jnp.concatenate([batch["task"], batch["obs"]], -1)
    q_in = jnp.concatenate([now, batch["thought"], batch["goal"]], -1)
    v_in = jnp.concatenate([now, batch["goal"]], -1)
    next_in = jnp.concatenate([batch["task"], batch["next_obs"], batch["goal"]], -1)
    next_v = jax.nn.sigmoid(mlp(params["v"], next_in)[0])
    next_v = jnp.where(batch["next_reached"], 1.0, next_v)
    y = jnp.where(batch["reached"], 1.0, config.objective.gamma * next_v)
    y = jax.lax.stop_gradient(y)
    q = mlp(params["q"], q_in)
    q_loss = cross_entropy(q, y[None]).mean()
    q_target = jax.lax.stop_gradient(jax.nn.sigmoid(mlp(target, q_in)).min(0))
    v = mlp(params["v"], v_in)[0]
    weight = expectile_weight(q_target - jax.nn.sigmoid(v), config.objective.expectile)
    v_loss = (jax.lax.stop_gradient(weight) * cross_entropy(v, q_target)).mean()
    return q_loss + v_loss, {"q": q, "v": v, "q_loss": q_loss, "v_loss": v_loss}


def told(gradients: Any, seen: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """What OGBench's agents report of each update."""
    leaves = jax.tree.leaves(gradients)
    reduced = {
        "grad/max": jnp.stack([leaf.max() for leaf in leaves]).max(),
        "grad/min": jnp.stack([leaf.min() for leaf in leaves]).min(),
        "grad/norm": sum(jnp.linalg.norm(leaf.ravel()) for leaf in leaves),
    }
    for name in ("q", "v"):
        value = jax.nn.sigmoid(seen[name])
        reduced |= {f"{name}_mean": value.mean(), f"{name}_max": value.max()}
        reduced |= {f"{name}_min": value.min(), f"{name}_loss": seen[f"{name}_loss"]}
    return reduced


def baseline_init(case: Case) -> Any:
    """Parameters of the concatenated networks."""
    q_key, v_key = jax.random.split(jax.random.key(0))
    params = {
        "q": mlp_init(q_key, [4 * case.dim, *case.hidden, 1], 2),
        "v": mlp_init(v_key, [3 * case.dim, *case.hidden, 1], 1),
    }
    return params, jax.tree.map(jnp.copy, params["q"])


def flat_data(table: Table) -> dict[str, np.ndarray]:
    """The table as plain transition arrays: rows in episode order, one shard behind the other."""
    parts: dict[str, list[np.ndarray]] = {"obs": [], "thought": [], "task": []}
    for shard in table.shards:
        parts["obs"].append(shard.vectors[shard.row_obs])
        parts["thought"].append(shard.vectors[np.maximum(shard.row_thought, 0)])
        parts["task"].append(table.tasks[shard.episode_task[shard.row_episode]])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def goal_rows(row: Any, u: Any, k: Any, other: Any, config: Config, np_: Any) -> Any:
    """Current, future (geometric, clipped to the end) or random, by the configured shares."""
    g = config.goals
    total = g.current + g.future + g.random
    end = row // (STEPS + 1) * (STEPS + 1) + STEPS
    future = np_.minimum(row + k, end)
    return np_.where(
        u < g.current / total, row, np_.where(u < (g.current + g.future) / total, future, other)
    )


def host(table: Table, case: Case, config: Config, length: int) -> Callable[[], None]:
    """The OGBench way: numpy sampling, one call an update, no donation, Adam over the slow copy."""
    data = flat_data(table)
    rows = len(data["obs"])
    rng = np.random.default_rng(0)
    steps = np.flatnonzero(np.arange(rows) % (STEPS + 1) < STEPS)
    params, target = baseline_init(case)
    network = {"params": params, "target": target}
    optimizer = optax.adam(config.train.lr)

    def loss(network: Any, batch: Any) -> Any:
        slow = jax.lax.stop_gradient(network["target"])
        return baseline_loss(network["params"], slow, batch, config)

    @jax.jit
    def update(network: Any, moments: Any, batch: Any) -> Any:
        gradients, seen = jax.grad(loss, has_aux=True)(network, batch)
        updates, moments = optimizer.update(gradients, moments)
        new = optax.apply_updates(network, updates)
        slow = optax.incremental_update(
            new["params"]["q"], network["target"], config.objective.polyak
        )
        return {"params": new["params"], "target": slow}, moments, told(gradients, seen)

    state = [network, optimizer.init(network)]

    def sample() -> dict[str, np.ndarray]:
        row = rng.choice(steps, case.batch)
        k = rng.geometric(1 - config.objective.gamma, case.batch)
        other = rng.integers(rows, size=case.batch)
        goal = goal_rows(row, rng.random(case.batch), k, other, config, np)
        return {
            "task": data["task"][row],
            "obs": data["obs"][row],
            "thought": data["thought"][row],
            "next_obs": data["obs"][row + 1],
            "goal": data["obs"][goal],
            "reached": goal == row,
            "next_reached": goal == row + 1,
        }

    def run() -> None:
        value = None
        for _ in range(length):
            state[0], state[1], value = update(state[0], state[1], sample())
        jax.block_until_ready(value)

    return run


def scan(table: Table, case: Case, config: Config, length: int) -> Callable[[], None]:
    """The honest rival: resident data, sampling in jit, a donated scan, concatenated fields."""
    data = jax.device_put(flat_data(table))
    rows = len(data["obs"])
    optimizer = optax.adamw(config.train.lr, weight_decay=config.train.weight_decay)
    params, target = baseline_init(case)
    state = [(params, target, optimizer.init(params), jax.random.key(0))]

    def body(data: Any, carry: Any) -> Any:
        params, target, moments, key = carry
        key, *keys = jax.random.split(key, 5)
        episode = jax.random.randint(keys[0], (case.batch,), 0, rows // (STEPS + 1))
        at = jax.random.randint(keys[1], (case.batch,), 0, STEPS)
        row = episode * (STEPS + 1) + at
        u = jax.random.uniform(keys[2], (2, case.batch))
        k = 1 + jnp.floor(jnp.log1p(-u[0]) / jnp.log(config.objective.gamma)).astype(jnp.int32)
        other = jax.random.randint(keys[3], (case.batch,), 0, rows)
        goal = goal_rows(row, u[1], k, other, config, jnp)
        batch = {
            "task": data["task"][row],
            "obs": data["obs"][row],
            "thought": data["thought"][row],
            "next_obs": data["obs"][row + 1],
            "goal": data["obs"][goal],
            "reached": goal == row,
            "next_reached": goal == row + 1,
        }
        gradients, seen = jax.grad(baseline_loss, has_aux=True)(params, target, batch, config)
        updates, moments = optimizer.update(gradients, moments, params)
        params = optax.apply_updates(params, updates)
        target = optax.incremental_update(params["q"], target, config.objective.polyak)
        return (params, target, moments, key), seen["q_loss"] + seen["v_loss"]

    call = jax.jit(
        lambda carry, data: jax.lax.scan(lambda c, _: body(data, c), carry, None, length=length),
        donate_argnums=0,
    )

    def run() -> None:
        state[0], values = call(state[0], data)
        jax.block_until_ready(values)

    return run


# -- measuring -------------------------------------------------------------------------------------


def timed(run: Callable[[], None], seconds: float) -> tuple[float, float]:
    """(wall, CPU) seconds a call, over at least ``seconds``."""
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while calls == 0 or time.perf_counter() - wall < seconds:
        run()
        calls += 1
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def measure(case: Case, table: Table, rounds: int, seconds: float) -> dict[str, Any]:
    """Alternate the learners and relate them round by round."""
    length = 20 if case.hidden[0] > 64 or case.dim > 1000 else 50
    if jax.default_backend() != "cpu":
        length *= 10
    config = config_of(case)
    runs: dict[str, Callable[[], None]] = {"ours": ours(table, config, length)}
    if "host" in case.against:
        runs["host"] = host(table, case, config, length)
    if "scan" in case.against:
        runs["scan"] = scan(table, case, config, length)
    if "ours float32" in case.against:
        runs["ours float32"] = ours(table, config_of(case, "float32"), length)
    for run in runs.values():
        run()
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seen[name].append(timed(run, seconds))
    triples = {name: case.goals if name == "ours" else 1 for name in runs}
    out: dict[str, Any] = {"case": case.name, "load": os.getloadavg()[0]}
    for name, pairs in seen.items():
        wall, cpu = (median(p[i] for p in pairs) for i in (0, 1))
        out[name] = {
            "updates_per_s": round(length / wall, 2),
            "triples_per_s": round(case.batch * triples[name] * length / wall),
            "cpu_ms_per_update": round(1e3 * cpu / length, 3),
        }
        if name.startswith("ours"):
            compute = case.compute if name == "ours" else "float32"
            out[name] |= share(case, table, compute, length / wall)
    for name in case.against:
        ratios = [
            triples["ours"] * theirs[0] / mine[0]
            for mine, theirs in zip(seen["ours"], seen[name], strict=True)
        ]
        spread = [round(min(ratios), 2), round(max(ratios), 2)]
        out[f"ours / {name}"] = {"median": round(median(ratios), 2), "range": spread}
    return out


def share(case: Case, table: Table, compute: str, rate: float) -> dict[str, float]:
    """The arithmetic that our learner needs a second, and its share of one large product's."""
    config = config_of(case, compute)
    tasks = case.tasks if case.tasks and case.tasks < case.batch else None
    spec = critic_spec(config, table.manifest["dim"])
    flops = rate * flops_per_update(spec, case.batch, case.goals, tasks)
    return {"tflops": round(flops / 1e12, 3), "gemm_share": round(flops / gemm_rate(compute), 3)}


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="A round of one learner, at least.")
@click.option("--rows", default=10_000, show_default=True)
@click.option("--case", "wanted", multiple=True, help="Only cases whose name holds this.")
@click.option("--accelerator", is_flag=True, help="The cases for a GPU or TPU.")
def main(
    rounds: int, seconds: float, rows: int, wanted: tuple[str, ...], accelerator: bool
) -> None:
    """Measure the cases one after the other."""
    versions = {"jax": jax.__version__, "python": platform.python_version()}
    device = jax.devices()[0].device_kind
    kinds = ("float32", "tensorfloat32", "bfloat16")
    peaks = {kind: round(gemm_rate(kind) / 1e12, 3) for kind in kinds}
    about = {"versions": versions, "device": device, "cpus": os.cpu_count(), "gemm_tflops": peaks}
    print(json.dumps(about), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in ACCELERATOR_CASES if accelerator else CASES:
            if wanted and not any(part in case.name for part in wanted):
                continue
            count = rows if case.dim < 1000 else rows // 4
            table = generated(count, case.dim, case.tasks, Path(folder))
            print(json.dumps(measure(case, table, rounds, seconds)), flush=True)


if __name__ == "__main__":
    main()
