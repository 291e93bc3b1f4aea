"""The next-note model's loss: what goes, what appears and how a step ends, each a cross-entropy.

    L_m = mean over steps of  sum over the note's sentences    CE(gone)
                            + sum over the known sentences     CE(appears)
                            + CE(end)

A sentence appears where it stands in the next note and not in this one.

The value of a note (``critic.note_value``) is learned beside it by expectile regression, for
sentences g that do not hold in s, on

    y = gamma (1 where g holds in s', else V(s', g))

the target of ``iql`` with V in Q's place: what the best of the logged steps lead to. The end of an
episode is no end of its goals here: imagined Q asks for no value past an end, and values of 0 there
ranked thoughts worse (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgv_jax.objectives.losses import Metrics, cross_entropy, expectile_weight
from pgv_jax.types import Scenes


def next_note(
    gone_BL: jax.Array, appear_BK: jax.Array, end_BC: jax.Array, scenes: Scenes
) -> tuple[jax.Array, Metrics]:
    """Return the scalar loss and scalar metrics of logits; unknown ends and cut notes count 0."""
    whole_B = scenes.whole_B.astype(jnp.float32)
    there_BL = scenes.now_BL >= 0
    stays_BL = (scenes.now_BL[:, :, None] == scenes.next_BL[:, None, :]).any(-1)
    gone = (cross_entropy(gone_BL, 1.0 - stays_BL) * there_BL).sum(-1)

    count_K = appear_BK.shape[1]
    rows_B1 = jnp.arange(appear_BK.shape[0])[:, None]

    def marked(ids_BL: jax.Array) -> jax.Array:
        beyond = jnp.where(ids_BL < 0, count_K, ids_BL)  # dropped
        return jnp.zeros(appear_BK.shape, bool).at[rows_B1, beyond].set(True, mode="drop")

    new_BK = marked(scenes.next_BL) & ~marked(scenes.now_BL)
    appear = cross_entropy(appear_BK, new_BK.astype(jnp.float32)).sum(-1)

    known_B = scenes.end_B >= 0
    at_B1 = jnp.maximum(scenes.end_B, 0)[:, None]
    end = -jnp.take_along_axis(jax.nn.log_softmax(end_BC), at_B1, axis=1)[:, 0] * known_B
    metrics = {
        "gone_loss": (whole_B * gone).mean(),
        "appear_loss": (whole_B * appear).mean(),
        "end_loss": end.mean(),
    }
    return sum(metrics.values(), jnp.zeros(())), metrics


def note_value(
    logit_B: jax.Array,
    next_value_B: jax.Array,
    is_sentence_B: jax.Array,
    scenes: Scenes,
    gamma: float,
    expectile: float,
) -> jax.Array:
    """The scalar loss of the values' logits, for goals that are sentences and do not hold now.

    ``next_value_B`` are the values of the next notes; no gradient goes through them.
    """
    target_B = gamma * jnp.where(scenes.next_reached_B, 1.0, next_value_B)
    target_B = jax.lax.stop_gradient(target_B)
    difference_B = target_B - jax.lax.stop_gradient(jax.nn.sigmoid(logit_B))
    asked_B = (is_sentence_B & ~scenes.reached_B).astype(jnp.float32)
    weight_B = expectile_weight(difference_B, expectile) * asked_B / jnp.maximum(asked_B.sum(), 1)
    return (weight_B * cross_entropy(logit_B, target_B)).sum()
