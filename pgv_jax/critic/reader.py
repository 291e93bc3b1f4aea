"""The reader of sentences: what a note and a task are to one query, a thought or a goal.

It reads the note's and the task's sentences and the query as frozen vectors. Each sentence becomes
a token that has met the query; four heads of attention pool the tokens to a context, and a soft
maximum over the tokens lets one sentence decide an output. ``next_note`` asks it with a thought,
``note_value`` with a goal.

The cosines between the query and each sentence, each centred by its own field's mean, enter as
features and as logits of the attention. Without them the model learns these similarities anew
from few hundred episodes and fails on sentences that it has not met (docs/log.md, 2026-11-28).

====  ====================================================
L, M  sentences of a note, of a task (padded; -1 is none)
T     L + M
U     distinct parts at hand
====  ====================================================
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.export import is_symbolic_dim

from pgv_jax.critic.heads import lecun

HEADS = 4
"""Heads of the attention from a query to the parts."""
SHARPNESS = (20.0, 20.0 / 3, 0.0, 0.0)
"""At the start, by head: the weight of the cosine in the attention's logit."""
BUMPS = (0.2, 0.4, 0.6)
"""Cosines above which a feature of the cosine is active."""
END_AT_START = -1.0
"""Logit of the outputs at initialisation."""
POOL = 3.0
"""Inverse temperature of the soft maximum over the parts that decide an output."""
EPSILON = 1e-5
FEW_PARTS = 32
"""Parts at hand, for each that a row reads, up to which all cosines are one matrix product."""
LIKELY = 0.5
"""Weight of a sentence from which it counts as the nearest to a query."""


class Centres(NamedTuple):
    """Where the fields' vectors lie, from the training log. Not trained.

    ``note``, ``task`` and ``thought`` [D] are means over distinct texts, the scales [1] the
    root mean square of a centred entry of a part and of a thought.
    """

    note: Any
    task: Any
    thought: Any
    part_scale: Any
    thought_scale: Any


class Scene(NamedTuple):
    """What is read: raw vectors and numbers of parts, and a query each, aligned over B.

    ``weight_BL`` are the chances that the note's sentences are there; None: all are.
    """

    parts_UD: Any
    note_BL: Any
    task_BM: Any
    query_BD: Any
    weight_BL: Any = None


class Place(NamedTuple):
    """Where the queries' own field lies: its mean [D] and scale [1]."""

    mean: Any
    scale: Any


class Reading(NamedTuple):
    """The tokens, the context and the output logits of one member."""

    token_BTH: jax.Array
    context_BH: jax.Array
    out_BC: jax.Array


class Fresh:
    """New parameters of E members, drawn one after the other."""

    def __init__(self, key: jax.Array, ensemble: int):
        self._keys, self._ensemble = iter(jax.random.split(key, 32)), ensemble

    def kernel(self, rows: int, columns: int) -> nnx.Param:
        """[E, rows, columns], uniform, variance 1 / rows."""
        return nnx.Param(lecun(next(self._keys), self._shape(rows, columns), rows))

    def small(self, rows: int, columns: int, size: float) -> nnx.Param:
        """[E, rows, columns], normal of standard deviation ``size``."""
        return nnx.Param(size * jax.random.normal(next(self._keys), self._shape(rows, columns)))

    def bias(self, columns: int, start: float = 0.0) -> nnx.Param:
        """[E, columns], all ``start``."""
        return nnx.Param(jnp.full((self._ensemble, columns), start))

    def _shape(self, *sizes: int) -> tuple[int, ...]:
        return (self._ensemble, *sizes)


class Reader(nnx.Module):
    """E members of width H that read vectors of width D, with C output logits."""

    def __init__(self, fresh: Fresh, ensemble: int, dim: int, width: int, outs: int):
        kernel, small, bias = fresh.kernel, fresh.small, fresh.bias
        self.part_kernel, self.thought_kernel = kernel(dim, width), kernel(dim, width)
        self.token_kernel, self.token_thought_kernel = kernel(width, width), kernel(width, width)
        self.gate_kernel, self.gated_kernel = kernel(width, width), kernel(width, width)
        self.cosine_kernel = small(1 + len(BUMPS), width, 0.5)
        self.field = small(2, width, 0.1)
        self.token_bias = bias(width)
        self.attention_kernel = kernel(width, HEADS)
        self.sharpness = nnx.Param(jnp.tile(jnp.asarray(SHARPNESS), (ensemble, 1)))
        self.value_kernel = kernel(width, width)
        self.context_kernel, self.context_bias = kernel(2 * width, width), bias(width)
        self.nearest_kernel = small(2 * (1 + len(BUMPS)), width, 0.5)
        self.end_kernel, self.end_bias = kernel(width, width), bias(width)
        self.end_out_kernel, self.end_out_bias = kernel(width, outs), bias(outs)
        self.part_end_kernel, self.part_end_bias = kernel(width, width), bias(width)
        self.part_end_out_kernel = small(width, outs, 0.1 / width**0.5)
        self.part_end_out_bias = bias(outs, END_AT_START)


Member = dict[str, Any]
"""One member's parameters: the arrays of a ``Reader`` without their leading axis."""


def read(
    member: Member,
    centres: Centres,
    scene: Scene,
    query: Place,
    key: jax.Array | None = None,
    rate: float = 0.0,
) -> Reading:
    """One member's reading of a scene; with a ``key`` units are dropped at ``rate``.

    A sentence of weight w has log w added to its logit of the attention and of the soft maximum.
    """
    p = member
    keys = [None] * 5 if key is None else list(jax.random.split(key, 5))
    ids_BT = jnp.concatenate([scene.note_BL, scene.task_BM], axis=1)
    there_BT, rows_BT = ids_BT >= 0, jnp.maximum(ids_BT, 0)
    there_BT1, count_L = there_BT[..., None], scene.note_BL.shape[1]
    in_task_T = jnp.arange(ids_BT.shape[1]) >= count_L
    log_weight_BT = jnp.zeros(ids_BT.shape)
    if scene.weight_BL is not None:
        weight_BL = jnp.maximum(scene.weight_BL, EPSILON)
        log_weight_BT = log_weight_BT.at[:, :count_L].set(jnp.log(weight_BL))
    query_BD = standard(scene.query_BD, query.mean, query.scale)
    h_BH = dropped(normed(query_BD @ p["thought_kernel"]), keys[0], rate)

    def projected(parts_D: jax.Array) -> jax.Array:
        return normed(standard(parts_D, centres.note, centres.part_scale) @ p["part_kernel"])

    if few(scene.parts_UD, ids_BT.size):  # each distinct part is projected once
        x_UH = projected(scene.parts_UD)
        x_BTH, from_part_BTH = x_UH[rows_BT], (x_UH @ p["token_kernel"])[rows_BT]
    else:
        x_BTH = projected(scene.parts_UD[rows_BT])
        from_part_BTH = x_BTH @ p["token_kernel"]
    cosine_BT = jnp.where(there_BT, cosines(centres, scene, query.mean), -1.0)
    gated_BTH = x_BTH * (h_BH @ p["gate_kernel"])[:, None]
    token_BTH = jax.nn.gelu(
        from_part_BTH
        + (h_BH @ p["token_thought_kernel"] + p["token_bias"][None])[:, None]
        + gated_BTH @ p["gated_kernel"]
        + p["field"][in_task_T.astype(int)][None]
        + bumps(cosine_BT) @ p["cosine_kernel"]
    )
    token_BTH = dropped(token_BTH, keys[1], rate)
    by_cosine_BTA = cosine_BT[..., None] * p["sharpness"][None, None]
    logit_BTA = token_BTH @ p["attention_kernel"] + by_cosine_BTA + log_weight_BT[..., None]
    weight_BTA = jax.nn.softmax(jnp.where(there_BT1, logit_BTA, -1e9), axis=1)
    weight_BTA = weight_BTA * there_BT1  # all 0 where there is nothing to read
    # Pooled before the values' product, which is linear: it is asked once a head, not once a token.
    pooled_BAH = jnp.einsum("bta,bth->bah", weight_BTA, token_BTH)
    value_HAK = p["value_kernel"].reshape(h_BH.shape[1], HEADS, -1)
    pooled_BH = jnp.einsum("bah,hak->bak", pooled_BAH, value_HAK).reshape(h_BH.shape)
    near_BT = jnp.where(log_weight_BT >= math.log(LIKELY), cosine_BT, -1.0)
    nearest = [jnp.max(near_BT[:, :count_L], axis=1), jnp.max(near_BT[:, count_L:], axis=1)]
    nearest_BF = jnp.concatenate([bumps(c_B) for c_B in nearest], axis=-1)
    both_BH = jnp.concatenate([normed(pooled_BH), h_BH], axis=-1)
    context_BH = affine(p, "context", both_BH) + nearest_BF @ p["nearest_kernel"]
    context_BH = dropped(jax.nn.gelu(context_BH), keys[2], rate)

    end_BH = jax.nn.gelu(affine(p, "end", context_BH))
    end_BC = affine(p, "end_out", dropped(end_BH, keys[3], rate))
    part_BTH = jax.nn.gelu(affine(p, "part_end", token_BTH))
    part_BTC = POOL * affine(p, "part_end_out", dropped(part_BTH, keys[4], rate))
    part_BTC = part_BTC + log_weight_BT[..., None]
    most_BC = jax.nn.logsumexp(jnp.where(there_BT1, part_BTC, -1e9), axis=1) / POOL
    most_BC = jnp.where(there_BT.any(1, keepdims=True), most_BC, 0.0)
    return Reading(token_BTH, context_BH, end_BC + most_BC)


def cosines(centres: Centres, scene: Scene, mean_D: Any) -> jax.Array:
    """Cosines [B, L + M] between the query and each part, each centred by its field's mean."""
    query_BD = unit(scene.query_BD - mean_D[None])

    def of(ids_BL: jax.Array, mean_D: jax.Array) -> jax.Array:
        parts_UD, rows_BL = unit(scene.parts_UD - mean_D[None]), jnp.maximum(ids_BL, 0)
        if few(parts_UD, FEW_PARTS * ids_BL.shape[1]):  # a product, then numbers are gathered
            return jnp.take_along_axis(query_BD @ parts_UD.T, rows_BL, axis=1)
        return jnp.einsum("bd,bld->bl", query_BD, parts_UD[rows_BL])

    pair = of(scene.note_BL, centres.note), of(scene.task_BM, centres.task)
    return jnp.concatenate(pair, axis=1)


def unit(x: jax.Array) -> jax.Array:
    """Vectors [..., D] of length 1; a vector of zeros stays one."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def few(parts_UD: jax.Array, most: Any) -> bool:
    """Are there at most so many parts? A program for any number of them is made for few."""
    count = parts_UD.shape[0]
    return any(is_symbolic_dim(size) for size in (count, most)) or bool(count <= most)


def standard(x: jax.Array, mean_D: jax.Array, scale: jax.Array) -> jax.Array:
    """Vectors [..., D], centred and scaled."""
    return (x - mean_D.reshape(*[1] * (x.ndim - 1), -1)) / scale.reshape(())


def affine(member: Member, name: str, x: jax.Array) -> jax.Array:
    """[..., H] -> [..., H'] by the layer of that name."""
    bias = member[f"{name}_bias"]
    return x @ member[f"{name}_kernel"] + bias.reshape(*[1] * (x.ndim - 1), -1)


def bumps(cosine: jax.Array) -> jax.Array:
    """Features [..., 1 + len(BUMPS)] of cosines [...]."""
    above = [4.0 * jax.nn.relu(cosine - edge) for edge in BUMPS]
    return jnp.stack([2.0 * cosine, *above], axis=-1)


def normed(x: jax.Array) -> jax.Array:
    """LayerNorm without parameters."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + EPSILON)


def dropped(x: jax.Array, key: jax.Array | None, rate: float) -> jax.Array:
    """Dropout with one mask for all parts of a row: it costs little, and parts stay comparable."""
    if key is None or not rate:
        return x
    shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
    return x * jax.random.bernoulli(key, 1.0 - rate, shape) / (1.0 - rate)
