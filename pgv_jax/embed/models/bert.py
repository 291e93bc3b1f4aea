"""BERT encoders (Devlin et al. 2019, arXiv:1810.04805) in flax nnx: MiniLM, BGE and E5 shapes.

Inference only. Query, key and value share one matrix product; layers are unrolled, because a scan
would copy every layer's weights on a CPU. Only the products' operands are of the weights' dtype;
sums, norms and the residual stream are float32. Of bfloat16 products, XLA's CPU backend gives those
that add up in float32, with the left operand not transposed, to the processor's matrix unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.embed.weights import Block, Path, Reader, Weights
from pgv_jax.errors import PgvError

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": jax.nn.gelu,
    "gelu_pytorch_tanh": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}


@dataclass(frozen=True)
class BertConfig:
    """The sizes that a ``config.json`` of model_type bert gives."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int
    norm_eps: float
    activation: str

    @classmethod
    def from_json(cls, config: Mapping[str, Any], source: str = "config.json") -> BertConfig:
        """Read a Hugging Face config; raises PgvError where it asks for something else."""
        position = config.get("position_embedding_type", "absolute")
        activation = config.get("hidden_act", "gelu")
        if position != "absolute":
            raise PgvError(
                f"{source} asks for position_embedding_type {position!r}; BERT models with "
                "'absolute' positions are supported."
            )
        if activation not in ACTIVATIONS:
            raise PgvError(
                f"{source} asks for hidden_act {activation!r}; supported are "
                f"{', '.join(ACTIVATIONS)}."
            )
        if config.get("is_decoder") or config.get("add_cross_attention"):
            raise PgvError(f"{source} describes a BERT decoder; only BERT encoders are supported.")
        return cls(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            intermediate_size=config["intermediate_size"],
            max_positions=config.get("max_position_embeddings", 512),
            type_vocab_size=config.get("type_vocab_size", 2),
            norm_eps=config.get("layer_norm_eps", 1e-12),
            activation=activation,
        )


class BertLayer(nnx.Module):
    """Self-attention and feed-forward, each followed by residual and LayerNorm."""

    def __init__(self, config: BertConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        width = config.hidden_size

        def linear(n_in: int, n_out: int) -> nnx.Linear:
            return nnx.Linear(n_in, n_out, dtype=dtype, param_dtype=dtype, rngs=rngs)

        self.heads = config.heads
        self.activation = config.activation
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)
        self.norm_1 = _norm(config, dtype, rngs)
        self.up = linear(width, config.intermediate_size)
        self.down = linear(config.intermediate_size, width)
        self.norm_2 = _norm(config, dtype, rngs)

    def __call__(self, x_BLD: jax.Array, bias_B1LL: jax.Array) -> jax.Array:
        x_BLD = self.norm_1(x_BLD + dense(self.out, self._mixed(x_BLD, bias_B1LL)))
        hidden = ACTIVATIONS[self.activation](dense(self.up, x_BLD))
        return self.norm_2(x_BLD + dense(self.down, hidden))

    def _mixed(self, x_BLD: jax.Array, bias_B1LL: jax.Array) -> jax.Array:
        """Values averaged by attention, [B, L, D]."""
        batch, length, width = x_BLD.shape
        dtype = self.qkv.kernel[...].dtype
        qkv = dense(self.qkv, x_BLD).astype(dtype)
        qkv = qkv.reshape(batch, length, 3, self.heads, width // self.heads)
        # Heads first, laid out once: without the barrier a CPU strides through every product.
        query, key, value = jax.lax.optimization_barrier(jnp.transpose(qkv, (2, 0, 3, 1, 4)))
        scores = jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)
        scores = scores * (1.0 / math.sqrt(width // self.heads)) + bias_B1LL
        weights = jax.nn.softmax(scores, axis=-1).astype(dtype)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, value, preferred_element_type=jnp.float32)
        return jnp.moveaxis(mixed, 1, 2).reshape(batch, length, width)


def dense(layer: nnx.Linear, x_BLD: jax.Array) -> jax.Array:
    """float32 x W + b, the operands in the weights' dtype."""
    kernel = layer.kernel[...]
    assert layer.bias is not None
    product = jnp.matmul(x_BLD.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)
    return product + layer.bias[...].astype(jnp.float32)[None, None]


class Bert(nnx.Module):
    """Token ids and texts' numbers, int32 [B, L] both -> hidden states [B, L, D].

    A row holds texts 1, 2, ... one behind the other; 0 is no token. A text sees itself alone, and
    its positions begin at 0; so a mask of ones and zeros says that each row is one text.
    ``layers`` may be fewer than the config's: the states after so many layers come out.
    """

    def __init__(
        self, config: BertConfig, dtype: jnp.dtype, rngs: nnx.Rngs, layers: int | None = None
    ):
        def table(rows: int) -> nnx.Embed:
            return nnx.Embed(rows, config.hidden_size, dtype=dtype, param_dtype=dtype, rngs=rngs)

        self.words = table(config.vocab_size)
        self.positions = table(config.max_positions)
        self.types = table(config.type_vocab_size)
        self.norm = _norm(config, dtype, rngs)
        count = config.layers if layers is None else layers
        self.layers = nnx.List([BertLayer(config, dtype, rngs) for _ in range(count)])

    def __call__(self, ids_BL: jax.Array, text_BL: jax.Array) -> jax.Array:
        """Hidden states after the last of our layers."""
        places = self.positions.embedding[_positions(text_BL)] + self.types.embedding[None, :1]
        x = self.norm(self.words(ids_BL).astype(jnp.float32) + places)
        same_BLL = text_BL[:, :, None] == text_BL[:, None, :]
        bias = jnp.where(same_BLL, 0.0, -1e30).astype(jnp.float32)[:, None]
        for block in self.layers:
            x = block(x, bias)
        return x


def _positions(text_BL: jax.Array) -> jax.Array:
    """How many tokens of its own text stand before each token: int32 [B, L]."""
    at_1L = jnp.arange(text_BL.shape[1], dtype=jnp.int32)[None]
    begins_BL = jnp.diff(text_BL, axis=1, prepend=-1) != 0
    return at_1L - jax.lax.cummax(jnp.where(begins_BL, at_1L, 0), axis=1)


def _norm(config: BertConfig, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.norm_eps,
        dtype=jnp.float32,
        param_dtype=dtype,
        use_fast_variance=False,
        rngs=rngs,
    )


def blocks(config: BertConfig, layers: int, files: Weights) -> dict[Path, Reader]:
    """For every parameter of ``Bert``'s state: what reads a block of it from ``files``."""
    found: dict[Path, Reader] = {}

    def plain(path: Path, name: str) -> None:
        found[path] = lambda index, shape: files.block(name, index, shape)

    def kernel(path: Path, name: str) -> None:
        found[path] = lambda index, shape: files.block(name, index[::-1], shape[::-1]).T

    def norm(path: Path, name: str) -> None:
        plain((*path, "scale"), f"{name}.weight")
        plain((*path, "bias"), f"{name}.bias")

    def fused(path: Path, names: list[str]) -> None:
        def read(kind: str, index: Block, shape: tuple[int, ...]) -> np.ndarray:
            # A block may cross from one part into the next: parts are read whole (they are small).
            part = (shape[-1] // len(names), *shape[:-1])
            whole = (slice(None),) * len(part)
            parts = [files.block(f"{name}.{kind}", whole, part).T for name in names]
            return np.concatenate(parts, axis=-1)[index]

        found[(*path, "kernel")] = partial(read, "weight")
        found[(*path, "bias")] = partial(read, "bias")

    for theirs, ours in (("word", "words"), ("position", "positions"), ("token_type", "types")):
        plain((ours, "embedding"), f"embeddings.{theirs}_embeddings.weight")
    norm(("norm",), "embeddings.LayerNorm")
    for i in range(layers):
        layer, at = f"encoder.layer.{i}", ("layers", i)
        fused((*at, "qkv"), [f"{layer}.attention.self.{n}" for n in ("query", "key", "value")])
        for theirs, ours in LINEAR.items():
            kernel((*at, ours, "kernel"), f"{layer}.{theirs}.weight")
            plain((*at, ours, "bias"), f"{layer}.{theirs}.bias")
        norm((*at, "norm_1"), f"{layer}.attention.output.LayerNorm")
        norm((*at, "norm_2"), f"{layer}.output.LayerNorm")
    return found


LINEAR = {
    "attention.output.dense": "out",
    "intermediate.dense": "up",
    "output.dense": "down",
}
