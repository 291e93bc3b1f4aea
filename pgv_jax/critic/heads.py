"""The Q and V heads: small networks on named, frozen embeddings.

The first layer is additive over the fields, W [task; obs; thought; goal] = sum_f W_f x_f. That is
exactly the first layer on their concatenation, and it lets N thoughts meet G goals for the price
of N + G projections.

The outcome goals (success and failure) may have an expert of their own: members that are linear in
the task, observation and thought, each with or without a small network beside it. A goal whose
embedding is that of an outcome sentence is answered by the expert, every other one by the head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

Q_FIELDS = ("task", "observation", "thought", "goal")
V_FIELDS = ("task", "observation", "goal")
NORM_EPSILON = 1e-6
BIAS_AT_START = -2.0
"""Logit of the bounded heads at initialisation: a value of about 0.12."""
SAME_GOAL = 1e-4
"""A goal g is the outcome c where |g - c|^2 <= SAME_GOAL |c|^2: rounding, and no paraphrase."""
ACTIVATIONS = {"gelu": jax.nn.gelu, "relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh}


@dataclass(frozen=True)
class CriticSpec:
    """All that fixes the shape of a critic's parameters and its forward pass.

    ``outcome_members`` M > 0 adds the experts for outcome goals; ``outcome_hidden`` are the widths
    of the network beside each linear member, empty where there is none. ``note_width`` H > 0 adds
    the next-note model of that width (``next_note``), of which Q is imagined; with ``note_cosines``
    what appears is asked by cosines, too, and with ``note_value`` the model carries the value of a
    note by its sentences.
    """

    dim: int
    hidden: tuple[int, ...]
    ensemble: int
    layer_norm: bool
    activation: str
    head: str
    outcome_members: int = 0
    outcome_hidden: tuple[int, ...] = ()
    note_width: int = 0
    note_cosines: bool = False
    note_value: bool = False

    @property
    def note_parts(self) -> tuple[bool, bool]:
        """What the next-note model has beside its first form: cosines, a value of notes."""
        return self.note_cosines, self.note_value

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's form; without a next-note model nothing is said of one."""
        lists = {"hidden": list(self.hidden), "outcome_hidden": list(self.outcome_hidden)}
        tree = {**asdict(self), **lists}
        return {k: v for k, v in tree.items() if v or not k.startswith("note_")}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> CriticSpec:
        """Read the manifest's form."""
        lists = {name: tuple(tree.get(name, ())) for name in ("hidden", "outcome_hidden")}
        return cls(**{**tree, **lists})


Compute = Literal["float32", "tensorfloat32", "bfloat16"]
"""In what matrices are multiplied; all else is float32.

float32: in full, also on accelerators, which would round it otherwise. tensorfloat32: as an
accelerator multiplies float32 by itself (TensorFloat-32 on GPUs). bfloat16: operands and products.
"""


def multiply(formula: str, x: jax.Array, kernel: jax.Array, compute: Compute) -> jax.Array:
    """An einsum of float32 arrays in the precision of ``compute``; float32."""
    if compute == "bfloat16":
        # Sums are float32 inside of a product; what leaves it is rounded, which halves the traffic.
        return jnp.einsum(formula, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)).astype(
            jnp.float32
        )
    exact = compute == "float32"
    precision = jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT
    return jnp.einsum(formula, x, kernel, precision=precision)


def lecun(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """LeCun's uniform initialisation: variance 1 / fan_in."""
    bound = (3.0 / fan_in) ** 0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Dense(nnx.Module):
    """E independent linear maps: [E, R, H] -> [E, R, H']."""

    def __init__(
        self, key: jax.Array, ensemble: int, width_in: int, width: int, compute: Compute = "float32"
    ):
        self.kernel = nnx.Param(lecun(key, (ensemble, width_in, width), width_in))
        self.bias = nnx.Param(jnp.zeros((ensemble, width)))
        self.compute = compute

    def __call__(self, h: jax.Array) -> jax.Array:
        """Apply member e to slice e."""
        return multiply("erh,ehk->erk", h, self.kernel[...], self.compute) + self.bias[...][:, None]


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
        compute: Compute = "float32",
    ):
        self.kernel = nnx.Param(lecun(key, (ensemble, dim, width), fan_in))
        self.compute = compute

    def __call__(self, x: jax.Array) -> jax.Array:
        """Project ``x``."""
        return multiply("...d,edh->...eh", x, self.kernel[...], self.compute)


def _projected(
    head: nnx.Module, fields: tuple[str, ...], inputs: Mapping[str, jax.Array]
) -> jax.Array:
    """The sum of the given fields' projections, broadcasting."""
    parts = [getattr(head, name)(inputs[name]) for name in fields if name in inputs]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class Head(nnx.Module):
    """E copies of an MLP on the sum of the fields' projections."""

    def __init__(
        self,
        key: jax.Array,
        fields: tuple[str, ...],
        ensemble: int,
        spec: CriticSpec,
        compute: Compute = "float32",
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
        return _projected(self, self.fields, inputs)

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


class OutcomeHead(nnx.Module):
    """M members for the chance of success: linear in the fields, and a network beside each or none.

    ``goals`` [2, D] are the embeddings of the sentences for success and failure.
    """

    def __init__(self, key: jax.Array, fields: tuple[str, ...], spec: CriticSpec):
        self.fields, self.members = fields, spec.outcome_members
        self.width = 1 + (spec.outcome_hidden[0] if spec.outcome_hidden else 0)
        for name in fields:
            fan_in = len(fields) * spec.dim
            setattr(self, name, Projection(key, self.members, spec.dim, 1, fan_in))
        self.bias = nnx.Param(jnp.zeros((self.members, 1)))
        self.goals = nnx.Param(jnp.zeros((2, spec.dim)))
        if spec.outcome_hidden:
            own = replace(spec, hidden=spec.outcome_hidden)
            self.residual = Head(jax.random.fold_in(key, 1), fields, self.members, own)

    def project(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """[..., M, W]: the linear part, then the network's first layer where there is one."""
        linear = _projected(self, self.fields, inputs)
        if self.width == 1:
            return linear
        return jnp.concatenate([linear, self.residual.project(inputs)], -1)

    def finish(self, h: jax.Array) -> jax.Array:
        """[..., M, W] -> [M, ...] logits of success."""
        linear = jnp.moveaxis(h[..., 0], -1, 0)
        logit = linear + self.bias[...].reshape(-1, *[1] * (linear.ndim - 1))
        return logit if self.width == 1 else logit + self.residual.finish(h[..., 1:])

    def sign(self, goal: jax.Array) -> jax.Array:
        """[..., D] -> [...]: 1 where the goal is success, -1 where it is failure, 0 elsewhere."""
        goals_2D = self.goals[...].reshape(*[1] * (goal.ndim - 1), 2, -1)
        distance_2 = jnp.square(goal[..., None, :] - goals_2D).sum(-1)
        same_2 = distance_2 <= SAME_GOAL * jnp.square(goals_2D).sum(-1)
        return same_2[..., 0].astype(jnp.float32) - same_2[..., 1]


class RoutedHead(Head):
    """A head whose outcome goals are answered by an ``OutcomeHead``.

    With L(x) the expert's logit of success and s(g) its sign of the goal, the logit is s(g) L(x)
    for the outcome goals and the head's own elsewhere. The members of either side are repeated up
    to the least common multiple of their numbers, which leaves each mean as it is.
    """

    def __init__(
        self,
        key: jax.Array,
        fields: tuple[str, ...],
        ensemble: int,
        spec: CriticSpec,
        compute: Compute = "float32",
    ):
        super().__init__(key, fields, ensemble, spec, compute)
        self.shape = (ensemble, spec.hidden[0])
        own = tuple(name for name in fields if name != "goal")
        self.outcome = OutcomeHead(jax.random.fold_in(key, 1), own, spec)

    def project(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """{field: [..., D]} -> [..., 1, W]: the projections of both sides and s(g), end to end."""
        own = super().project(inputs)
        rows = own.shape[:-2]
        outcome = jnp.zeros((*rows, self.outcome.members, self.outcome.width))
        sign = jnp.zeros(rows)
        if any(name in inputs for name in self.outcome.fields):
            outcome = outcome + self.outcome.project(inputs)
        if "goal" in inputs:
            sign = sign + self.outcome.sign(inputs["goal"])
        parts = (part.reshape(*rows, 1, -1) for part in (own, outcome, sign))
        return jnp.concatenate(list(parts), -1)

    def finish(self, h: jax.Array) -> jax.Array:
        """[..., 1, W] -> [E', ...] logits, E' the least common multiple of E and M."""
        (ensemble, width), members = self.shape, self.outcome.members
        rows, split = h.shape[:-2], ensemble * width
        own = super().finish(h[..., :split].reshape(*rows, ensemble, width))
        outcome = self.outcome.finish(h[..., split:-1].reshape(*rows, members, -1))
        both = math.lcm(ensemble, members)
        own = jnp.repeat(own, both // ensemble, axis=0)
        outcome = jnp.repeat(outcome, both // members, axis=0)
        sign = h[..., 0, -1][None]
        return jnp.where(sign == 0, own, sign * outcome)


class Critic(nnx.Module):
    """Q(observation, thought, goal), E copies, and V(observation, goal), each given the task.

    With ``spec.outcome_members`` the outcome goals have an expert, see ``RoutedHead``.

    ``q`` and ``v`` return logits where ``spec.head`` is "sigmoid" and values where it is "linear";
    ``link`` maps them to values. Whatever ``compute``, parameters, activations and the loss are
    float32.
    """

    def __init__(self, spec: CriticSpec, key: jax.Array, compute: Compute = "float32"):
        q_key, v_key = jax.random.split(key)
        self.spec = spec
        head = RoutedHead if spec.outcome_members else Head
        self.q = head(q_key, Q_FIELDS, spec.ensemble, spec, compute)
        self.v = head(v_key, V_FIELDS, 1, spec, compute)


def link(raw: jax.Array, head: str) -> jax.Array:
    """Turn a head's output into a value: the logistic function for bounded heads."""
    return jax.nn.sigmoid(raw) if head == "sigmoid" else raw


def width_first(params: dict[str, Any]) -> dict[str, Any]:
    """Swap the first two axes of the fields' kernels, [E, D, H] <-> [D, E, H].

    Kept as [D, E, H], a kernel is one matrix for all members and is multiplied where it lies;
    kept as [E, D, H], it is copied in every call.
    """
    swapped = dict(params)
    for name, value in params.items():
        if name in Q_FIELDS:
            swapped[name] = {"kernel": value["kernel"].swapaxes(0, 1)}
        elif isinstance(value, dict):
            swapped[name] = width_first(value)
    return swapped
