"""The value of a note, sentence by sentence: V(note, task, g) of a critic that imagines.

The head V of ``heads`` reads three mean vectors, so it cannot tell whether the carrot that the goal
names is the carrot that the note has. Here the goal is the query of a ``reader``: it meets every
sentence of the note and of the task. The predicted note is read as it is: a sentence that stays or
appears with chance w has weight w.

It learns in the critic's own update, by expectile regression (``objectives.next_note_loss``). Like
V it bootstraps from itself: a slow copy would only delay it. Nothing is dropped: values of .8 then
came out as .76 (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pgv_jax.critic.reader import Centres, Member, Place, Scene, read

APPEARING = 16
"""Known sentences of a predicted note that are read beside those that stand, the likeliest."""
LEAST_CHANCE = 0.02
"""A sentence below that chance is not read."""


def note_value(member: Member, centres: Centres, scene: Scene) -> jax.Array:
    """Logits [B] of the values of notes for the goals that ``scene.query_BD`` holds."""
    place = Place(centres.note, centres.part_scale)
    return read(member["note_value"], centres, scene, place).out_BC[:, 0]


def expected(gone_BL: jax.Array, appears_BK: jax.Array, scene: Scene, known_KD: Any) -> Scene:
    """The note that a step leads to as a scene, from the chances of a scene's step."""
    stays_BL = 1.0 - gone_BL
    count_U, most = scene.parts_UD.shape[0], min(APPEARING, appears_BK.shape[1])
    chance_BA, at_BA = jax.lax.top_k(appears_BK, most)
    there_BL = (scene.note_BL >= 0) & (stays_BL > LEAST_CHANCE)
    note_BL = jnp.concatenate(
        [
            jnp.where(there_BL, scene.note_BL, -1),
            jnp.where(chance_BA > LEAST_CHANCE, count_U + at_BA, -1),
        ],
        axis=1,
    )
    parts_UD = jnp.concatenate([scene.parts_UD, known_KD])
    weight_BL = jnp.concatenate([stays_BL, chance_BA], axis=1)
    return scene._replace(parts_UD=parts_UD, note_BL=note_BL, weight_BL=weight_BL)


def note_values(member: Member, centres: Centres, scene: Scene, goal_BGD: jax.Array) -> jax.Array:
    """Values [B, G] in [0, 1] of a scene's notes for goals; the scene's own query is not read."""
    count_B, count_G = scene.note_BL.shape[0], goal_BGD.shape[1]
    goal_BGD = jnp.broadcast_to(goal_BGD, (count_B, *goal_BGD.shape[1:]))
    each = scene._replace(
        note_BL=jnp.repeat(scene.note_BL, count_G, axis=0),
        task_BM=jnp.repeat(scene.task_BM, count_G, axis=0),
        weight_BL=jnp.repeat(scene.weight_BL, count_G, axis=0),
        query_BD=goal_BGD.reshape(-1, goal_BGD.shape[-1]),
    )
    return jax.nn.sigmoid(note_value(member, centres, each)).reshape(count_B, count_G)
