"""A GGUF file (llama.cpp's format) as a model: sizes, rules, vocabulary and weights in one file.

Numbers and names follow the file's metadata; whatever this module does not know is refused, since
a model that is read by half embeds without complaint. Weights are dequantised as they are read.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from pgv_jax.embed.gguf_tokens import read_vocabulary
from pgv_jax.embed.models.decoder import FAMILIES, DecoderConfig
from pgv_jax.embed.models.load import Sizes, parse_sizes
from pgv_jax.embed.text_rules import TextRules
from pgv_jax.embed.tokens import Vocabulary
from pgv_jax.embed.weights import Block
from pgv_jax.errors import PgvError
from pgv_jax.parts import part

# Key behind "ARCHITECTURE." -> key of a Hugging Face config.
_NEEDED = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_OPTIONAL = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
}
# Checked against the others, or without a say in hidden states.
_BESIDE = (
    "attention.value_length",
    "pooling_type",
    "rope.dimension_count",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
)
_OUTSIDE = ("token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight")
"""Tensors of no layer; the output head is never read."""
_INSIDE = (
    "attn_norm.weight", "attn_q.weight", "attn_q.bias", "attn_k.weight", "attn_k.bias",
    "attn_v.weight", "attn_v.bias", "attn_output.weight", "attn_output.bias", "attn_q_norm.weight",
    "attn_k_norm.weight", "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight",
)  # fmt: skip
_ROTATED = ("attn_q.weight", "attn_q.bias", "attn_k.weight", "attn_k.bias")
_INSTEAD = "use the model's Hugging Face folder (hf:DIR) instead"


class GgufFile:
    """One file of llama.cpp's: a Llama, Qwen2 or Qwen3 with weights of any type that gguf reads."""

    def __init__(self, path: pathlib.Path):
        self.source = path
        self._reader = _open(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self._family = self._value("general.architecture")
        if self._family not in FAMILIES:
            raise PgvError(
                f"{path} holds a model of architecture {self._family!r}; supported are "
                f"{', '.join(FAMILIES)}."
            )
        self._refuse_unknown()

    def sizes(self) -> Sizes:
        """The model's config; raises PgvError where the file asks for something else."""
        config: dict[str, Any] = {"model_type": self._family}
        missing = [key for key in _NEEDED if self._own(key) is None]
        missing += [name for name in _OUTSIDE[:1] if name not in self._tensors]
        if missing:
            raise PgvError(
                f"{self.source} lacks {', '.join(missing[:3])}; it is no whole model, download it "
                "again."
            )
        for key, theirs in {**_NEEDED, **_OPTIONAL}.items():
            if self._own(key) is not None:
                config[theirs] = self._own(key)
        config["vocab_size"] = self._rows()
        config["attention_bias"] = self._family != "qwen2" and "blk.0.attn_q.bias" in self._tensors
        kind = self._own("rope.scaling.type") or "none"
        if kind != "none":
            factor = self._own("rope.scaling.factor") or 1.0
            config["rope_scaling"] = {"rope_type": kind, "factor": factor}
        sizes = parse_sizes(config, str(self.source))
        assert isinstance(sizes.config, DecoderConfig)
        self._refuse_unread(sizes.config)
        self._check_heads(sizes.config.head_dim)
        rope = replace(sizes.config.rope, stretch=self._stretch(sizes.config.head_dim))
        return replace(sizes, config=replace(sizes.config, rope=rope))

    def rules(self, sizes: Sizes) -> TextRules:
        """Pooling as the file says, else the last token; the model's whole context."""
        number = self._own("pooling_type")
        named = {None: "last", 0: "last", 1: "mean", 2: "cls", 3: "last"}
        if number not in named:
            raise PgvError(
                f"{self.source} asks for pooling_type {number}; supported are 0 (none), 1 (mean), "
                "2 (cls) and 3 (last)."
            )
        return TextRules(pooling=named[number], max_tokens=sizes.config.max_positions)

    def prompt(self, name: str) -> str:
        """A GGUF file names no prompts."""
        raise PgvError(f"{self.source} is a GGUF file, which has no prompt {name!r}; use prefix=.")

    def vocabulary(self) -> Vocabulary:
        """The tokenizer that the metadata describes."""
        field, rows = self._reader.get_field("tokenizer.ggml.tokens"), self._rows()
        count = 0 if field is None else len(field.data)
        if count != rows:
            raise PgvError(
                f"{self.source} has {count} tokens for {rows} vectors; download the file again."
            )
        return read_vocabulary(self.source, self._value, self.sha256())

    def weights(self) -> GgufFile:
        """The file itself gives blocks of tensors."""
        return self

    def block(self, name: str, index: Block, shape: Sequence[int]) -> np.ndarray:
        """A block of the tensor that a Hugging Face folder calls ``name``: float32."""
        import gguf

        theirs = self._name(name)
        if theirs not in self._tensors:
            raise PgvError(
                f"{self.source} lacks the tensor '{theirs}'; it is no whole model, download it "
                "again."
            )
        tensor = self._tensors[theirs]
        try:
            value = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32)
        except NotImplementedError as error:
            raise PgvError(
                f"Tensor '{theirs}' of {self.source} is stored as {tensor.tensor_type.name}, which "
                "the package gguf cannot dequantise; use another quantisation."
            ) from error
        if value.shape != tuple(shape):
            raise PgvError(
                f"Tensor '{theirs}' in {self.source} has shape {value.shape}, its metadata asks "
                f"for {tuple(shape)}; download the file again."
            )
        if self._family == "llama" and theirs.endswith(_ROTATED):
            value = halves(value, self._heads(theirs))
        return value[index]

    def sha256(self) -> str:
        """Of the whole file."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        with self.source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _value(self, key: str) -> Any:
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def _own(self, key: str) -> Any:
        return self._value(f"{self._family}.{key}")

    @cached_property
    def _names(self) -> Any:
        import gguf

        kind = {text: number for number, text in gguf.MODEL_ARCH_NAMES.items()}[self._family]
        return gguf.get_tensor_name_map(kind, self._own("block_count"))

    def _name(self, name: str) -> str:
        found = self._names.get_name(f"model.{name}", try_suffixes=(".weight", ".bias"))
        assert found is not None, f"gguf knows no {name}"
        return found

    def _rows(self) -> int:
        return int(self._tensors["token_embd.weight"].shape[1])

    def _heads(self, name: str) -> int:
        heads = self._own("attention.head_count")
        return (self._own("attention.head_count_kv") or heads) if "attn_k" in name else heads

    def _refuse_unknown(self) -> None:
        prefix = f"{self._family}."
        keys = {key.removeprefix(prefix) for key in self._reader.fields if key.startswith(prefix)}
        strange = sorted(keys - {*_NEEDED, *_OPTIONAL, *_BESIDE})
        strange += sorted(
            name
            for name in self._tensors
            if name not in _OUTSIDE and not (name.startswith("blk.") and name.endswith(_INSIDE))
        )
        if (self._value("split.count") or 1) > 1:
            strange.append("parts in other files")
        if strange:
            raise PgvError(
                f"{self.source} has {', '.join(strange[:5])}, which this reader does not know, so "
                f"its vectors would be wrong; {_INSTEAD}."
            )

    def _refuse_unread(self, config: DecoderConfig) -> None:
        """Tensors of other families: this one's model would leave them unread."""
        unread = (
            *(() if config.qkv_bias else ("attn_q.bias", "attn_k.bias", "attn_v.bias")),
            *(() if config.out_bias else ("attn_output.bias",)),
            *(() if config.qk_norm else ("attn_q_norm.weight", "attn_k_norm.weight")),
        )
        strange = sorted(name for name in self._tensors if unread and name.endswith(unread))
        if strange:
            raise PgvError(
                f"{self.source} has {', '.join(strange[:5])}, which a {self._family} does not "
                f"read, so its vectors would be wrong; {_INSTEAD}."
            )

    def _check_heads(self, head_dim: int) -> None:
        for key in ("rope.dimension_count", "attention.value_length"):
            if (self._own(key) or head_dim) != head_dim:
                raise PgvError(
                    f"{self.source} has heads of {head_dim} numbers and {key} {self._own(key)}; "
                    f"only equal ones are supported, {_INSTEAD}."
                )

    def _stretch(self, head_dim: int) -> tuple[float, ...]:
        """Llama 3's scaling, which a file holds as divisors of the frequencies."""
        tensor = self._tensors.get("rope_freqs.weight")
        if tensor is None:
            return ()
        shape = tensor.data.shape
        if shape != (head_dim // 2,) or tensor.data.dtype != np.float32:
            raise PgvError(
                f"{self.source} has rope_freqs.weight of shape {shape}; "
                f"{head_dim // 2} float32 numbers are needed."
            )
        return tuple(float(x) for x in tensor.data)


def halves(value: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key as Hugging Face orders them, from llama.cpp's order.

    llama.cpp rotates neighbours (2i, 2i + 1) of a Llama's head and its converter permutes the rows
    to suit; transformers and this package rotate the pairs (i, i + head_dim/2).
    """
    rows = value.reshape(heads, -1, 2, *value.shape[1:])
    return rows.swapaxes(1, 2).reshape(value.shape)


def _open(path: pathlib.Path) -> Any:
    with part("gguf", "An encoder of a GGUF file"):
        import gguf
    try:
        return gguf.GGUFReader(path)
    # A truncated file ends the reader in whatever way the missing bytes happen to.
    except Exception as error:
        raise PgvError(
            f"{path} cannot be read as GGUF ({type(error).__name__}: {error}); download it again."
        ) from error
