"""The next-note model: what a thought leads to, one step ahead, in known sentences.

A note is a set of sentences. The model reads the note, the task and one thought as vectors of their
parts, and predicts

- for each sentence of the note the chance that it is gone at the next step,
- for each known sentence, one that stood in some note of the training log, the chance that it
  appears, and in the same way for any goal,
- how the step ends: not at all, in success, in failure, or because the log was cut off.

The predicted next note is then pooled as its encoder pools a note (``composed``), so that V reads
it as it reads a true one; ``critic.imagined`` makes Q of both.

The cosines between the thought and each part, each centred by its own field's mean, enter as
features and as logits of the attention. Without them the model learns these similarities anew
from few hundred episodes and fails on sentences that it has not met (docs/log.md, 2026-11-28).

====  ====================================================
L, M  sentences of a note, of a task (padded; -1 is none)
U     distinct parts at hand
K     known sentences
====  ====================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.export import is_symbolic_dim

HEADS = 4
"""Heads of the attention from a thought to the parts."""
SHARPNESS = (20.0, 20.0 / 3, 0.0, 0.0)
"""At the start, by head: the weight of the cosine in the attention's logit."""
BUMPS = (0.2, 0.4, 0.6)
"""Cosines above which a feature of the cosine is active."""
GONE_AT_START, APPEAR_AT_START, END_AT_START = -2.0, -4.0, -1.0
"""Logits at initialisation: most sentences stay, and few appear."""
POOL = 3.0
"""Inverse temperature of the soft maximum over the parts that say how a step ends."""
EPSILON = 1e-5
FEW_PARTS = 32
"""Parts at hand, for each that a row reads, up to which all cosines are one matrix product."""
ENDS = ("goes on", "success", "failure", "cut off")
"""How a step ends, in the order of the logits (``data.next_notes``)."""


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
    """What the model reads: raw vectors and numbers of parts, aligned over B."""

    parts_UD: Any
    note_BL: Any
    task_BM: Any
    thought_BD: Any


class Imagined(NamedTuple):
    """Logits of one member, and ``plan_BH``, of which any goal's appearance can be asked."""

    gone_BL: jax.Array
    end_BC: jax.Array
    plan_BH: jax.Array


class NextNote(nnx.Module):
    """E members of the next-note model of width H, on vectors of width D."""

    def __init__(self, key: jax.Array, ensemble: int, dim: int, width: int):
        keys = iter(jax.random.split(key, 32))

        def kernel(rows: int, columns: int) -> nnx.Param:
            bound = (3.0 / rows) ** 0.5
            shape = (ensemble, rows, columns)
            return nnx.Param(jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound))

        def small(rows: int, columns: int, size: float) -> nnx.Param:
            return nnx.Param(size * jax.random.normal(next(keys), (ensemble, rows, columns)))

        def bias(columns: int, start: float = 0.0) -> nnx.Param:
            return nnx.Param(jnp.full((ensemble, columns), start))

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
        self.gone_kernel, self.gone_bias = kernel(2 * width, width), bias(width)
        self.gone_out_kernel, self.gone_out_bias = kernel(width, 1), bias(1, GONE_AT_START)
        self.plan_kernel, self.plan_bias = kernel(width, width), bias(width)
        self.known_kernel, self.known_bias = kernel(dim, width), bias(1, APPEAR_AT_START)
        self.prior_kernel = nnx.Param(jnp.zeros((ensemble, dim, 1)))
        self.end_kernel, self.end_bias = kernel(width, width), bias(width)
        self.end_out_kernel, self.end_out_bias = kernel(width, len(ENDS)), bias(len(ENDS))
        self.part_end_kernel, self.part_end_bias = kernel(width, width), bias(width)
        self.part_end_out_kernel = small(width, len(ENDS), 0.1 / width**0.5)
        self.part_end_out_bias = bias(len(ENDS), END_AT_START)


Member = dict[str, Any]
"""One member's parameters: the arrays of ``NextNote`` without their leading axis."""


def members(params: dict[str, Any]) -> int:
    """How many members parameters [E, ...] have."""
    return int(params["part_kernel"].shape[0])


def joined(params: dict[str, Any], centres: Centres, known_KD: Any) -> dict[str, Any]:
    """The parameters with their constants beside them, as an artifact keeps them."""
    constants = {f"centre_{name}": value for name, value in centres._asdict().items()}
    return {**params, **constants, "known": known_KD}


def shapes(ensemble: int, dim: int, width: int, known: int) -> dict[str, Any]:
    """The shapes of ``joined`` parameters, by name."""
    made = nnx.eval_shape(lambda: NextNote(jax.random.key(0), ensemble, dim, width))
    centre, scale = (jax.ShapeDtypeStruct((n,), jnp.float32) for n in (dim, 1))
    centres = Centres(centre, centre, centre, scale, scale)
    known_KD = jax.ShapeDtypeStruct((known, dim), jnp.float32)
    return joined(nnx.to_pure_dict(nnx.state(made)), centres, known_KD)


def separated(params: dict[str, Any]) -> tuple[dict[str, Any], Centres, Any]:
    """The inverse of ``joined``: trained parameters, centres, known sentences [K, D]."""
    trained = dict(params)
    known = trained.pop("known")
    centres = Centres(*(trained.pop(f"centre_{name}") for name in Centres._fields))
    return trained, centres, known


def imagine(
    member: Member, centres: Centres, scene: Scene, key: jax.Array | None = None, rate: float = 0.0
) -> Imagined:
    """One member's predictions for a scene; with a ``key`` units are dropped at ``rate``."""
    p = member
    keys = [None] * 6 if key is None else list(jax.random.split(key, 6))
    ids_BT = jnp.concatenate([scene.note_BL, scene.task_BM], axis=1)
    there_BT, rows_BT = ids_BT >= 0, jnp.maximum(ids_BT, 0)
    there_BT1, count_L = there_BT[..., None], scene.note_BL.shape[1]
    in_task_T = jnp.arange(ids_BT.shape[1]) >= count_L
    thought_BD = _standard(scene.thought_BD, centres.thought, centres.thought_scale)
    h_BH = _dropped(_normed(thought_BD @ p["thought_kernel"]), keys[0], rate)

    def read(parts_D: jax.Array) -> jax.Array:
        return _normed(_standard(parts_D, centres.note, centres.part_scale) @ p["part_kernel"])

    if _few(scene.parts_UD, ids_BT.size):  # each distinct part is projected once
        x_UH = read(scene.parts_UD)
        x_BTH, from_part_BTH = x_UH[rows_BT], (x_UH @ p["token_kernel"])[rows_BT]
    else:
        x_BTH = read(scene.parts_UD[rows_BT])
        from_part_BTH = x_BTH @ p["token_kernel"]
    cosine_BT = jnp.where(there_BT, cosines(centres, scene), -1.0)
    gated_BTH = x_BTH * (h_BH @ p["gate_kernel"])[:, None]
    token_BTH = jax.nn.gelu(
        from_part_BTH
        + (h_BH @ p["token_thought_kernel"] + p["token_bias"][None])[:, None]
        + gated_BTH @ p["gated_kernel"]
        + p["field"][in_task_T.astype(int)][None]
        + _bumps(cosine_BT) @ p["cosine_kernel"]
    )
    token_BTH = _dropped(token_BTH, keys[1], rate)
    by_cosine_BTA = cosine_BT[..., None] * p["sharpness"][None, None]
    logit_BTA = token_BTH @ p["attention_kernel"] + by_cosine_BTA
    weight_BTA = jax.nn.softmax(jnp.where(there_BT1, logit_BTA, -1e9), axis=1)
    weight_BTA = weight_BTA * there_BT1  # all 0 where there is nothing to read
    value_BTAK = (token_BTH @ p["value_kernel"]).reshape(*ids_BT.shape, HEADS, -1)
    pooled_BH = jnp.einsum("bta,btak->bak", weight_BTA, value_BTAK).reshape(h_BH.shape)
    nearest = [jnp.max(cosine_BT[:, :count_L], axis=1), jnp.max(cosine_BT[:, count_L:], axis=1)]
    nearest_BF = jnp.concatenate([_bumps(c_B) for c_B in nearest], axis=-1)
    both_BH = jnp.concatenate([_normed(pooled_BH), h_BH], axis=-1)
    context_BH = _affine(p, "context", both_BH) + nearest_BF @ p["nearest_kernel"]
    context_BH = _dropped(jax.nn.gelu(context_BH), keys[2], rate)

    of_token, of_context = jnp.split(p["gone_kernel"], 2)
    from_context_B1H = (context_BH @ of_context + p["gone_bias"][None])[:, None]
    gone_BLH = jax.nn.gelu(token_BTH[:, :count_L] @ of_token + from_context_B1H)
    gone_BL = _affine(p, "gone_out", _dropped(gone_BLH, keys[3], rate))[..., 0]

    end_BH = jax.nn.gelu(_affine(p, "end", context_BH))
    end_BC = _affine(p, "end_out", _dropped(end_BH, keys[4], rate))
    part_BTH = jax.nn.gelu(_affine(p, "part_end", token_BTH))
    part_BTC = POOL * _affine(p, "part_end_out", _dropped(part_BTH, keys[5], rate))
    most_BC = jax.nn.logsumexp(jnp.where(there_BT1, part_BTC, -1e9), axis=1) / POOL
    most_BC = jnp.where(there_BT.any(1, keepdims=True), most_BC, 0.0)
    return Imagined(gone_BL, end_BC + most_BC, _affine(p, "plan", context_BH))


class Targets(NamedTuple):
    """Sentences whose appearance is asked, as one member meets them: [K, H] and logits [K]."""

    meets_KH: jax.Array
    prior_K: jax.Array


def targets(member: Member, centres: Centres, goal_KD: jax.Array) -> Targets:
    """Project raw vectors [K, D] of known sentences or of goals."""
    x_KD = _standard(goal_KD, centres.note, centres.part_scale)
    scale = 4.0 / member["plan_bias"].shape[-1] ** 0.5
    prior_K = (x_KD @ member["prior_kernel"])[..., 0] + member["known_bias"].reshape(())
    return Targets(scale * (x_KD @ member["known_kernel"]), prior_K)


def appearing(plan_BH: jax.Array, asked: Targets) -> jax.Array:
    """Logits [B, K] that sentences appear at the next step."""
    return plan_BH @ asked.meets_KH.T + asked.prior_K[None]


def cosines(centres: Centres, scene: Scene) -> jax.Array:
    """Cosines [B, L + M] between the thought and each part, each centred by its field's mean."""
    thought_BD = unit(scene.thought_BD - centres.thought[None])

    def of(ids_BL: jax.Array, mean_D: jax.Array) -> jax.Array:
        parts_UD, rows_BL = unit(scene.parts_UD - mean_D[None]), jnp.maximum(ids_BL, 0)
        if _few(parts_UD, FEW_PARTS * ids_BL.shape[1]):  # a product, then numbers are gathered
            return jnp.take_along_axis(thought_BD @ parts_UD.T, rows_BL, axis=1)
        return jnp.einsum("bd,bld->bl", thought_BD, parts_UD[rows_BL])

    pair = of(scene.note_BL, centres.note), of(scene.task_BM, centres.task)
    return jnp.concatenate(pair, axis=1)


def composed(
    gone_BL: jax.Array, appears_BK: jax.Array, scene: Scene, known_KD: jax.Array, rest_BD: jax.Array
) -> jax.Array:
    """The predicted next note's vector [B, D], from chances: what stays and what appears.

    Pooled as ``sentences:`` encoders pool, by the normalised mean. ``rest_BD`` is the sum over
    sentences of the note that were not read; they stay.
    """
    stays_BL = jnp.where(scene.note_BL >= 0, 1.0 - gone_BL, 0.0)
    parts_BLD = scene.parts_UD[jnp.maximum(scene.note_BL, 0)]
    return unit(jnp.einsum("bl,bld->bd", stays_BL, parts_BLD) + appears_BK @ known_KD + rest_BD)


def unit(x: jax.Array) -> jax.Array:
    """Vectors [..., D] of length 1; a vector of zeros stays one."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def _few(parts_UD: jax.Array, most: Any) -> bool:
    """Are there at most so many parts? A program for any number of them is made for few."""
    count = parts_UD.shape[0]
    return any(is_symbolic_dim(size) for size in (count, most)) or bool(count <= most)


def _standard(x: jax.Array, mean_D: jax.Array, scale: jax.Array) -> jax.Array:
    """Vectors [..., D], centred and scaled."""
    return (x - mean_D.reshape(*[1] * (x.ndim - 1), -1)) / scale.reshape(())


def _affine(member: Member, name: str, x: jax.Array) -> jax.Array:
    """[..., H] -> [..., H'] by the layer of that name."""
    bias = member[f"{name}_bias"]
    return x @ member[f"{name}_kernel"] + bias.reshape(*[1] * (x.ndim - 1), -1)


def _bumps(cosine: jax.Array) -> jax.Array:
    above = [4.0 * jax.nn.relu(cosine - edge) for edge in BUMPS]
    return jnp.stack([2.0 * cosine, *above], axis=-1)


def _normed(x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + EPSILON)


def _dropped(x: jax.Array, key: jax.Array | None, rate: float) -> jax.Array:
    """Dropout with one mask for all parts of a row: it costs little, and parts stay comparable."""
    if key is None or not rate:
        return x
    shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
    return x * jax.random.bernoulli(key, 1.0 - rate, shape) / (1.0 - rate)
