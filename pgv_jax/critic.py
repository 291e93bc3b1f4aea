"""The Q and V heads: small networks on named, frozen embeddings.

The first layer is additive over the fields, W [task; obs; thought; goal] = sum_f W_f x_f. That is
exactly the first layer on their concatenation, and it lets N thoughts meet G goals for the price
of N + G projections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Q_FIELDS = ("task", "observation", "thought", "goal")
V_FIELDS = ("task", "observation", "goal")
NORM_EPSILON = 1e-6
BIAS_AT_START = -2.0
"""Logit of the bounded heads at initialisation: a value of about 0.12."""
ACTIVATIONS = {"gelu": jax.nn.gelu, "relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh}


@dataclass(frozen=True)
class CriticSpec:
    """All that fixes the shape of a critic's parameters and its forward pass."""

    dim: int
    hidden: tuple[int, ...]
    ensemble: int
    layer_norm: bool
    activation: str
    head: str

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's form."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> CriticSpec:
        """Read the manifest's form."""
        return cls(**{**tree, "hidden": tuple(tree["hidden"])})


Compute = Any
"""A dtype in which matrices are multiplied; None: as they come, float32."""


def _einsum(formula: str, x: jax.Array, kernel: jax.Array, compute: Compute) -> jax.Array:
    if compute is None:
        return jnp.einsum(formula, x, kernel)
    x, kernel = x.astype(compute), kernel.astype(compute)
    # XLA's CPU backend lacks some of the mixed products; there sums are rounded as well.
    wide = None if jax.default_backend() == "cpu" else jnp.float32
    product = jnp.einsum(formula, x, kernel, preferred_element_type=wide)
    return product.astype(jnp.float32)


def _lecun(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """LeCun's uniform initialisation: variance 1 / fan_in."""
    bound = (3.0 / fan_in) ** 0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Dense(nnx.Module):
    """E independent linear maps: [E, R, H] -> [E, R, H']."""

    def __init__(
        self, key: jax.Array, ensemble: int, width_in: int, width: int, compute: Compute = None
    ):
        self.kernel = nnx.Param(_lecun(key, (ensemble, width_in, width), width_in))
        self.bias = nnx.Param(jnp.zeros((ensemble, width)))
        self.compute = compute

    def __call__(self, h: jax.Array) -> jax.Array:
        """Apply member e to slice e."""
        return _einsum("erh,ehk->erk", h, self.kernel[...], self.compute) + self.bias[...][:, None]


class Norm(nnx.Module):
    """LayerNorm over the hidden width, with a scale and bias for each member."""

    def __init__(self, ensemble: int, width: int):
        self.scale = nnx.Param(jnp.ones((ensemble, width)))
        self.bias = nnx.Param(jnp.zeros((ensemble, width)))

    def __call__(self, h: jax.Array) -> jax.Array:
        """Normalise the last axis."""
        mean = h.mean(-1, keepdims=True)
        variance = jnp.square(h - mean).mean(-1, keepdims=True)
        h = (h - mean) * jax.lax.rsqrt(variance + NORM_EPSILON)
        return h * self.scale[...][:, None] + self.bias[...][:, None]


class Projection(nnx.Module):
    """One field's part of the first layer, for all members at once: [..., D] -> [..., E, H]."""

    def __init__(
        self,
        key: jax.Array,
        ensemble: int,
        dim: int,
        width: int,
        fan_in: int,
        compute: Compute = None,
    ):
        self.kernel = nnx.Param(_lecun(key, (ensemble, dim, width), fan_in))
        self.compute = compute

    def __call__(self, x: jax.Array) -> jax.Array:
        """Project ``x``."""
        return _einsum("...d,edh->...eh", x, self.kernel[...], self.compute)


class Head(nnx.Module):
    """E copies of an MLP on the sum of the fields' projections."""

    def __init__(
        self,
        key: jax.Array,
        fields: tuple[str, ...],
        ensemble: int,
        spec: CriticSpec,
        compute: Compute = None,
    ):
        keys = iter(jax.random.split(key, len(fields) + len(spec.hidden)))
        self.fields = fields
        self.layers = len(spec.hidden)
        self.layer_norm = spec.layer_norm
        self.activation = spec.activation
        fan_in = len(fields) * spec.dim
        for name in fields:
            projection = Projection(next(keys), ensemble, spec.dim, spec.hidden[0], fan_in, compute)
            setattr(self, name, projection)
        self.bias_0 = nnx.Param(jnp.zeros((ensemble, spec.hidden[0])))
        for i in range(1, self.layers):
            dense = Dense(next(keys), ensemble, spec.hidden[i - 1], spec.hidden[i], compute)
            setattr(self, f"dense_{i}", dense)
        if spec.layer_norm:
            for i, width in enumerate(spec.hidden):
                setattr(self, f"norm_{i}", Norm(ensemble, width))
        self.out = Dense(next(keys), ensemble, spec.hidden[-1], 1, compute)
        if spec.head == "sigmoid":
            # Start low: what is never reached must sink by gamma a backup, what is reached rises
            # at once, so a start at 1/2 leaves optimism where the data are silent.
            self.out.bias[...] = jnp.full((ensemble, 1), BIAS_AT_START)

    def project(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """Sum the projections of some fields: {field: [..., D]} -> [..., E, H], broadcasting."""
        parts = [getattr(self, name)(inputs[name]) for name in self.fields if name in inputs]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def finish(self, h: jax.Array) -> jax.Array:
        """Continue from the summed projections: [..., E, H] -> [E, ...] logits (or values)."""
        activation = ACTIVATIONS[self.activation]
        rows = h.shape[:-2]
        # Members first from here on: a product batched over the leading axis is the fast one.
        h = jnp.moveaxis(h.reshape(-1, *h.shape[-2:]), 1, 0) + self.bias_0[...][:, None]
        for i in range(self.layers):
            if i > 0:
                h = getattr(self, f"dense_{i}")(h)
            if self.layer_norm:
                h = getattr(self, f"norm_{i}")(h)
            h = activation(h)
        return self.out(h).reshape(-1, *rows)

    def __call__(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """{field: [B, D]} -> [E, B]."""
        return self.finish(self.project(inputs))


class Critic(nnx.Module):
    """Q(observation, thought, goal), E copies, and V(observation, goal), each given the task.

    ``q`` and ``v`` return logits where ``spec.head`` is "sigmoid" and values where it is "linear";
    ``link`` maps them to values. ``compute`` bfloat16 multiplies matrices in that type and adds up
    in float32; parameters, activations and the loss stay float32.
    """

    def __init__(self, spec: CriticSpec, key: jax.Array, compute: Compute = None):
        q_key, v_key = jax.random.split(key)
        self.spec = spec
        self.q = Head(q_key, Q_FIELDS, spec.ensemble, spec, compute)
        self.v = Head(v_key, V_FIELDS, 1, spec, compute)


def link(raw: jax.Array, head: str) -> jax.Array:
    """Turn a head's output into a value: the logistic function for bounded heads."""
    return jax.nn.sigmoid(raw) if head == "sigmoid" else raw
