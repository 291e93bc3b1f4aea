"""Decoder-only language models as encoders, in flax nnx: Llama 2/3, Qwen2, Qwen3 share this file.

What differs between the families stands in ``FAMILIES``. Parameters of all layers are stacked, so
that one scan compiles one layer however deep the model is. The output head is never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.embed.models import fused
from pgv_jax.embed.models.attention import attend
from pgv_jax.embed.models.rope import Rope, rotate, rotation
from pgv_jax.embed.weights import Block, Path, Reader, Weights
from pgv_jax.errors import PgvError


@dataclass(frozen=True)
class Family:
    """What one family does that another does not.

    ``qkv_bias`` and ``out_bias`` are True, False or "config" (``attention_bias`` decides).
    """

    qkv_bias: bool | str
    out_bias: bool | str
    qk_norm: bool
    sliding: bool


FAMILIES = {
    "llama": Family(qkv_bias="config", out_bias="config", qk_norm=False, sliding=False),
    "qwen2": Family(qkv_bias=True, out_bias=False, qk_norm=False, sliding=True),
    "qwen3": Family(qkv_bias="config", out_bias="config", qk_norm=True, sliding=True),
}


@dataclass(frozen=True)
class DecoderConfig:
    """The sizes and switches that a ``config.json`` gives. ``windows`` has 0 for full attention."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    max_positions: int
    norm_eps: float
    rope: Rope
    qkv_bias: bool
    out_bias: bool
    qk_norm: bool
    windows: tuple[int, ...]

    @classmethod
    def from_json(cls, config: Mapping[str, Any], source: str = "config.json") -> DecoderConfig:
        """Read a Hugging Face config; raises PgvError where it asks for something else."""
        family = FAMILIES[config["model_type"]]
        if config.get("hidden_act", "silu") != "silu" or config.get("mlp_bias"):
            raise PgvError(
                f"{source} asks for hidden_act {config.get('hidden_act')!r}, mlp_bias "
                f"{config.get('mlp_bias', False)}; supported are 'silu' and no bias."
            )
        heads = config["num_attention_heads"]
        bias = bool(config.get("attention_bias", False))
        return cls(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            intermediate_size=config["intermediate_size"],
            max_positions=config.get("max_position_embeddings", 2048),
            norm_eps=config.get("rms_norm_eps", 1e-6),
            rope=Rope.from_json(config, source),
            qkv_bias=bias if family.qkv_bias == "config" else bool(family.qkv_bias),
            out_bias=bias if family.out_bias == "config" else bool(family.out_bias),
            qk_norm=family.qk_norm,
            windows=_windows(config, family, source),
        )


def _windows(config: Mapping[str, Any], family: Family, source: str) -> tuple[int, ...]:
    layers = config["num_hidden_layers"]
    if not family.sliding or not config.get("use_sliding_window", False):
        return (0,) * layers
    width = config.get("sliding_window") or 0
    first = config.get("max_window_layers", 28)
    kinds = config.get("layer_types") or [
        "sliding_attention" if i >= first else "full_attention" for i in range(layers)
    ]
    unknown = sorted(set(kinds) - {"sliding_attention", "full_attention"})
    if unknown or len(kinds) != layers:
        raise PgvError(
            f"{source} has {len(kinds)} layer_types for {layers} layers, of kinds "
            f"{sorted(set(kinds))}; supported are full_attention and sliding_attention."
        )
    return tuple(width if kind == "sliding_attention" else 0 for kind in kinds)


class Cache(NamedTuple):
    """Keys and values of what was read, [layers, B, capacity, kv_heads, head_dim] each."""

    key: jax.Array
    value: jax.Array


class Decoder(nnx.Module):
    """Token ids int32 [B, L] -> hidden states [B, L, D].

    ``layers`` of the constructor may be fewer than the config's: the rest is then never loaded,
    and ``final_norm`` says whether the last norm is applied (as in transformers' hidden_states).
    """

    def __init__(self, config: DecoderConfig, dtype: jnp.dtype, layers: int | None = None):
        self.config = config
        self.count = config.layers if layers is None else layers
        self.dtype = dtype
        width, heads, keys = config.hidden_size, config.heads, config.kv_heads

        def stacked(*shape: int) -> nnx.Param:
            return nnx.Param(jnp.zeros((self.count, *shape), dtype))

        self.embedding = nnx.Param(jnp.zeros((config.vocab_size, width), dtype))
        blocks = {
            "norm_1": stacked(width),
            "q": stacked(width, heads * config.head_dim),
            "k": stacked(width, keys * config.head_dim),
            "v": stacked(width, keys * config.head_dim),
            "out": stacked(heads * config.head_dim, width),
            "norm_2": stacked(width),
            "gate": stacked(width, config.intermediate_size),
            "up": stacked(width, config.intermediate_size),
            "down": stacked(config.intermediate_size, width),
        }
        if config.qkv_bias:
            blocks["q_bias"] = stacked(heads * config.head_dim)
            blocks["k_bias"] = stacked(keys * config.head_dim)
            blocks["v_bias"] = stacked(keys * config.head_dim)
        if config.out_bias:
            blocks["out_bias"] = stacked(width)
        if config.qk_norm:
            blocks["q_norm"] = stacked(config.head_dim)
            blocks["k_norm"] = stacked(config.head_dim)
        self.blocks = nnx.Dict(blocks)
        self.norm = nnx.Param(jnp.zeros((width,), dtype))

    def __call__(self, ids_BL: jax.Array, mask_BL: jax.Array) -> jax.Array:
        """Read whole sequences; ``mask_BL`` is 1 at tokens, and padding may lie on either side."""
        positions_BL = jnp.maximum(jnp.cumsum(mask_BL, axis=1) - 1, 0)
        return self._run(ids_BL, positions_BL, mask_BL > 0, None, 0)[0]

    def read(self, ids_BL: jax.Array) -> jax.Array:
        """Read sequences whose padding, if any, lies behind their tokens, where none looks at it.

        The same numbers at the tokens, without a mask, so that a GPU's fused attention serves.
        """
        positions_BL = jnp.broadcast_to(jnp.arange(ids_BL.shape[1]), ids_BL.shape)
        return self._run(ids_BL, positions_BL, None, None, 0)[0]

    def states(self, ids_BL: jax.Array) -> jax.Array:
        """What ``read`` gives after no layer, one, ... and all: [1 + layers, B, L, D].

        As transformers' ``hidden_states``: the last norm is applied to the last of them alone.
        """
        positions_BL = jnp.broadcast_to(jnp.arange(ids_BL.shape[1]), ids_BL.shape)
        last_BLD, found_NBLD = self._run(ids_BL, positions_BL, None, None, 0, keep=True)
        first_BLD = self.embedding[...][ids_BL]
        return jnp.concatenate([first_BLD[None], found_NBLD[:-1], last_BLD[None]])

    def extend(self, cache: Cache, ids_BL: jax.Array, start: jax.Array) -> tuple[jax.Array, Cache]:
        """Read ``ids_BL`` as positions ``start``..., after the ``start`` tokens in the cache.

        The caller keeps start + L within the capacity. Ids behind the real ones do no harm:
        nothing real looks at them, and the next call overwrites them.
        """
        batch, length = ids_BL.shape
        positions_BL = jnp.broadcast_to(start + jnp.arange(length), (batch, length))
        real = jnp.ones((batch, cache.key.shape[2]), bool)
        return self._run(ids_BL, positions_BL, real, cache, start)

    def empty_cache(self, batch: int, capacity: int) -> Cache:
        """Room for ``capacity`` tokens of ``batch`` sequences."""
        shape = (self.count, batch, capacity, self.config.kv_heads, self.config.head_dim)
        return Cache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))

    def _run(
        self,
        ids_BL: jax.Array,
        positions_BL: jax.Array,
        real_BS: jax.Array | None,
        cache: Cache | None,
        start: jax.Array | int,
        keep: bool = False,
    ) -> tuple[jax.Array, Any]:
        """Hidden states, and the grown cache; with ``keep`` the state after each layer instead."""
        config = self.config
        x_BLD = self.embedding[...][ids_BL]
        turn = rotation(positions_BL, config.rope.frequencies(config.head_dim))
        key_at = positions_BL
        if cache is not None:
            assert real_BS is not None
            key_at = jnp.broadcast_to(jnp.arange(real_BS.shape[1]), real_BS.shape)
        windows = config.windows[: self.count]
        # Width 0 means full attention: as a number that no distance reaches.
        widths = jnp.asarray([w or jnp.iinfo(jnp.int32).max for w in windows], jnp.int32)

        def layer(x_BLD: jax.Array, each: tuple[Any, ...]) -> tuple[jax.Array, Any]:
            p, width, kept = each
            normed = rms_norm(x_BLD, p["norm_1"], config.norm_eps)
            query, key, value = _project(config, p, normed, turn)
            if kept is not None:
                key = jax.lax.dynamic_update_slice(kept.key, key, (0, start, 0, 0))
                value = jax.lax.dynamic_update_slice(kept.value, value, (0, start, 0, 0))
            if real_BS is None and not any(windows) and fused.serves(query):
                mixed = fused.attend(query, key, value)
            else:
                mixed = attend(
                    query,
                    key,
                    value,
                    positions_BL,
                    key_at,
                    real_BS,
                    width if any(windows) else None,
                    _precision(x_BLD.dtype),
                )
            mixed = mixed.reshape(*x_BLD.shape[:2], -1)
            x_BLD = x_BLD + _dot(mixed, p["out"], p.get("out_bias"))
            normed = rms_norm(x_BLD, p["norm_2"], config.norm_eps)
            hidden = jax.nn.silu(_dot(normed, p["gate"])) * _dot(normed, p["up"])
            x_BLD = x_BLD + _dot(hidden, p["down"])
            if keep:
                return x_BLD, x_BLD
            return x_BLD, (None if kept is None else Cache(key, value))

        stacked = {name: param[...] for name, param in self.blocks.items()}
        x_BLD, beside = jax.lax.scan(layer, x_BLD, (stacked, widths, cache))
        if self.count == config.layers:
            x_BLD = rms_norm(x_BLD, self.norm[...], config.norm_eps)
        return x_BLD, beside


def _project(
    config: DecoderConfig,
    p: Mapping[str, jax.Array],
    x_BLD: jax.Array,
    turn: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query [B, L, K, R, d], key and value [B, L, K, d], rotated to their positions."""
    batch, length = x_BLD.shape[:2]

    def heads(name: str) -> jax.Array:
        found = _dot(x_BLD, p[name], p.get(f"{name}_bias"))
        return found.reshape(batch, length, -1, config.head_dim)

    query, key, value = heads("q"), heads("k"), heads("v")
    if config.qk_norm:
        query = rms_norm(query, p["q_norm"], config.norm_eps)
        key = rms_norm(key, p["k_norm"], config.norm_eps)
    query, key = rotate(query, *turn), rotate(key, *turn)
    return query.reshape(batch, length, config.kv_heads, -1, config.head_dim), key, value


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """x / sqrt(mean(x^2) + eps) * scale over the last axis, in float32."""
    exact = x.astype(jnp.float32)
    exact = exact * jax.lax.rsqrt(jnp.mean(exact * exact, axis=-1, keepdims=True) + eps)
    return exact.astype(x.dtype) * jnp.expand_dims(scale, range(x.ndim - 1))


def _dot(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    product = jnp.matmul(x, kernel, precision=_precision(x.dtype))
    return product if bias is None else product + jnp.expand_dims(bias, range(x.ndim - 1))


def _precision(dtype: jnp.dtype) -> jax.lax.Precision:
    """float32 means float32: accelerators would otherwise round its products to fewer bits."""
    exact = dtype == jnp.float32
    return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT


# Our stacked parameter -> (name in a layer of the files, stored as [out, in]).
LAYER_TENSORS = {
    "norm_1": ("input_layernorm.weight", False),
    "q": ("self_attn.q_proj.weight", True),
    "k": ("self_attn.k_proj.weight", True),
    "v": ("self_attn.v_proj.weight", True),
    "q_bias": ("self_attn.q_proj.bias", False),
    "k_bias": ("self_attn.k_proj.bias", False),
    "v_bias": ("self_attn.v_proj.bias", False),
    "q_norm": ("self_attn.q_norm.weight", False),
    "k_norm": ("self_attn.k_norm.weight", False),
    "out": ("self_attn.o_proj.weight", True),
    "out_bias": ("self_attn.o_proj.bias", False),
    "norm_2": ("post_attention_layernorm.weight", False),
    "gate": ("mlp.gate_proj.weight", True),
    "up": ("mlp.up_proj.weight", True),
    "down": ("mlp.down_proj.weight", True),
}


def blocks(config: DecoderConfig, layers: int, files: Weights) -> dict[Path, Reader]:
    """For every parameter of ``Decoder``'s state: what reads a block of it from ``files``."""
    del config

    def stacked(name: str, transposed: bool) -> Reader:
        def read(index: Block, shape: tuple[int, ...]) -> np.ndarray:
            inner, whole = index[1:], shape[1:]
            if transposed:
                inner, whole = inner[::-1], whole[::-1]
            wanted = range(layers)[index[0]]
            parts = [files.block(f"layers.{i}.{name}", inner, whole) for i in wanted]
            return np.stack([part.T for part in parts] if transposed else parts)

        return read

    found: dict[Path, Reader] = {
        ("blocks", ours): stacked(name, transposed)
        for ours, (name, transposed) in LAYER_TENSORS.items()
    }
    found["embedding",] = partial(files.block, "embed_tokens.weight")
    found["norm",] = partial(files.block, "norm.weight")
    return found
