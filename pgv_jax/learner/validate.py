"""Model selection on held-out *tasks*: two ranking scores that no moving target can flatter.

Of a critic with a next-note model also how far the note that it expects is from the true one, over
how far this note is: below 1, imagining knows more than "nothing changes".

success   AUC of Q(s, thought, success) against the episode's result, among steps with the same
          index: a critic that only counts steps scores 1/2.
goals     AUC of Q(s, thought, g) for state goals that do not hold now against whether g holds
          later in the episode; future and random goals in equal parts. Not asked of a critic
          that is trained on outcomes alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.critic.heads import CriticSpec, link
from pgv_jax.critic.imagined import (
    ABSENT,
    STATE,
    SUCCEEDS,
    Question,
    imagined_values,
    model_of,
)
from pgv_jax.critic.next_note import separated
from pgv_jax.critic.reader import Scene
from pgv_jax.data.known_parts import MOST_READ
from pgv_jax.data.next_notes import notes_of
from pgv_jax.data.relabel import (
    OUTCOME,
    SUCCESS_ID,
    Draw,
    GoalSpec,
    chance,
    index_of,
    longest_note,
    relabel,
)
from pgv_jax.data.table import Shard, Table
from pgv_jax.learner.row_files import index_length
from pgv_jax.learner.state import graph_of

STEPS = 2048
"""Steps judged at most, drawn evenly over the held-out episodes."""
LEAST = 20
"""Pairs needed on both sides before an AUC says anything."""


class Validation:
    """The held-out questions, drawn once, and how to put them to a critic."""

    def __init__(self, table: Table, spec: CriticSpec, goals: GoalSpec, success: bool = True):
        self._ask_success, self._gamma = success, goals.gamma
        self._graph = graph_of(spec)
        self._head = spec.head
        self._states = sum(goals.shares[:OUTCOME]) > 0
        index, longest = index_of(table.shards, length=index_length), longest_note(table.shards)
        half = GoalSpec((0.0, 0.5, 0.5, 0.0), goals.gamma, goals.form, "uniform", False, 0.5)
        limit = STEPS // len(table.shards)
        bits = chance(jax.random.key(0), limit)
        draw = jax.jit(lambda index, rows: relabel(bits, index, rows, half, longest))
        asked = []
        for i, shard in enumerate(table.shards):
            steps = index.step_row[i, : index.steps[i]]
            rows = np.asarray(steps[np.linspace(0, len(steps) - 1, limit).astype(int)])
            drawn = jax.device_get(draw(jax.tree.map(lambda x, i=i: x[i], index), rows))
            asked.append(_questions(shard, table.tasks, rows, drawn))
            if spec.note_width:
                assert table.parts is not None
                notes = notes_of(jax.tree.map(lambda x, i=i: x[i], index), rows, MOST_READ)
                told = {"next": shard.vectors[np.asarray(shard.row_obs)[rows + 1]]}
                told["note"] = np.asarray(notes.now)
                told["task_parts"] = np.asarray(table.parts.task_parts)[drawn.task]
                asked[-1] |= told
        asked_for = {name: np.concatenate([a[name] for a in asked]) for name in asked[0]}
        self._later, self._counts = asked_for.pop("later"), asked_for.pop("counts")
        self._time, self._success = asked_for.pop("time"), asked_for.pop("success")
        numbers: dict[str, Any] = {}
        if spec.note_width and table.parts is not None:
            numbers = {name: jnp.asarray(asked_for.pop(name)) for name in ("note", "task_parts")}
            asked_for["parts"] = table.parts.parts
        vectors = {name: jnp.asarray(x, jnp.float32) for name, x in asked_for.items()}
        self._inputs = vectors | numbers
        self._score = jax.jit(self._imagined if numbers else self._values)

    def _values(self, params: Any, inputs: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        critic = nnx.merge(self._graph, nnx.State(params))
        inputs = dict(inputs)
        success_goal = inputs.pop("success_goal")
        on_goal = link(critic.q(inputs), self._head).mean(0)
        on_success = link(critic.q({**inputs, "goal": success_goal}), self._head).mean(0)
        return on_goal, on_success

    def _imagined(
        self, params: Any, inputs: dict[str, Any]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        trained, centres, known_KD = separated(params["m"])
        v = nnx.merge(self._graph, nnx.State({k: params[k] for k in ("q", "v")})).v
        x = inputs
        goal_BGD = jnp.stack([x["goal"], x["success_goal"]], axis=1)
        asked = jnp.asarray([[STATE, SUCCEEDS]])
        scene = Scene(x["parts"], x["note"], x["task_parts"], x["thought"])
        nowhere = jnp.full((1, 2), ABSENT)  # goals that hold now do not count
        question = Question(scene, jnp.zeros((1, 1)), x["task"], goal_BGD, nowhere, asked)
        model = model_of(trained, centres, jnp.asarray(known_KD))
        values_EBG, next_EBD = imagined_values(model, v, question, self._head, self._gamma)
        values_BG = values_EBG.mean(0)
        wrong = jnp.square(next_EBD.mean(0) - x["next"]).sum()
        still = jnp.square(x["observation"] - x["next"]).sum()
        return values_BG[:, 0], values_BG[:, 1], wrong / jnp.maximum(still, 1e-9)

    def __call__(self, params: Any) -> dict[str, float]:
        """Return ``val_success``, ``val_goals`` where testable, and their mean ``val_score``.

        ``val_next_error`` stands beside them for a critic with a next-note model.
        """
        on_goal, on_success, *error = (np.asarray(x) for x in self._score(params, self._inputs))
        scores = {}
        known = (self._success >= 0) & self._ask_success
        auc = stratified_auc(on_success[known], self._success[known] == 1, self._time[known])
        if auc is not None:
            scores["val_success"] = auc
        counts = self._counts
        auc = None
        if self._states:
            auc = stratified_auc(on_goal[counts], self._later[counts], np.zeros(counts.sum()))
        if auc is not None:
            scores["val_goals"] = auc
        if scores:
            scores["val_score"] = sum(scores.values()) / len(scores)
        return scores | ({"val_next_error": float(error[0])} if error and scores else {})


def stratified_auc(score: np.ndarray, label: np.ndarray, stratum: np.ndarray) -> float | None:
    """Share of (positive, negative) pairs of one stratum that are ranked right; ties count half.

    None below ``LEAST`` positives or negatives in strata that have both.
    """
    right, pairs, positives, negatives = 0.0, 0, 0, 0
    for s in np.unique(stratum):
        up, down = score[(stratum == s) & label], score[(stratum == s) & ~label]
        if not len(up) or not len(down):
            continue
        order = np.sort(down)
        below = np.searchsorted(order, up, "left")
        upto = np.searchsorted(order, up, "right")
        right += float((below + upto).sum()) / 2
        pairs += len(up) * len(down)
        positives += len(up)
        negatives += len(down)
    if min(positives, negatives) < LEAST:
        return None
    return right / pairs


def _questions(
    shard: Shard, tasks: np.ndarray, rows: np.ndarray, drawn: Draw
) -> dict[str, np.ndarray]:
    """Turn a shard's draw into vectors, labels and strata. A short shard repeats its steps."""
    vectors = shard.vectors
    episode = np.asarray(shard.row_episode)[rows]
    return {
        "task": tasks[drawn.task],
        "observation": vectors[drawn.obs],
        "thought": vectors[drawn.thought],
        "goal": vectors[drawn.goal],
        "success_goal": np.repeat(vectors[SUCCESS_ID : SUCCESS_ID + 1], len(rows), 0),
        "later": np.asarray(
            [_holds_later(shard, r, g) for r, g in zip(rows, drawn.goal, strict=True)], bool
        ),
        "counts": ~drawn.reached,
        "time": rows - np.asarray(shard.episode_start)[episode],
        "success": np.asarray(shard.episode_success)[episode],
    }


def _holds_later(shard: Shard, row: int, goal: int) -> bool:
    last = shard.episode_start[shard.row_episode[row] + 1]
    held = shard.sentence_ids[shard.sentence_start[row + 1] : shard.sentence_start[last]]
    return bool((held == goal).any() or (shard.row_note[row + 1 : last] == goal).any())
