"""Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) in bounded memory."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_BLOCK = 1024
_NEVER = -1e30


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    query_at: jax.Array,
    key_at: jax.Array,
    key_real: jax.Array | None,
    window: jax.Array | None,
    precision: jax.lax.Precision,
) -> jax.Array:
    """Causal attention: query [B, Q, K, R, d] over key, value [B, S, K, d] -> [B, Q, K, R, d].

    K key heads each serve R query heads. ``query_at`` [B, Q] and ``key_at`` [B, S] are positions;
    a query sees real keys (None: all) at its own or earlier positions, at most ``window`` - 1 back.
    Long queries go block by block, so that scores never need Q x S memory.
    """

    def block(query: jax.Array, query_at: jax.Array) -> jax.Array:
        distance = query_at[:, :, None] - key_at[:, None, :]
        seen = distance >= 0
        if key_real is not None:
            seen &= key_real[:, None, :]
        if window is not None:
            seen &= distance < window
        scores = jnp.einsum(
            "bqkrd,bskd->bkrqs",
            query * (1.0 / math.sqrt(query.shape[-1])),
            key,
            precision=precision,
            preferred_element_type=jnp.float32,
        )
        scores = jnp.where(seen[:, None, None], scores, _NEVER)
        weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
        return jnp.einsum("bkrqs,bskd->bqkrd", weights, value, precision=precision)

    length = query.shape[1]
    if length <= _BLOCK:
        return block(query, query_at)
    extra = -length % _BLOCK
    query = jnp.pad(query, [(0, 0), (0, extra), (0, 0), (0, 0), (0, 0)])
    query_at = jnp.pad(query_at, [(0, 0), (0, extra)])
    blocks = (length + extra) // _BLOCK

    def split(array: jax.Array) -> jax.Array:
        parts = array.reshape(array.shape[0], blocks, _BLOCK, *array.shape[2:])
        return jnp.moveaxis(parts, 1, 0)

    mixed = jax.lax.map(lambda part: block(*part), (split(query), split(query_at)))
    mixed = jnp.moveaxis(mixed, 0, 1)
    return mixed.reshape(mixed.shape[0], length + extra, *mixed.shape[3:])[:, :length]
