"""How the learner keeps the first layer of a head: one array for each part of a step.

Kernels of fields that are always asked together, [E, D, H] each, lie beside each other as one
[E, H, n * D], so that they are one matrix product of [B, n * D] with [E * H, n * D], and its
gradient another. Fewer, larger products are what a CPU's and a GPU's cores want; parts that are
asked apart are arrays of their own, since a slice of one is a copy and its gradient a padding.
The inputs' axis is last because that is how a gradient leaves its product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from pgv_jax.critic.heads import Compute, Critic, Head, multiply

PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "q": {"task": ("task",), "step": ("observation", "thought"), "goal": ("goal",)},
    "v": {"task": ("task",), "step": ("observation",), "goal": ("goal",)},
}
"""The fields of each part of a head's first layer, in the order in which their kernels lie."""


def stacked(params: dict[str, Any]) -> dict[str, Any]:
    """The learner's form of a critic's parameters; the next-note model keeps its own."""
    return {n: _stacked(head, PARTS[n]) if n in PARTS else head for n, head in params.items()}


def _stacked(head: dict[str, Any], parts: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    def kernel(fields: tuple[str, ...]) -> jax.Array:
        return jnp.concatenate([head[f]["kernel"] for f in fields], axis=1).swapaxes(1, 2)

    own = {field for fields in parts.values() for field in fields}
    rest = {name: part for name, part in head.items() if name not in own}
    return {"first": {part: {"kernel": kernel(parts[part])} for part in parts}, **rest}


def unstacked(params: dict[str, Any]) -> dict[str, Any]:
    """A critic's parameters from the learner's form; of JAX or of numpy, as they are given."""
    return {n: _unstacked(head, PARTS[n]) if n in PARTS else head for n, head in params.items()}


def _unstacked(head: dict[str, Any], parts: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    out = {name: part for name, part in head.items() if name != "first"}
    for part, fields in parts.items():
        kernel_EHF = head["first"][part]["kernel"]
        dim = kernel_EHF.shape[2] // len(fields)
        for i, field in enumerate(fields):
            kernel_EHD = kernel_EHF[:, :, i * dim : (i + 1) * dim]
            out[field] = {"kernel": kernel_EHD.swapaxes(1, 2)}
    return out


class Net(NamedTuple):
    """One head in the learner's form: the kernels of its first layer, the rest as a module."""

    head: Head
    first: dict[str, Any]
    compute: Compute

    def project(self, part: str, *fields: jax.Array) -> jax.Array:
        """The projection of one part, of its fields [B, D] in the order of ``PARTS``: [B, E, H]."""
        x_BK = jnp.concatenate(fields, axis=-1) if len(fields) > 1 else fields[0]
        return multiply("bk,ehk->beh", x_BK, self.first[part]["kernel"], self.compute)


def nets(graph: nnx.GraphDef, params: dict[str, Any], compute: Compute) -> dict[str, Net]:
    """The heads Q and V of parameters in the learner's form, by name."""
    params = {name: params[name] for name in PARTS}
    critic: Critic = nnx.merge(graph, nnx.State(unstacked(params)))
    return {name: Net(getattr(critic, name), params[name]["first"], compute) for name in params}
