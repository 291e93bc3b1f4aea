"""How a spec such as ``minilm`` becomes an encoder."""

from __future__ import annotations

from collections.abc import Callable

from pgv_jax.embed.encoder import Encoder, HashEncoder
from pgv_jax.errors import PgvError
from pgv_jax.registry import Registry

Opener = Callable[[str, str], Encoder]
"""(what follows the kind and its colon, options after the question mark) -> encoder."""


def _minilm(rest: str, options: str) -> Encoder:
    from pgv_jax.embed.model_files import open_minilm

    if rest:
        raise PgvError(f"Encoder 'minilm:{rest}' is one model alone; write minilm.")
    return open_minilm(options)


def _hash(rest: str, options: str) -> Encoder:
    if not rest.isdigit() or options:
        spec = f"hash:{rest}" + (f"?{options}" if options else "")
        raise PgvError(f"Encoder '{spec}' is not hash:D with a width D; write hash:256.")
    return HashEncoder(int(rest))


def _hugging_face(rest: str, options: str) -> Encoder:
    from pgv_jax.embed.model_files import open_hugging_face

    return open_hugging_face(_named("hf", rest), options)


def _gguf(rest: str, options: str) -> Encoder:
    from pgv_jax.embed.model_files import open_gguf

    return open_gguf(_named("gguf", rest), options)


def _api(rest: str, options: str) -> Encoder:
    from pgv_jax.embed.api import open_api

    return open_api(_named("api", rest), options)


ENCODERS: dict[str, Opener] = {
    "minilm": _minilm,
    "hash": _hash,
    "hf": _hugging_face,
    "gguf": _gguf,
    "api": _api,
}
FORMS = {"hash": "hash:D", "hf": "hf:ID_OR_DIR", "gguf": "gguf:FILE", "api": "api:MODEL"}
"""How the encoders that take more than their name are written."""
POOLED = ("sentences", "turns")
"""Words before an encoder, which then pools the vectors of a text's parts."""
REGISTRY: Registry[Opener] = Registry(
    "Encoder", "pgv_jax.encoders", lambda: ENCODERS, form=lambda name: FORMS.get(name, name)
)


def open_encoder(spec: str) -> Encoder:
    """``minilm`` | ``hash:D`` | ``hf:ID_OR_DIR`` | ``gguf:FILE`` | ``api:MODEL`` -> Encoder.

    Before one of them, ``sentences:`` or ``turns:`` pools the vectors of a text's parts.
    Options follow a question mark: ``hf:Qwen/Qwen3-Embedding-0.6B?dim=256&dtype=bfloat16``.
    An entry point's name and ``FILE.py:Class`` stand in a kind's place, too; what they name is
    called with (rest, options).
    """
    kind, _, rest = spec.partition(":")
    if kind in POOLED and rest:
        from pgv_jax.embed.pooled_encoder import PooledEncoder

        return PooledEncoder(kind, open_encoder(rest))
    base, _, options = spec.partition("?")
    kind, rest = REGISTRY.split(base) or (base, "")
    opener = REGISTRY.get(kind)
    if opener in ENCODERS.values():
        return opener(rest, options)
    try:
        encoder = opener(rest, options)
    except TypeError as error:
        raise PgvError(
            f"Encoder '{spec}': {kind} is called with what follows it and its options, two texts, "
            f"and does not take them: {error}."
        ) from error
    if not isinstance(encoder, Encoder):
        raise PgvError(
            f"Encoder '{spec}': {kind} makes a {type(encoder).__name__}, which is no "
            "pgv_jax.embed.encoder.Encoder."
        )
    return encoder


def _named(kind: str, rest: str) -> str:
    if not rest:
        raise PgvError(f"Encoder '{kind}' names no model; write {FORMS[kind]}.")
    return rest
