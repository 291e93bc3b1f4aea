"""The artifact's formula read literally, in float64 numpy: what every other forward must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pgv_jax.critic.artifact import flatten

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def head_values(
    params: Mapping[str, Any], critic: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Values of one head by each member, {field: [B, D]} -> [E, B] float64.

    h_0 = b_0 + sum_f x_f W_f;  h_i = act(norm(h_{i-1} W_i + b_i));  value = link(h W_out + b_out).
    ``params`` is that head's part of an artifact and ``critic`` the manifest's section of that
    name. A field without a kernel (V has none for the thought) is not read.

    Where the head has an ``outcome`` part of M members, a goal of squared distance at most
    1e-4 |c|^2 to an outcome's embedding c has the logit s (b + sum_f x_f w_f + residual), s = 1 for
    success and -1 for failure; the E and M members are repeated up to their least common multiple.
    """
    own = {name: np.asarray(value, np.float64) for name, value in flatten(params).items()}
    logits = _logits(own, critic, critic["hidden"], inputs)
    if "outcome/goals" in own:
        expert = _part(own, "outcome/")
        outcome = expert["bias"] + sum(
            (np.asarray(inputs[f], np.float64) @ expert[f"{f}/kernel"])[..., 0]
            for f in _fields(expert, inputs)
        )
        if critic["outcome_hidden"]:
            beside = _part(expert, "residual/")
            outcome = outcome + _logits(beside, critic, critic["outcome_hidden"], inputs)
        both = np.lcm(len(logits), len(outcome))
        logits, outcome = (np.repeat(x, both // len(x), axis=0) for x in (logits, outcome))
        for sign, goal in zip((1, -1), expert["goals"], strict=True):
            distance = np.square(np.asarray(inputs["goal"], np.float64) - goal).sum(-1)
            same = distance <= 1e-4 * np.square(goal).sum()
            logits = np.where(same, sign * outcome, logits)
    return 1 / (1 + np.exp(-logits)) if critic["head"] == "sigmoid" else logits


def imagined_values(
    params: Mapping[str, Any],
    critic: Mapping[str, Any],
    gamma: float,
    scene: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Imagined Q of one step by each member, a scene as ``scenes.SCENE`` has it -> [E, N, G].

    Q = gamma (P(g) + (1 - P(g)) P(goes on) V(s', g)) for a sentence g of the next note, and
    gamma (P(c) + P(goes on) V(s', c)) for an outcome c; V(s', c) by ``head_values``, and so is
    V(s', g) where the critic has no ``note_value``.
    """
    own = {name: np.asarray(value, np.float64) for name, value in flatten(params["m"]).items()}
    given = {
        name: x if x.dtype == bool or name in ("at", "kind") else np.asarray(x, np.float64)
        for name, x in scene.items()
    }
    shared = {name: x for name, x in own.items() if name == "known" or name.startswith("centre_")}
    found = []
    for e in range(len(own["part_kernel"])):
        member = shared | {name: x[e] for name, x in own.items() if name not in shared}
        found.append(
            [_imagined(member, thought, params["v"], critic, given) for thought in given["thought"]]
        )
    return gamma * np.asarray(found)


def _imagined(
    p: Mapping[str, np.ndarray],
    thought: np.ndarray,
    v_params: Mapping[str, Any],
    critic: Mapping[str, Any],
    scene: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Q / gamma of one thought by one member, for every goal: [G]."""
    there = scene["note_there"]
    note, goals = scene["note_parts"][there], scene["goal"]
    task = scene["task_parts"][scene["task_there"]]
    gone, ends, context = _next_note(p, thought, note, task)
    chances = _appears(p, context, thought, p["known"])
    following = _unit((1 - gone) @ note + chances @ p["known"] + scene["rest"])
    state = {"task": scene["task"], "observation": following}
    rows = {name: np.tile(x, (len(goals), 1)) for name, x in state.items()}
    v = head_values(v_params, critic, rows | {"goal": goals}).mean(0)
    if critic.get("note_value"):
        own = _note_values(p, note, 1 - gone, chances, task, goals)
        v = np.where(scene["kind"] == 0, own, v)
    stays = np.full(len(there), np.nan)
    stays[there] = 1 - gone
    appears, goes_on = _appears(p, context, thought, goals), 1 - ends[1] - ends[2]
    values = []
    for g, (at, kind) in enumerate(zip(scene["at"], scene["kind"], strict=True)):
        if kind:  # 1 success, 2 failure
            values.append(ends[kind] + goes_on * v[g])
        else:  # -1 not in the note, -2 in the note's unread rest, which stays
            chance = {-1: appears[g], -2: 1.0}[int(at)] if at < 0 else stays[at]
            values.append(chance + (1 - chance) * goes_on * v[g])
    return np.asarray(values)


def _next_note(
    p: Mapping[str, np.ndarray], thought: np.ndarray, note: np.ndarray, task: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The chances of what goes [L] and how the step ends [4], and the context [H]."""
    gelu, place = ACTIVATIONS["gelu"], (p["centre_thought"], p["centre_thought_scale"])
    token, context, end = _read(p, p, thought, place, note, np.ones(len(note)), task)
    both = np.concatenate([token[: len(note)], np.tile(context, (len(note), 1))], axis=1)
    gone = (
        gelu(both @ p["gone_kernel"] + p["gone_bias"]) @ p["gone_out_kernel"] + p["gone_out_bias"]
    )
    ends = np.exp(end - end.max())
    return _logistic(gone[:, 0]), ends / ends.sum(), context


def _note_values(
    p: Mapping[str, np.ndarray],
    note: np.ndarray,
    stays: np.ndarray,
    chances: np.ndarray,
    task: np.ndarray,
    goals: np.ndarray,
) -> np.ndarray:
    """Values [G] of the expected note, of sentences that stay and the 16 likeliest that appear."""
    likeliest = np.argsort(-chances, kind="stable")[:16]
    weights = np.concatenate([stays, chances[likeliest]])
    read = weights > 0.02
    parts = np.concatenate([note, p["known"][likeliest]])[read]
    own, place = _part(p, "note_value/"), (p["centre_note"], p["centre_part_scale"])
    found = [_read(own, p, goal, place, parts, weights[read], task)[2] for goal in goals]
    return _logistic(np.asarray(found)[:, 0])


def _read(
    p: Mapping[str, np.ndarray],
    at: Mapping[str, np.ndarray],
    query: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    note: np.ndarray,
    weights: np.ndarray,
    task: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reader's tokens [T, H], context [H] and logits [C]; ``place`` is the query's mean, scale.

    ``at`` has the fields' centres, ``weights`` [L] are the chances of the note's sentences.
    """
    mean, scale = place
    gelu = ACTIVATIONS["gelu"]
    parts, in_task = np.concatenate([note, task]), np.repeat([0, 1], [len(note), len(task)])
    h = _normed(((query - mean) / scale) @ p["thought_kernel"])
    x = _normed(((parts - at["centre_note"]) / at["centre_part_scale"]) @ p["part_kernel"])
    own_mean = np.concatenate([note - at["centre_note"], task - at["centre_task"]])
    cosine = _unit(own_mean) @ _unit(query - mean)
    token = gelu(
        x @ p["token_kernel"]
        + h @ p["token_thought_kernel"]
        + p["token_bias"]
        + (x * (h @ p["gate_kernel"])) @ p["gated_kernel"]
        + p["field"][in_task]
        + _bumps(cosine) @ p["cosine_kernel"]
    )
    log_weight = np.concatenate([np.log(weights), np.zeros(len(task))])[:, None]
    logit = token @ p["attention_kernel"] + cosine[:, None] * p["sharpness"] + log_weight
    weight = np.exp(logit - logit.max(0, initial=-np.inf))
    weight = weight / weight.sum(0)
    heads = weight.shape[1]
    value = (token @ p["value_kernel"]).reshape(len(parts), heads, len(h) // heads)
    pooled = np.concatenate([weight[:, a] @ value[:, a] for a in range(heads)])
    of_note, of_task = np.split(cosine, [len(note)])
    nearest = [c.max(initial=-1.0) for c in (of_note[weights >= 0.5], of_task)]
    context = gelu(
        np.concatenate([_normed(pooled), h]) @ p["context_kernel"]
        + p["context_bias"]
        + np.concatenate([_bumps(c) for c in nearest]) @ p["nearest_kernel"]
    )
    end = gelu(context @ p["end_kernel"] + p["end_bias"]) @ p["end_out_kernel"] + p["end_out_bias"]
    if len(parts):
        each = gelu(token @ p["part_end_kernel"] + p["part_end_bias"])
        each = 3.0 * (each @ p["part_end_out_kernel"] + p["part_end_out_bias"]) + log_weight
        end = end + np.log(np.exp(each).sum(0)) / 3.0
    return token, context, end


def _appears(
    p: Mapping[str, np.ndarray], context: np.ndarray, thought: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """The chances [K] that sentences appear."""
    plan = context @ p["plan_kernel"] + p["plan_bias"]
    x = (asked - p["centre_note"]) / p["centre_part_scale"]
    meets = 4.0 / np.sqrt(len(plan)) * (x @ p["known_kernel"])
    logit = meets @ plan + (x @ p["prior_kernel"])[:, 0] + p["known_bias"]
    if "meets_kernel" not in p:
        return _logistic(logit)

    def scores(some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        meets = ((some - p["centre_note"]) / p["centre_part_scale"]) @ p["known_kernel"]
        cosine = _unit(some - p["centre_note"]) @ _unit(thought - p["centre_thought"])
        rank = context @ p["rank_kernel"] + p["rank_bias"]
        return cosine, p["rank_sharpness"] * cosine + 4.0 / np.sqrt(len(rank)) * (meets @ rank)

    (cosine, own), (_, rivals) = scores(asked), scores(p["known"])
    # A sentence is no rival of itself; the known ones are all each other's.
    same = np.eye(len(rivals), dtype=bool)
    if asked is not p["known"]:
        same = _unit(asked - p["centre_note"]) @ _unit(p["known"] - p["centre_note"]).T > 1 - 1e-4
    most = max(x.max(initial=-np.inf) for x in (own, rivals))
    beside = np.where(same, 0.0, np.exp(rivals - most)).sum(1)
    chance = np.exp(own - most) / (np.exp(own - most) + beside)
    log_chance = np.maximum(np.log(np.maximum(chance, 1e-300)), -8.0) / 8.0
    features = np.concatenate([_bumps(cosine), np.stack([chance, log_chance], -1)], -1)
    return _logistic(logit + features @ (context @ p["meets_kernel"] + p["meets_bias"]))


def _bumps(cosine: Any) -> np.ndarray:
    above = [4.0 * np.maximum(cosine - edge, 0) for edge in (0.2, 0.4, 0.6)]
    return np.stack([2.0 * np.asarray(cosine), *above], axis=-1)


def _normed(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5))


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6))


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _part(own: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in own.items() if name.startswith(prefix)}


def _fields(own: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> list[str]:
    return [field for field in inputs if f"{field}/kernel" in own]


def _logits(
    own: Mapping[str, np.ndarray],
    critic: Mapping[str, Any],
    hidden: Sequence[int],
    inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    members = range(len(own["bias_0"]))
    return np.stack([_member(own, e, critic, hidden, inputs) for e in members])


def _member(
    own: Mapping[str, np.ndarray],
    e: int,
    critic: Mapping[str, Any],
    hidden: Sequence[int],
    inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    fields = _fields(own, inputs)
    h = own["bias_0"][e] + sum(
        np.asarray(inputs[f], np.float64) @ own[f"{f}/kernel"][e] for f in fields
    )
    for i in range(len(hidden)):
        if i:
            h = h @ own[f"dense_{i}/kernel"][e] + own[f"dense_{i}/bias"][e]
        if critic["layer_norm"]:
            centred = h - h.mean(-1, keepdims=True)
            h = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-6)
            h = h * own[f"norm_{i}/scale"][e] + own[f"norm_{i}/bias"][e]
        h = ACTIVATIONS[critic["activation"]](h)
    return np.asarray((h @ own["out/kernel"][e] + own["out/bias"][e])[..., 0])
