"""A small network beside each member of the probe, started at zero and stopped on held-out tasks.

Member k leaves two folds out: it is stopped on fold k, with its start (the probe alone) among the
choices, and judged on fold k + 1, which neither its fit nor its stopping has seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from pgv_jax.critic.heads import CriticSpec, Head
from pgv_jax.objectives.losses import cross_entropy
from pgv_jax.recipe.outcomes import Components, Outcomes
from pgv_jax.recipe.probe import Probe, fit_without, log_likelihood

HIDDEN = (64,)
RANK = 64
"""Components that the network reads: on the full embeddings it fits tasks by heart at once."""
UPDATES, BATCH, EVERY, PATIENCE = 400, 256, 20, 4
"""Updates at most; steps in a batch; updates between looks; looks without a gain that end it."""
OPTIMIZER = optax.adamw(1e-3, weight_decay=1e-2)
FIELD = "components"


@dataclass(frozen=True)
class Residual:
    """The members: probes of all tasks but two folds', and the networks' parameters.

    ``params`` are a ``Head``'s on raw embeddings, by field. ``steps`` says after how many updates
    each member was stopped (0: the probe alone). ``crossfit_B`` are the judged logits, and
    ``anchor_B`` those of the same members' probes; NaN for steps in no fold.
    """

    weight_MR: np.ndarray
    bias_M: np.ndarray
    params: dict[str, Any]
    steps: list[int]
    crossfit_B: np.ndarray
    anchor_B: np.ndarray


def fit_residual(
    outcomes: Outcomes, components: Components, probe: Probe, spec: CriticSpec, seed: int
) -> Residual:
    """Fit all members at once; ``spec`` lends its activation and normalisation."""
    members, count = len(outcomes.folds), len(outcomes.rows)
    held = [held_out for _, held_out in outcomes.folds]
    following = [held[(k + 1) % members] for k in range(members)]
    fits = [
        fit_without(outcomes, components, np.concatenate([a, b]), probe.c)
        for a, b in zip(held, following, strict=True)
    ]
    weight_MR, bias_M = np.stack([w for w, _ in fits]), np.asarray([b for _, b in fits])
    anchor_MB = weight_MR @ components.x_BR.T + bias_M[:, None]
    fitted_MB, stop_MB = np.ones((members, count)), np.zeros((members, count))
    for k in range(members):
        fitted_MB[k, held[k]] = fitted_MB[k, following[k]] = 0
        stop_MB[k, held[k]] = 1
    x = components.x_BR[:, :RANK]
    scale = float(np.sqrt(np.square(x).mean())) or 1.0
    small = replace(spec, dim=x.shape[1], hidden=HIDDEN, outcome_members=0)
    data = _Data(
        jnp.asarray(x / scale, jnp.float32),
        jnp.asarray(anchor_MB, jnp.float32),
        jnp.asarray(np.tile(outcomes.success_B, (members, 1)), jnp.float32),
        jnp.asarray(fitted_MB, jnp.float32),
    )
    best, steps, logit_MB = _train(small, data, stop_MB, seed)
    crossfit_B, anchor_B = np.full(count, np.nan), np.full(count, np.nan)
    for k in range(members):
        crossfit_B[following[k]] = logit_MB[k, following[k]]
        anchor_B[following[k]] = anchor_MB[k, following[k]]
    params = _unfolded(best, components, scale)
    return Residual(weight_MR, bias_M, params, steps, crossfit_B, anchor_B)


class _Data(NamedTuple):
    """What the members are trained on: components [B, R], the rest [M, B]."""

    x: jax.Array
    anchor: jax.Array
    success: jax.Array
    fitted: jax.Array


def _logits(graph: nnx.GraphDef, params: Any, data: _Data, rows: jax.Array) -> jax.Array:
    head = nnx.merge(graph, nnx.State(params))
    return data.anchor[:, rows] + head({FIELD: data.x[rows]})


_everything = jax.jit(
    lambda graph, params, data: _logits(graph, params, data, jnp.arange(len(data.x))),
    static_argnums=0,
)


@partial(jax.jit, static_argnums=0)
def _chunk(
    graph: nnx.GraphDef, params: Any, moments: Any, data: _Data, key: jax.Array
) -> tuple[Any, Any]:
    """``EVERY`` updates of AdamW on the cross-entropy of probe + network."""

    def loss(params: Any, rows: jax.Array) -> jax.Array:
        losses = cross_entropy(_logits(graph, params, data, rows), data.success[:, rows])
        return (data.fitted[:, rows] * losses).sum() / BATCH

    def update(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], None]:
        params, moments = carry
        rows = jax.random.randint(key, (BATCH,), 0, len(data.x))
        updates, moments = OPTIMIZER.update(jax.grad(loss)(params, rows), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(update, (params, moments), jax.random.split(key, EVERY))[0]


def _train(
    spec: CriticSpec, data: _Data, stop_MB: np.ndarray, seed: int
) -> tuple[dict[str, Any], list[int], np.ndarray]:
    """Best parameters of each member, after how many updates, and all logits [M, B]."""
    members = len(stop_MB)
    graph, state = nnx.split(Head(jax.random.key(seed), (FIELD,), members, spec))
    params = nnx.to_pure_dict(state)
    # Starts as the probe alone. Of the type that an update returns, so that one program does all.
    params["out"] = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params["out"])
    success_MB = np.asarray(data.success, np.float64)

    def looked(params: Any) -> tuple[np.ndarray, np.ndarray]:
        raw_MB = np.asarray(_everything(graph, params, data), np.float64)
        losses = -stop_MB * log_likelihood(raw_MB, success_MB)
        return raw_MB, losses.sum(1) / stop_MB.sum(1)

    best, (best_raw, best_loss) = params, looked(params)
    steps, moments = np.zeros(members, int), OPTIMIZER.init(params)
    for step in range(EVERY, UPDATES + 1, EVERY):
        key = jax.random.fold_in(jax.random.key(seed), step)
        params, moments = _chunk(graph, params, moments, data, key)
        raw, loss = looked(params)
        better = loss < best_loss

        def pick(new: Any, old: Any, better: np.ndarray = better) -> Any:
            return np.where(better.reshape(-1, *[1] * (np.ndim(new) - 1)), new, old)

        best = jax.tree.map(pick, params, best)
        best_raw, best_loss = pick(raw, best_raw), pick(loss, best_loss)
        steps[better] = step
        if step - steps.max() >= PATIENCE * EVERY:
            break
    return jax.device_get(best), [int(step) for step in steps], best_raw


def _unfolded(params: dict[str, Any], components: Components, scale: float) -> dict[str, Any]:
    """The networks' parameters on raw embeddings, each field with a kernel of its own."""
    rest = dict(params)
    kernel_MRH = np.asarray(rest.pop(FIELD)["kernel"], np.float64) / scale
    both = [components.unfold(kernel_RH) for kernel_RH in kernel_MRH]
    for field in components.fields:
        rest[field] = {"kernel": np.stack([kernels[field] for kernels, _ in both])}
    rest["bias_0"] = rest["bias_0"] + np.stack([bias for _, bias in both])
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), rest)
