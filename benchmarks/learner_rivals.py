"""The learners that ``learner.py`` compares with, in our own words.

``host`` works as OGBench's agents do, ``scan`` as unifloral does; both know the episodes of
``learner.generated``, of ``STEPS`` steps each.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pgv_jax.config import Config
from pgv_jax.data.table import Table
from pgv_jax.objectives.iql import GCIQL
from pgv_jax.objectives.losses import cross_entropy, expectile_weight

STEPS = 25
"""Steps of a generated episode."""


class Case(Protocol):
    """The sizes that matter here."""

    @property
    def dim(self) -> int: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def batch(self) -> int: ...


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
    assert isinstance(config.objective, GCIQL)
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


def taken(data: Any, row: Any, goal: Any) -> dict[str, Any]:
    """The batch of some rows and the rows of their goals: numpy's arrays or JAX's."""
    return {
        "task": data["task"][row],
        "obs": data["obs"][row],
        "thought": data["thought"][row],
        "next_obs": data["obs"][row + 1],
        "goal": data["obs"][goal],
        "reached": goal == row,
        "next_reached": goal == row + 1,
    }


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
        return taken(data, row, goal)

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
        batch = taken(data, row, goal)
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
