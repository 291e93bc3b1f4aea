"""How the learner keeps a critic's parameters: the first layer of a head as one array.

The kernels of a head's fields, [E, D, H] each, lie behind each other as ``first`` [F, D, E, H], so
that fields which vary from step to step are one matrix product, [B, n * D] times [n * D, E * H],
and its gradient another. Fewer, larger products are what a CPU's and a GPU's cores want.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from pgv_jax.critic import Q_FIELDS, V_FIELDS, Compute, Critic, Head, multiply

HEADS = {"q": Q_FIELDS, "v": V_FIELDS}


def stacked(params: dict[str, Any]) -> dict[str, Any]:
    """The learner's form of a critic's parameters."""
    return {name: _stacked(head, HEADS[name]) for name, head in params.items()}


def _stacked(head: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    rest = {name: part for name, part in head.items() if name not in fields}
    kernels = [head[name]["kernel"].swapaxes(0, 1) for name in fields]
    return {"first": {"kernel": jnp.stack(kernels)}, **rest}


def unstacked(params: dict[str, Any]) -> dict[str, Any]:
    """A critic's parameters from the learner's form."""
    return {name: _unstacked(head, HEADS[name]) for name, head in params.items()}


def _unstacked(head: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    rest = {name: part for name, part in head.items() if name != "first"}
    kernel_FDEH = head["first"]["kernel"]
    return rest | {name: {"kernel": kernel_FDEH[i].swapaxes(0, 1)} for i, name in enumerate(fields)}


class Net(NamedTuple):
    """One head in the learner's form: its first layer as an array, the rest as a module."""

    head: Head
    kernel_FDEH: jax.Array
    compute: Compute

    def project(self, inputs: dict[str, jax.Array]) -> jax.Array:
        """Sum the projections of fields that stand next to each other, [B, D] each: [B, E, H]."""
        first = self.head.fields.index(next(iter(inputs)))
        last = first + len(inputs)
        assert self.head.fields[first:last] == tuple(inputs)
        kernel_FDEH = self.kernel_FDEH[first:last]
        x_BK = jnp.concatenate(list(inputs.values()), axis=-1)
        kernel_KEH = kernel_FDEH.reshape(-1, *kernel_FDEH.shape[2:])
        return multiply("bk,keh->beh", x_BK, kernel_KEH, self.compute)


def nets(graph: nnx.GraphDef, params: dict[str, Any], compute: Compute) -> dict[str, Net]:
    """The heads of parameters in the learner's form, by name."""
    critic: Critic = nnx.merge(graph, nnx.State(unstacked(params)))
    return {
        name: Net(getattr(critic, name), params[name]["first"]["kernel"], compute)
        for name in params
    }
