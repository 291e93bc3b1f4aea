"""Causal attention by the GPU's own fused kernel (cuDNN), which never writes the scores."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_WIDEST = 128
"""Of a head: what the kernel takes on every GPU that multiplies bfloat16."""


def serves(query: jax.Array) -> bool:
    """Whether the kernel takes such queries [B, L, K, R, d] on this backend."""
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    fits = query.shape[-1] <= _WIDEST and query.shape[-1] % 8 == 0
    return jax.default_backend() == "gpu" and half and fits


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """``attention.attend`` where queries and keys are the same tokens and no window is set.

    Query [B, L, K, R, d], key and value [B, L, K, d] -> [B, L, K, R, d].
    """
    batch, length, keys, repeats, width = query.shape
    mixed = jax.nn.dot_product_attention(
        query.reshape(batch, length, keys * repeats, width),
        key,
        value,
        scale=1.0 / math.sqrt(width),
        is_causal=True,
        implementation="cudnn",
    )
    return mixed.reshape(query.shape)
