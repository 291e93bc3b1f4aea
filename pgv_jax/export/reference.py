"""The artifact's formula read literally, in float64 numpy: what every other forward must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pgv_jax.artifact import flatten

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
    """
    own = {name: np.asarray(value, np.float64) for name, value in flatten(params).items()}
    return np.stack([_member(own, e, critic, inputs) for e in range(len(own["bias_0"]))])


def _member(
    own: Mapping[str, np.ndarray],
    e: int,
    critic: Mapping[str, Any],
    inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    fields = [field for field in inputs if f"{field}/kernel" in own]
    h = own["bias_0"][e] + sum(
        np.asarray(inputs[f], np.float64) @ own[f"{f}/kernel"][e] for f in fields
    )
    for i in range(len(critic["hidden"])):
        if i:
            h = h @ own[f"dense_{i}/kernel"][e] + own[f"dense_{i}/bias"][e]
        if critic["layer_norm"]:
            centred = h - h.mean(-1, keepdims=True)
            h = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-6)
            h = h * own[f"norm_{i}/scale"][e] + own[f"norm_{i}/bias"][e]
        h = ACTIVATIONS[critic["activation"]](h)
    logits = (h @ own["out/kernel"][e] + own["out/bias"][e])[..., 0]
    return 1 / (1 + np.exp(-logits)) if critic["head"] == "sigmoid" else logits
