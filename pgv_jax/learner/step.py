"""One update: predict once, ask the objective, update, let the slow copy follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from pgv_jax.config import Config
from pgv_jax.critic import Critic, CriticSpec, Head
from pgv_jax.learner.standardize import Standards, standardized
from pgv_jax.learner.state import State, graph_of
from pgv_jax.objectives import OBJECTIVES
from pgv_jax.types import Batch, Predictions

Metrics = dict[str, jax.Array]
Update = Callable[[State, Batch], tuple[State, Metrics]]


def predict(critic: Critic, slow: Critic, batch: Batch, shards: int) -> Predictions:
    """One forward: the critic itself, the slow copy's Q of (s, thought), and V of s'.

    V bootstraps from the critic itself, as in the authors' IQL: a slow V as well would double the
    lag of every backup. Task and goal are projected once for V(s) and V(s').
    """
    goals = batch.reached_B.shape[0] // batch.goal_BD.shape[0]

    def meet(head: Head, own: dict[str, jax.Array], goal_BEH: jax.Array) -> jax.Array:
        h_BEH = head.project(own)
        if goals == 1:
            return head.finish(h_BEH + goal_BEH)
        h_BGEH = h_BEH[:, None] + neighbours(goal_BEH, goals, shards)
        return head.finish(h_BGEH).reshape(h_BEH.shape[1], -1)

    goal = {"goal": batch.goal_BD}
    now = {"task": batch.task_BD, "observation": batch.obs_BD}
    acted = {**now, "thought": batch.thought_BD}
    after = {"task": batch.task_BD, "observation": batch.next_obs_BD}
    v_goal_BEH = critic.v.project(goal)
    return Predictions(
        q_EB=meet(critic.q, acted, critic.q.project(goal)),
        v_B=meet(critic.v, now, v_goal_BEH)[0],
        q_target_EB=meet(slow.q, acted, slow.q.project(goal)),
        next_v_B=meet(critic.v, after, v_goal_BEH)[0],
    )


def neighbours(goal_BEH: jax.Array, goals: int, shards: int) -> jax.Array:
    """[B, E, H] -> [B, G, E, H]: projected goals i .. i + G - 1 of step i's shard, cyclically.

    The order in which ``relabel.draw`` states the facts.
    """
    by_shard = goal_BEH.reshape(shards, -1, *goal_BEH.shape[1:])
    rolled = jnp.stack([jnp.roll(by_shard, -j, axis=1) for j in range(goals)], axis=2)
    return rolled.reshape(-1, goals, *goal_BEH.shape[1:])


def make_update(
    spec: CriticSpec,
    config: Config,
    optimizer: optax.GradientTransformation,
    shards: int,
    standards: Standards,
) -> Update:
    """Build ``update(state, batch) -> (state, metrics)``, a pure function of plain pytrees.

    The parameters are those for standardised embeddings; batches hold raw ones.
    """
    objective = OBJECTIVES[config.objective.name]
    options = {name: getattr(config.objective, name) for name in objective.options}
    compute = None if config.train.compute == "float32" else jnp.dtype(config.train.compute)
    graph = graph_of(spec, compute)

    def loss(params: Any, target: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        critic, slow = _merge(graph, params), _merge(graph, target)
        predictions = predict(critic, slow, batch, shards)
        return objective.loss(predictions, batch, **options)

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        batch = standardized(batch, standards)
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state.target, batch)
        updates, moments = optimizer.update(gradients, state.moments, state.params)
        params = optax.apply_updates(state.params, updates)
        # The slow copy follows the parameters *after* the update.
        target = optax.incremental_update(params, state.target, config.objective.polyak)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        metrics["update_norm"] = optax.tree.norm(updates)
        return State(params, target, state.best, moments, state.step + 1), metrics

    return update


def _merge(graph: nnx.GraphDef, params: Any) -> Critic:
    return nnx.merge(graph, nnx.State(params))
