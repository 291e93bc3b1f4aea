"""What training changes: parameters, their slow copy, the optimizer's moments and the step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from pgv_jax.config import CriticConfig, GoalsConfig, TrainConfig
from pgv_jax.critic.heads import Compute, Critic, CriticSpec
from pgv_jax.critic.next_note import NextNote
from pgv_jax.data.relabel import GoalSpec
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.first_layer import stacked
from pgv_jax.objectives.base import Objective


class State(NamedTuple):
    """A pytree of arrays, in the learner's form. ``target`` is Q's slow copy, {"q": ...}.

    ``best`` are the parameters that were best on held-out tasks.
    """

    params: Any
    target: Any
    best: Any
    moments: Any
    step: jax.Array


def critic_spec(critic: CriticConfig, objective: Objective, dim: int) -> CriticSpec:
    """The critic that a configuration asks for, on embeddings of width ``dim``."""
    c, head = critic, objective.head
    width = c.note_width if c.q == "imagined" else 0
    valued = bool(width) and c.reads == "sentences"
    shape = (dim, c.hidden, c.ensemble, c.layer_norm, c.activation, head)
    return CriticSpec(*shape, note_width=width, note_cosines=bool(width), note_value=valued)


def goal_spec(goals: GoalsConfig, objective: Objective) -> GoalSpec:
    """The goal mixture that a configuration asks for, as its objective draws it."""
    asked = GoalSpec(
        shares=(goals.current, goals.future, goals.random, goals.outcome),
        gamma=objective.gamma,
        form=goals.form,
        horizon=goals.horizon,
        include_present=goals.include_present,
        failure=goals.failure,
    )
    return objective.goal_spec(asked)


def make_optimizer(
    train: TrainConfig, heads: tuple[str, ...] = ("q", "v")
) -> optax.GradientTransformation:
    """AdamW with a linear warm-up and a constant or cosine rate; biases and norms do not decay.

    Only the named heads move: decay would shrink a head that the objective does not train.
    """
    if train.schedule == "cosine":
        rate: Any = optax.warmup_cosine_decay_schedule(
            0.0 if train.warmup else train.lr, train.lr, train.warmup, max(train.steps, 1)
        )
    elif train.warmup:
        rate = optax.linear_schedule(0.0, train.lr, train.warmup)
    else:
        rate = train.lr
    adamw = optax.adamw(rate, weight_decay=train.weight_decay, mask=decayed)
    if set(heads) == {"q", "v"}:
        return adamw
    return optax.multi_transform(
        {"trained": adamw, "still": optax.set_to_zero()},
        lambda params: {
            head: jax.tree.map(lambda _, h=head: "trained" if h in heads else "still", part)
            for head, part in params.items()
        },
    )


def decayed(params: Any) -> Any:
    """True for the kernels."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "kernel" in jax.tree_util.keystr(path), params
    )


def graph_of(spec: CriticSpec, compute: Compute = "float32") -> nnx.GraphDef:
    """The critic's static part; ``nnx.merge(graph, params)`` gives the module back."""
    return nnx.split(nnx.eval_shape(lambda: Critic(spec, jax.random.key(0), compute)))[0]


def abstract_state(spec: CriticSpec, optimizer: optax.GradientTransformation, mesh: Mesh) -> State:
    """The state's shapes with their shardings: what a checkpoint is restored into."""
    shapes = jax.eval_shape(lambda: _init(spec, optimizer, jax.random.key(0)))
    shardings = meshes.parameter_shardings(mesh, shapes)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def init_state(
    spec: CriticSpec, optimizer: optax.GradientTransformation, mesh: Mesh, seed: int
) -> State:
    """Initialise on the devices: eval_shape -> shardings -> jit with ``out_shardings``."""
    abstract = abstract_state(spec, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    init = jax.jit(lambda key: _init(spec, optimizer, key), out_shardings=shardings)
    return init(jax.random.key(seed))


def begun_with(state: State, params: Any, abstract: State) -> State:
    """A new run's state with given parameters in the learner's form, on each host."""

    def placed(leaf: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
        host = np.asarray(leaf, like.dtype)
        return jax.make_array_from_callback(like.shape, like.sharding, lambda index: host[index])

    params = jax.tree.map(placed, params, abstract.params)
    target = jax.tree.map(jnp.copy, {"q": params["q"]})
    return state._replace(params=params, target=target, best=jax.tree.map(jnp.copy, params))


def _init(spec: CriticSpec, optimizer: optax.GradientTransformation, key: jax.Array) -> State:
    params = stacked(nnx.to_pure_dict(nnx.state(Critic(spec, key))))
    if spec.note_width:
        shape = (spec.ensemble, spec.dim, spec.note_width, spec.note_cosines, spec.note_value)
        model = NextNote(jax.random.fold_in(key, 1), *shape)
        params["m"] = nnx.to_pure_dict(nnx.state(model))
    target = jax.tree.map(jnp.copy, {"q": params["q"]})
    best = jax.tree.map(jnp.copy, params)
    return State(params, target, best, optimizer.init(params), jnp.zeros((), jnp.int32))
