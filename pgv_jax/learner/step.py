"""One update: predict once, ask the objective, update, let the slow copy follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pgv_jax.config import Config, TrainConfig
from pgv_jax.critic.heads import CriticSpec, link, multiply
from pgv_jax.critic.next_note import appearing, imagine, members, targets
from pgv_jax.critic.note_value import note_value
from pgv_jax.critic.reader import Centres, Scene
from pgv_jax.data.relabel import OUTCOME
from pgv_jax.learner.first_layer import Net, nets
from pgv_jax.learner.standardize import Constants, standardized
from pgv_jax.learner.state import State, graph_of
from pgv_jax.objectives import next_note_loss
from pgv_jax.objectives.base import Objective
from pgv_jax.types import GOAL_KINDS, Batch, Predictions

EDGES = np.square(np.linspace(0, 1, 33, dtype=np.float32))
"""Values between which predictions are counted; denser where rare goals' values lie."""
QUANTILES = (0.1, 0.5, 0.9)

Metrics = dict[str, jax.Array]
Update = Callable[[State, Batch, Constants], tuple[State, Metrics, Any]]
"""(state, batch, constants) -> (state, metrics, gradients); for the gradients see ``norms_of``."""
NORMS = ("gradient_norm", "update_norm")
NOTE_STRIDE = 2
"""The next-note model learns from every second step of a batch: it costs several Q heads."""
MEAN = 0.5
"""The expectile that is the mean."""


def predict(q: Net, v: Net, slow_q: Net, batch: Batch, shards: int) -> Predictions:
    """One forward: the heads themselves, the slow copy's Q of (s, thought), and V of s'.

    V bootstraps from the critic itself, as in the authors' IQL: a slow V as well would double the
    lag of every backup. Tasks and goals are projected once for V(s) and V(s').
    """
    goals = batch.reached_B.shape[0] // batch.goal_BD.shape[0]

    def meet(net: Net, h_BEH: jax.Array, goal_BEH: jax.Array) -> jax.Array:
        if goals == 1:
            return net.head.finish(h_BEH + goal_BEH)
        h_BGEH = h_BEH[:, None] + neighbours(goal_BEH, goals, shards)
        return net.head.finish(h_BGEH).reshape(h_BEH.shape[1], -1)

    def ask(net: Net) -> jax.Array:
        acted_BEH = _task(net, batch) + net.project("step", batch.obs_BD, batch.thought_BD)
        return meet(net, acted_BEH, net.project("goal", batch.goal_BD))

    v_task_BEH, v_goal_BEH = _task(v, batch), v.project("goal", batch.goal_BD)

    def value(obs_BD: jax.Array) -> jax.Array:
        return meet(v, v_task_BEH + v.project("step", obs_BD), v_goal_BEH)[0]

    return Predictions(
        q_EB=ask(q),
        v_B=value(batch.obs_BD),
        q_target_EB=ask(slow_q),
        next_v_B=value(batch.next_obs_BD),
    )


def _task(net: Net, batch: Batch) -> jax.Array:
    """The tasks' projection of each step, [B, E, H]: of each distinct one once, then its rows.

    Picked by a product, since the gradient of a gather is a scatter-add, whose order a GPU does not
    keep.
    """
    h_NEH = net.project("task", batch.task_ND)
    if batch.task_B is None:
        return h_NEH
    chosen_BN = jax.nn.one_hot(batch.task_B, h_NEH.shape[0])
    return multiply("bn,neh->beh", chosen_BN, h_NEH, net.compute)


def other_q(q: Net, batch: Batch, where: str) -> jax.Array:
    """Q [E, B] of the second thought, at the step's observation ("now") or the next ("next")."""
    assert batch.other_BD is not None
    observation = batch.obs_BD if where == "now" else batch.next_obs_BD
    step_BEH = q.project("step", observation, batch.other_BD)
    return q.head.finish(_task(q, batch) + step_BEH + q.project("goal", batch.goal_BD))


def neighbours(goal_BEH: jax.Array, goals: int, shards: int) -> jax.Array:
    """[B, E, H] -> [B, G, E, H]: projected goals i .. i + G - 1 of step i's shard, cyclically.

    The order in which ``relabel.draw`` states the facts.
    """
    by_shard = goal_BEH.reshape(shards, -1, *goal_BEH.shape[1:])
    rolled = jnp.stack([jnp.roll(by_shard, -j, axis=1) for j in range(goals)], axis=2)
    return rolled.reshape(-1, goals, *goal_BEH.shape[1:])


def _observed(predictions: Predictions, batch: Batch, head: str) -> Metrics:
    """What a batch asked and what was answered: shares of goal kinds, and of values below EDGES.

    Counts add up over devices where a sort would gather the batch; see ``quantiles``.
    """
    q_B, v_B = link(predictions.q_EB, head).mean(0), link(predictions.v_B, head)
    shares = {f"{kind}_share": (batch.kind_B == i).mean() for i, kind in enumerate(GOAL_KINDS)}
    below = {
        name: (x_B[:, None] < EDGES[None]).mean(0)
        for name, x_B in (("q_below", q_B), ("v_below", v_B))
    }
    return shares | below


def quantiles(name: str, below: np.ndarray) -> dict[str, float]:
    """``q_p10``, ``q_p50``, ``q_p90`` from the mean shares below ``EDGES``, by interpolation.

    Values outside of [0, 1] (linear heads) count as 0 and 1.
    """
    at = np.interp(QUANTILES, below, EDGES)
    return {f"{name}_p{100 * q:.0f}": float(x) for q, x in zip(QUANTILES, at, strict=True)}


def make_update(
    spec: CriticSpec,
    objective: Objective,
    train: TrainConfig,
    optimizer: optax.GradientTransformation,
    shards: int,
    notes: NoteSpec | None = None,
) -> Update:
    """Build an update, a pure function of plain pytrees.

    The parameters are those for standardised embeddings, in the learner's form (``first_layer``);
    batches hold raw embeddings. ``notes`` is for a critic with a next-note model, which learns from
    the same batches.
    """
    compute = train.compute
    graph = graph_of(spec, compute)

    def loss(params: Any, target: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        heads = nets(graph, params, compute)
        slow_q = nets(graph, {**params, **target}, compute)["q"]
        predictions = predict(heads["q"], heads["v"], slow_q, batch, shards)
        if objective.other:
            other = other_q(heads["q"], batch, objective.other)
            predictions = predictions._replace(other_q_EB=other)
        value, metrics = objective.loss(predictions, batch)
        return value, metrics | _observed(predictions, batch, spec.head)

    def whole_loss(
        params: Any, target: Any, raw: Batch, constants: Constants, step: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        value, metrics = loss(params, target, standardized(raw, constants.standards))
        if notes is None:
            return value, metrics
        key = jax.random.fold_in(jax.random.key(train.seed), step)
        more, also = note_loss(params["m"], notes, constants.centres, raw, key)
        if spec.note_value:
            worth = value_loss(params["m"], notes, constants.centres, raw)
            more, also = more + worth, also | {"note_value_loss": worth}
        return value + more, {**metrics, **also, "loss": value + more}

    def update(state: State, batch: Batch, constants: Constants) -> tuple[State, Metrics, Any]:
        gradients, metrics = jax.grad(whole_loss, has_aux=True)(
            state.params, state.target, batch, constants, state.step
        )
        updates, moments = optimizer.update(gradients, state.moments, state.params)
        params = optax.apply_updates(state.params, updates)
        # The slow copy follows the parameters *after* the update.
        followed = {name: params[name] for name in state.target}
        target = optax.incremental_update(followed, state.target, objective.polyak)
        state = State(params, target, state.best, moments, state.step + 1)
        return state, metrics, gradients

    return update


class NoteSpec(NamedTuple):
    """What the next-note model's loss needs beside the batch.

    ``in_notes`` of the batch's parts stand in notes and may appear; ``dropout`` is a share.
    ``gamma`` and ``expectile`` are the objective's; the value of notes learns by them, too.
    """

    in_notes: int
    dropout: float
    gamma: float
    expectile: float

    @classmethod
    def of(cls, config: Config, in_notes: int) -> NoteSpec:
        """What a configuration asks for; an objective without an expectile has the mean's."""
        own = config.objective
        dropout, expectile = config.critic.note_dropout, getattr(own, "expectile", MEAN)
        return cls(in_notes, dropout, own.gamma, expectile)


def note_loss(
    params: Any, notes: NoteSpec, centres: Centres | None, batch: Batch, key: jax.Array
) -> tuple[Any, Metrics]:
    """Loss of the next-note model's E members, each on its own steps of the batch."""
    parts_KD, ensemble = batch.parts_KD, members(params)
    assert parts_KD is not None and centres is not None
    losses: list[tuple[jax.Array, Metrics]] = []
    stride = NOTE_STRIDE * ensemble if len(batch.thought_BD) >= NOTE_STRIDE * ensemble else 1
    # A loop and no vmap: XLA's batched products of small matrices take twice the time on a CPU.
    for e in range(ensemble):
        member = jax.tree.map(lambda x, e=e: x[e], params)
        scenes, thought_BD = jax.tree.map(
            lambda x, e=e: x[e % stride :: stride], (batch.scenes, batch.thought_BD)
        )
        scene = Scene(parts_KD, scenes.now_BL, scenes.task_BM, thought_BD)
        said = imagine(member, centres, scene, jax.random.fold_in(key, e), notes.dropout)
        known = targets(member, centres, parts_KD[: notes.in_notes])
        appear_BK = appearing(said.plan, known)
        losses.append(next_note_loss.next_note(said.gone_BL, appear_BK, said.end_BC, scenes))
    metrics = {name: jnp.stack([m[name] for _, m in losses]).mean() for name in losses[0][1]}
    return jnp.stack([loss for loss, _ in losses]).sum(), metrics


def value_loss(params: Any, notes: NoteSpec, centres: Centres | None, batch: Batch) -> jax.Array:
    """Loss of the notes' value by E members, each on its own steps of the batch and their goals.

    On every step: from half of them goals of several steps were reached less often (docs/log.md).
    """
    parts_KD, ensemble = batch.parts_KD, members(params)
    assert parts_KD is not None and centres is not None
    size = len(batch.goal_BD)
    is_sentence_B = batch.kind_B.reshape(size, -1)[:, 0] != OUTCOME
    stride = ensemble if size >= ensemble else 1
    losses = []
    for e in range(ensemble):
        member = {"note_value": jax.tree.map(lambda x, e=e: x[e], params["note_value"])}
        scenes, goal_BD, counts_B = jax.tree.map(
            lambda x, e=e: x[e % stride :: stride], (batch.scenes, batch.goal_BD, is_sentence_B)
        )
        now, following = (
            Scene(parts_KD, ids_BL, scenes.task_BM, goal_BD)
            for ids_BL in (scenes.now_BL, scenes.next_BL)
        )
        logit_B = note_value(member, centres, now)
        next_B = jax.nn.sigmoid(note_value(member, centres, following))  # no gradient
        asked = (counts_B, scenes, notes.gamma, notes.expectile)
        losses.append(next_note_loss.note_value(logit_B, next_B, *asked))
    return jnp.stack(losses).sum()


def norms_of(gradients: Any, params: Any, before: Any) -> Metrics:
    """The norms of an update by its gradients, and its parameters after it and before."""
    moved = jax.tree.map(jnp.subtract, params, before)
    norms = [optax.tree.norm(tree) for tree in (gradients, moved)]
    return dict(zip(NORMS, norms, strict=True))


def scanned(
    update: Update,
    batch_of: Callable[[Any], Batch],
    state: State,
    parts: Any,
    constants: Constants,
) -> tuple[State, Metrics]:
    """Scan updates over ``batch_of`` each of ``parts`` [n, ...]; metrics [n, ...].

    The last one's norms stand for all n: those of each would be a tenth of an update of small heads
    on a CPU, and a third of its kernels on a GPU. What they are made of is carried along, since a
    last update apart would be compiled a second time.
    """

    def body(carry: tuple[State, Any, Any], part: Any) -> tuple[tuple[State, Any, Any], Metrics]:
        before, *_ = carry
        state, metrics, gradients = update(before, batch_of(part), constants)
        return (state, gradients, before.params), metrics

    nothing = jax.tree.map(jnp.zeros_like, state.params)
    (state, gradients, before), metrics = jax.lax.scan(body, (state, nothing, nothing), parts)
    norms = norms_of(gradients, state.params, before)
    repeated = {name: jnp.broadcast_to(x, metrics["loss"].shape) for name, x in norms.items()}
    return state, metrics | repeated
