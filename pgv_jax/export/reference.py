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
