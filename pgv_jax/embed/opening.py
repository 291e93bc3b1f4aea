"""How a spec such as ``minilm`` becomes an encoder."""

from __future__ import annotations

from pgv_jax.embed.encoder import Encoder, HashEncoder
from pgv_jax.errors import PgvError


def open_encoder(spec: str) -> Encoder:
    """``minilm`` | ``hash:D`` | ``hf:ID_OR_DIR`` | ``gguf:FILE`` | ``api:MODEL`` -> Encoder.

    Before one of them, ``sentences:`` or ``turns:`` pools the vectors of a text's parts.
    Options follow a question mark: ``hf:Qwen/Qwen3-Embedding-0.6B?dim=256&dtype=bfloat16``.
    """
    kind, _, rest = spec.partition(":")
    if kind in ("sentences", "turns") and rest:
        from pgv_jax.embed.pooled_encoder import PooledEncoder

        return PooledEncoder(kind, open_encoder(rest))
    base, _, options = spec.partition("?")
    kind, _, rest = base.partition(":")
    if kind == "hash":
        if not rest.isdigit() or options:
            raise PgvError(f"Encoder '{spec}' is not hash:D with a width D; write hash:256.")
        return HashEncoder(int(rest))
    if kind == "minilm" and not rest:
        from pgv_jax.embed.local import open_minilm

        return open_minilm(options)
    if kind == "hf" and rest:
        from pgv_jax.embed.local import open_hugging_face

        return open_hugging_face(rest, options)
    if kind == "gguf" and rest:
        from pgv_jax.embed.local import open_gguf

        return open_gguf(rest, options)
    if kind == "api" and rest:
        from pgv_jax.embed.api import open_api

        return open_api(rest, options)
    raise PgvError(
        f"Encoder '{spec}' is unknown; use minilm, hash:D (for example hash:256), "
        "hf:ID_OR_DIR, gguf:FILE or api:MODEL, or sentences: or turns: before one of them to pool "
        "parts."
    )
