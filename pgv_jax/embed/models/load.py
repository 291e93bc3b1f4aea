"""A Hugging Face folder or a GGUF file -> a model on its devices, read block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from pgv_jax.embed.models import bert, decoder
from pgv_jax.embed.models.memory import check_room
from pgv_jax.embed.models.sharding import weight_sharding
from pgv_jax.embed.text_rules import read_json
from pgv_jax.embed.weights import Reader, WeightFiles, Weights
from pgv_jax.errors import PgvError

SUPPORTED = ("bert", *decoder.FAMILIES)
_EXAMPLES = "bert (MiniLM, BGE, E5), llama (Llama 2 and 3), qwen2, qwen3 (and Qwen3-Embedding)"
_POSITIVE = (
    "vocab_size", "hidden_size", "layers", "heads", "kv_heads", "head_dim", "intermediate_size",
    "max_positions",
)  # fmt: skip
# Prefixes that task-specific checkpoints put before the names of the bare model.
_PREFIXES = ("bert.", "model.")


@dataclass(frozen=True)
class Loaded:
    """A model, and what an encoder must know of it."""

    model: nnx.Module
    family: str
    causal: bool
    hidden_size: int
    window: int
    layers: int
    dtype: str
    weights_sha256: str


@dataclass(frozen=True)
class Sizes:
    """A parsed config: what is known of a model before its weights are read."""

    family: str
    config: bert.BertConfig | decoder.DecoderConfig

    @property
    def causal(self) -> bool:
        """Whether a token sees only what stands before it."""
        return self.family != "bert"


def read_sizes(folder: Path) -> Sizes:
    """Parse ``config.json``; an unsupported family is a PgvError that lists what is supported."""
    path = folder / "config.json"
    config = read_json(path)
    family = config.get("model_type") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or family not in SUPPORTED:
        raise PgvError(f"{path} has model_type {family!r}; supported are {_EXAMPLES}.")
    if config.get("quantization_config"):
        raise PgvError(f"{path} describes quantised weights; use the unquantised model.")
    return parse_sizes(config, str(path))


def parse_sizes(config: Mapping[str, Any], source: str) -> Sizes:
    """The sizes that a config of a supported family gives; ``source`` names it in errors."""
    family = config["model_type"]
    parse = bert.BertConfig if family == "bert" else decoder.DecoderConfig
    try:
        sizes = Sizes(family, parse.from_json(config, source))
    except (KeyError, TypeError, ValueError) as error:
        raise PgvError(
            f"{source} has no usable numbers for model_type {family!r} ({type(error).__name__}: "
            f"{error}); download the model again."
        ) from error
    numbers = {k: v for k, v in vars(sizes.config).items() if k in _POSITIVE}
    bad = {name: value for name, value in numbers.items() if not _positive(value)}
    if bad:
        raise PgvError(f"{source} gives {bad}, where positive integers are needed.")
    return sizes


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def folder_weights(folder: Path) -> Weights:
    """The weights of a model folder, named as those of the bare model."""
    files = WeightFiles(folder)
    files.strip(*_PREFIXES)
    return files


def load_model(
    files: Weights, sizes: Sizes, dtype: jnp.dtype, layer: int = -1, mesh: Mesh | None = None
) -> Loaded:
    """Read the weights up to ``layer`` into ``dtype``, each block straight to its device."""
    config = sizes.config
    count = layer if layer >= 0 else config.layers + 1 + layer
    if not 0 <= count <= config.layers:
        raise PgvError(
            f"layer={layer} is outside of the {config.layers} layers of {files.source}; use -1 "
            f"for the last, or 0 to {config.layers}."
        )

    def build() -> nnx.Module:
        if isinstance(config, bert.BertConfig):
            return bert.Bert(config, dtype, nnx.Rngs(0), count)
        return decoder.Decoder(config, dtype, count)

    graph, state = nnx.split(nnx.eval_shape(build))
    flat = dict(nnx.to_flat_state(state))
    check_room(files.source, sum(p.size for p in flat.values()) * dtype.itemsize, dtype, mesh)
    if isinstance(config, bert.BertConfig):
        blocks = bert.blocks(config, count, files)
    else:
        blocks = decoder.blocks(config, count, files)
    for path, param in flat.items():
        shape = tuple(param.shape)
        flat[path] = param.replace(_place(path, shape, dtype, blocks[path], mesh))
    model = nnx.merge(graph, nnx.from_flat_state(flat))
    return Loaded(
        model=model,
        family=sizes.family,
        causal=sizes.causal,
        hidden_size=config.hidden_size,
        window=config.max_positions,
        layers=count,
        dtype=dtype.name,
        weights_sha256=files.sha256(),
    )


def _place(
    path: tuple[Any, ...],
    shape: tuple[int, ...],
    dtype: jnp.dtype,
    read: Reader,
    mesh: Mesh | None,
) -> jax.Array:
    """One parameter on its devices; the host holds no more than one device's block at a time."""

    def block(index: tuple[slice, ...] | None) -> np.ndarray:
        index = index or (slice(None),) * len(shape)
        whole = tuple(slice(*part.indices(n)) for part, n in zip(index, shape, strict=True))
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.ascontiguousarray(read(whole, shape)).astype(dtype, copy=False)

    if mesh is None:
        return jax.device_put(block(None))
    return jax.make_array_from_callback(shape, weight_sharding(path, shape, mesh), block)
