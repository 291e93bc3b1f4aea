"""The next-note model: what a thought leads to, one step ahead, in known sentences.

A note is a set of sentences. The model reads the note, the task and one thought as vectors of their
parts (``reader``), and predicts

- for each sentence of the note the chance that it is gone at the next step,
- for each known sentence, one that stood in some note of the training log, the chance that it
  appears, and in the same way for any goal,
- how the step ends: not at all, in success, in failure, or because the log was cut off.

The predicted next note is then pooled as its encoder pools a note (``composed``), so that V reads
it as it reads a true one; ``critic.imagined`` makes Q of both.

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

from pgv_jax.critic.reader import (
    BUMPS,
    Centres,
    Fresh,
    Member,
    Place,
    Reader,
    Scene,
    affine,
    bumps,
    dropped,
    read,
    standard,
    unit,
)

GONE_AT_START, APPEAR_AT_START = -2.0, -4.0
"""Logits at initialisation: most sentences stay, and few appear."""
RANK_SHARPNESS = 20.0
"""At the start: the weight of a cosine by which sentences compete to appear."""
CHANCES, FAINT = 2, 8.0
"""Features of the chance in that competition; the logarithm below which it is none."""
SAME = 1.0 - 1e-4
"""Cosine from which a known sentence is the goal itself."""
ENDS = ("goes on", "success", "failure", "cut off")
"""How a step ends, in the order of the logits (``data.next_notes``)."""


class Plan(NamedTuple):
    """Of what any sentence's appearance can be asked: ``plan_BH``, and how cosines count.

    ``unit_BD`` is the centred thought. Sentences compete by sharpness times their cosine with it
    plus ``rank_BH`` times what they are; ``weight_BF`` weighs the features of cosine and chance.
    None in models of the first form.
    """

    plan_BH: Any
    unit_BD: Any = None
    rank_BH: Any = None
    weight_BF: Any = None
    sharpness: Any = None


class Imagined(NamedTuple):
    """Logits of one member, and the plan of what appears."""

    gone_BL: jax.Array
    end_BC: jax.Array
    plan: Plan


class NextNote(Reader):
    """E members of the next-note model of width H, on vectors of width D.

    With ``cosines`` what appears is asked by its cosine with the thought, too; with ``valued`` they
    carry a value of the note that they expect (``note_value``).
    """

    def __init__(
        self,
        key: jax.Array,
        ensemble: int,
        dim: int,
        width: int,
        cosines: bool = False,
        valued: bool = False,
    ):
        fresh = Fresh(key, ensemble)
        kernel, bias = fresh.kernel, fresh.bias
        super().__init__(fresh, ensemble, dim, width, len(ENDS))
        self.gone_kernel, self.gone_bias = kernel(2 * width, width), bias(width)
        self.gone_out_kernel, self.gone_out_bias = kernel(width, 1), bias(1, GONE_AT_START)
        self.plan_kernel, self.plan_bias = kernel(width, width), bias(width)
        self.known_kernel, self.known_bias = kernel(dim, width), bias(1, APPEAR_AT_START)
        self.prior_kernel = nnx.Param(jnp.zeros((ensemble, dim, 1)))
        if cosines:
            features = 1 + len(BUMPS) + CHANCES
            self.rank_kernel, self.rank_bias = kernel(width, width), bias(width)
            self.rank_sharpness = nnx.Param(jnp.full((ensemble, 1), RANK_SHARPNESS))
            self.meets_kernel, self.meets_bias = fresh.small(width, features, 0.1), bias(features)
        if valued:
            own = Fresh(jax.random.fold_in(key, 1), ensemble)
            self.note_value = Reader(own, ensemble, dim, width, 1)


def members(params: dict[str, Any]) -> int:
    """How many members parameters [E, ...] have."""
    return int(params["part_kernel"].shape[0])


def joined(params: dict[str, Any], centres: Centres, known_KD: Any) -> dict[str, Any]:
    """The parameters with their constants beside them, as an artifact keeps them."""
    constants = {f"centre_{name}": value for name, value in centres._asdict().items()}
    return {**params, **constants, "known": known_KD}


def shapes(
    ensemble: int,
    dim: int,
    width: int,
    known: int,
    cosines: bool = False,
    valued: bool = False,
) -> dict[str, Any]:
    """The shapes of ``joined`` parameters, by name."""
    shape = (ensemble, dim, width, cosines, valued)
    made = nnx.eval_shape(lambda: NextNote(jax.random.key(0), *shape))
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
    place = Place(centres.thought, centres.thought_scale)
    token_BTH, context_BH, end_BC = read(p, centres, scene, place, key, rate)
    count_L = scene.note_BL.shape[1]
    gone_key = None if key is None else jax.random.fold_in(key, 1)
    of_token, of_context = jnp.split(p["gone_kernel"], 2)
    from_context_B1H = (context_BH @ of_context + p["gone_bias"][None])[:, None]
    gone_BLH = jax.nn.gelu(token_BTH[:, :count_L] @ of_token + from_context_B1H)
    gone_BL = affine(p, "gone_out", dropped(gone_BLH, gone_key, rate))[..., 0]
    plan = Plan(affine(p, "plan", context_BH))
    if "meets_kernel" in p:
        unit_BD = unit(scene.query_BD - centres.thought[None])
        rank_BH, weight_BF = affine(p, "rank", context_BH), affine(p, "meets", context_BH)
        plan = Plan(plan.plan_BH, unit_BD, rank_BH, weight_BF, p["rank_sharpness"].reshape(()))
    return Imagined(gone_BL, end_BC, plan)


class Targets(NamedTuple):
    """Sentences whose appearance is asked, as one member meets them: [K, H] and logits [K].

    ``unit_KD`` are their centred vectors.
    """

    meets_KH: jax.Array
    prior_K: jax.Array
    unit_KD: jax.Array


def targets(member: Member, centres: Centres, goal_KD: jax.Array) -> Targets:
    """Project raw vectors [K, D] of known sentences or of goals."""
    x_KD = standard(goal_KD, centres.note, centres.part_scale)
    scale = 4.0 / member["plan_bias"].shape[-1] ** 0.5
    prior_K = (x_KD @ member["prior_kernel"])[..., 0] + member["known_bias"].reshape(())
    unit_KD = unit(goal_KD - centres.note.reshape(*[1] * (goal_KD.ndim - 1), -1))
    return Targets(scale * (x_KD @ member["known_kernel"]), prior_K, unit_KD)


def appearing(plan: Plan, asked: Targets) -> jax.Array:
    """Logits [B, K] that known sentences appear at the next step."""
    logit_BK = plan.plan_BH @ asked.meets_KH.T + asked.prior_K[None]
    if plan.unit_BD is None:
        return logit_BK
    score_BK, cosine_BK = scores(plan, asked)
    return logit_BK + by_chance(plan, cosine_BK, jax.nn.log_softmax(score_BK, axis=1))


def appearing_goals(plan: Plan, goals: Targets, known: Targets) -> jax.Array:
    """Logits [B, G] that goals [B, G, ...] appear, each among the known sentences as its rivals."""
    # As matrix products: compiled and mapped over members, sums of broadcast products were wrong.
    logit_BG = jnp.einsum("bh,bgh->bg", plan.plan_BH, goals.meets_KH) + goals.prior_K
    if plan.unit_BD is None:
        return logit_BG
    cosine_BG = jnp.einsum("bd,bgd->bg", plan.unit_BD, goals.unit_KD)
    rank_BG = jnp.einsum("bh,bgh->bg", plan.rank_BH, goals.meets_KH)
    own_BG = plan.sharpness * cosine_BG + rank_BG
    score_BK, _ = scores(plan, known)
    is_goal = jnp.einsum("bgd,kd->bgk", goals.unit_KD, known.unit_KD) > SAME
    rivals_BG = jax.nn.logsumexp(jnp.where(is_goal, -1e9, score_BK[:, None]), axis=2)
    return logit_BG + by_chance(plan, cosine_BG, own_BG - jnp.logaddexp(own_BG, rivals_BG))


def scores(plan: Plan, known: Targets) -> tuple[jax.Array, jax.Array]:
    """By what known sentences compete, [B, K], and their cosines with the thought."""
    cosine_BK = plan.unit_BD @ known.unit_KD.T
    return plan.sharpness * cosine_BK + plan.rank_BH @ known.meets_KH.T, cosine_BK


def by_chance(plan: Plan, cosine_BK: jax.Array, log_chance_BK: jax.Array) -> jax.Array:
    """What cosines and the chances in the competition add to logits."""
    chances = [jnp.exp(log_chance_BK), jnp.maximum(log_chance_BK, -FAINT) / FAINT]
    features = jnp.concatenate([bumps(cosine_BK), jnp.stack(chances, axis=-1)], axis=-1)
    return (features * plan.weight_BF[:, None]).sum(-1)


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
