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
    gamma (P(c) + P(goes on) V(s', c)) for an outcome c; V(s', g) by ``head_values``.
    """
    own = {name: np.asarray(value, np.float64) for name, value in params["m"].items()}
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
    gone, ends, plan = _next_note(p, thought, note, scene["task_parts"][scene["task_there"]])
    following = _unit(
        (1 - gone) @ note + _appears(p, plan, p["known"]) @ p["known"] + scene["rest"]
    )
    state = {"task": scene["task"], "observation": following}
    rows = {name: np.tile(x, (len(goals), 1)) for name, x in state.items()}
    v = head_values(v_params, critic, rows | {"goal": goals}).mean(0)
    stays = np.full(len(there), np.nan)
    stays[there] = 1 - gone
    appears, goes_on = _appears(p, plan, goals), 1 - ends[1] - ends[2]
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
    """The chances of what goes [L] and how the step ends [4], and the plan [H]."""
    gelu = ACTIVATIONS["gelu"]
    parts, in_task = np.concatenate([note, task]), np.repeat([0, 1], [len(note), len(task)])
    h = _normed(((thought - p["centre_thought"]) / p["centre_thought_scale"]) @ p["thought_kernel"])
    x = _normed(((parts - p["centre_note"]) / p["centre_part_scale"]) @ p["part_kernel"])
    own_mean = np.concatenate([note - p["centre_note"], task - p["centre_task"]])
    cosine = _unit(own_mean) @ _unit(thought - p["centre_thought"])
    token = gelu(
        x @ p["token_kernel"]
        + h @ p["token_thought_kernel"]
        + p["token_bias"]
        + (x * (h @ p["gate_kernel"])) @ p["gated_kernel"]
        + p["field"][in_task]
        + _bumps(cosine) @ p["cosine_kernel"]
    )
    logit = token @ p["attention_kernel"] + cosine[:, None] * p["sharpness"]
    weight = np.exp(logit - logit.max(0, initial=-np.inf))
    weight = weight / weight.sum(0)
    heads = weight.shape[1]
    value = (token @ p["value_kernel"]).reshape(len(parts), heads, len(h) // heads)
    pooled = np.concatenate([weight[:, a] @ value[:, a] for a in range(heads)])
    nearest = [c.max(initial=-1.0) for c in np.split(cosine, [len(note)])]
    context = gelu(
        np.concatenate([_normed(pooled), h]) @ p["context_kernel"]
        + p["context_bias"]
        + np.concatenate([_bumps(c) for c in nearest]) @ p["nearest_kernel"]
    )
    both = np.concatenate([token[: len(note)], np.tile(context, (len(note), 1))], axis=1)
    gone = (
        gelu(both @ p["gone_kernel"] + p["gone_bias"]) @ p["gone_out_kernel"] + p["gone_out_bias"]
    )
    end = gelu(context @ p["end_kernel"] + p["end_bias"]) @ p["end_out_kernel"] + p["end_out_bias"]
    if len(parts):
        each = gelu(token @ p["part_end_kernel"] + p["part_end_bias"])
        each = 3.0 * (each @ p["part_end_out_kernel"] + p["part_end_out_bias"])
        end = end + np.log(np.exp(each).sum(0)) / 3.0
    ends = np.exp(end - end.max())
    plan = context @ p["plan_kernel"] + p["plan_bias"]
    return _logistic(gone[:, 0]), ends / ends.sum(), plan


def _appears(p: Mapping[str, np.ndarray], plan: np.ndarray, asked: np.ndarray) -> np.ndarray:
    x = (asked - p["centre_note"]) / p["centre_part_scale"]
    meets = 4.0 / np.sqrt(len(plan)) * (x @ p["known_kernel"])
    return _logistic(meets @ plan + (x @ p["prior_kernel"])[:, 0] + p["known_bias"])


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
