"""One update, and K of them fused in one donated call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from pgv_jax.config import ObjectiveConfig
from pgv_jax.critic import Critic, CriticSpec
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.feed import ResidentFeed
from pgv_jax.learner.state import State, graph_of
from pgv_jax.objectives import OBJECTIVES
from pgv_jax.types import Batch, Predictions

Metrics = dict[str, jax.Array]
Update = Callable[[State, Batch], tuple[State, Metrics]]


def predict(critic: Critic, slow: Critic, batch: Batch) -> Predictions:
    """One forward: the critic itself, the slow copy's Q of (s, thought), and V of s'.

    V bootstraps from the critic itself, as in the authors' IQL: a slow V as well would double the
    lag of every backup.
    """
    inputs = {
        "task": batch.task_BD,
        "observation": batch.obs_BD,
        "thought": batch.thought_BD,
        "goal": batch.goal_BD,
    }
    return Predictions(
        q_EB=critic.q(inputs),
        v_B=critic.v(inputs)[0],
        q_target_EB=slow.q(inputs),
        next_v_B=critic.v({**inputs, "observation": batch.next_obs_BD})[0],
    )


def make_update(
    spec: CriticSpec, config: ObjectiveConfig, optimizer: optax.GradientTransformation
) -> Update:
    """Build ``update(state, batch) -> (state, metrics)``, a pure function of plain pytrees."""
    objective = OBJECTIVES[config.name]
    options = {name: getattr(config, name) for name in objective.options}
    graph = graph_of(spec)

    def loss(params: Any, target: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        predictions = predict(_merge(graph, params), _merge(graph, target), batch)
        return objective.loss(predictions, batch, **options)

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state.target, batch)
        updates, moments = optimizer.update(gradients, state.moments, state.params)
        params = optax.apply_updates(state.params, updates)
        # The slow copy follows the parameters *after* the update.
        target = optax.incremental_update(params, state.target, config.polyak)
        metrics["gradient_norm"] = optax.global_norm(gradients)
        metrics["update_norm"] = optax.global_norm(updates)
        return State(params, target, state.best, moments, state.step + 1), metrics

    return update


def _merge(graph: nnx.GraphDef, params: Any) -> Critic:
    return nnx.merge(graph, nnx.State(params))


def make_chunk(
    update: Update, feed: ResidentFeed, mesh: Mesh, abstract: State, length: int
) -> Callable[[State, Any], tuple[State, Metrics]]:
    """Jit ``length`` updates as one donated scan: (state, data) -> (state, metrics [length])."""

    def chunk(state: State, data: Any) -> tuple[State, Metrics]:
        def body(state: State, _: None) -> tuple[State, Metrics]:
            return update(state, feed.batch(data, state.step))

        return jax.lax.scan(body, state, None, length=length)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(
        chunk,
        donate_argnums=0,
        in_shardings=(shardings, meshes.split(mesh)),
        out_shardings=(shardings, meshes.replicated(mesh)),
    )
