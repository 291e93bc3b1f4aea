"""Hidden states to one vector a text: mean, first or last token, slice, unit length."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgv_jax.embed.text_rules import TextRules


def pool(hidden_BLD: jax.Array, mask_BL: jax.Array, rules: TextRules) -> jax.Array:
    """float32 [B, D']: pool over the mask's tokens, slice to ``truncate_to``, normalise.

    Works for padding on either side: the first and last token are found by the mask.
    """
    hidden_BLD = hidden_BLD.astype(jnp.float32)
    if rules.pooling == "mean":
        kept_BL = mask_BL > 0
        if rules.skip:
            count_B1 = mask_BL.sum(1, keepdims=True)
            kept_BL &= jnp.cumsum(mask_BL, axis=1) > jnp.minimum(rules.skip, count_B1 - 1)
        mask = kept_BL.astype(jnp.float32)
        summed = jnp.einsum("bld,bl->bd", hidden_BLD, mask)
        vectors = summed / jnp.maximum(mask.sum(1, keepdims=True), 1e-9)
    else:
        position = jnp.arange(mask_BL.shape[1])
        if rules.pooling == "cls":
            at_B = jnp.argmax(mask_BL > 0, axis=1)
        else:
            at_B = jnp.argmax(jnp.where(mask_BL > 0, position[None], -1), axis=1)
        vectors = jnp.take_along_axis(hidden_BLD, at_B[:, None, None], axis=1)[:, 0]
    return finish(vectors, rules)


def finish(vectors: jax.Array, rules: TextRules) -> jax.Array:
    """Slice the last axis to ``truncate_to``, scale it to unit length: as the rules say."""
    vectors = vectors.astype(jnp.float32)
    if rules.truncate_to is not None:
        vectors = vectors[..., : rules.truncate_to]
    if rules.normalize:
        norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = vectors / jnp.maximum(norms, 1e-12)
    return vectors
