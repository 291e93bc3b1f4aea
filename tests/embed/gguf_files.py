"""Small GGUF files, written as llama.cpp's converter writes them from a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.vocab import bytes_to_unicode
from safetensors.numpy import load_file

SPECIAL = ("<s>", "</s>", "<pad>")
KEYS = {
    "num_hidden_layers": "block_count",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
}
TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "embed_tokens": "token_embd",
    "norm": "output_norm",
}


def tokens_of(*, special: tuple[str, ...] = SPECIAL, missing: str = "") -> list[str]:
    """Bytes 0 to 255 as GPT-2 spells them (less ``missing``), special tokens, then two words."""
    letters = bytes_to_unicode()
    own = [letters[byte] for byte in range(256) if chr(byte) not in missing]
    return [*own, *special, "ĠĠ", "th", "word"]


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """What the converter does to the rows of a Llama's query and key."""
    rows = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def name_of(name: str) -> str:
    """GGUF's name of a Hugging Face tensor: layers.1.mlp.up_proj.weight -> blk.1.ffn_up.weight."""
    stem, kind = name.rsplit(".", 1)
    if not stem.startswith("layers."):
        return f"{TENSORS[stem]}.{kind}"
    _, number, rest = stem.split(".", 2)
    return f"blk.{number}.{TENSORS[rest]}.{kind}"


def write_gguf(
    folder: Path,
    path: Path,
    *,
    pre: str = "smollm",
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tokens: list[str] | None = None,
    padded: bool = True,
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    """``folder``'s model as one file; matrices are stored as ``kind``, ``metadata`` is added."""
    config = json.loads((folder / "config.json").read_text())
    family = config["model_type"]
    writer = gguf.GGUFWriter(path, family)
    for theirs, key in KEYS.items():
        if theirs in config:
            writer.add_uint32(f"{family}.{key}", config[theirs])
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    own = tokens_of() if tokens is None else tokens
    kinds = [gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in own]
    unused = config["vocab_size"] - len(own) if padded else 0
    own = [*own, *(f"[PAD{i}]" for i in range(unused))]
    kinds += [gguf.TokenType.UNUSED] * unused
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(own)
    writer.add_token_types(kinds)
    writer.add_token_merges(["Ġ Ġ", "t h"])
    for key, value in (metadata or {}).items():
        add = {bool: writer.add_bool, str: writer.add_string, float: writer.add_float32}
        add.get(type(value), writer.add_uint32)(key, value)
    for name, weight in load_file(folder / "model.safetensors").items():
        if family == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
            weight = permuted(weight, config[heads])
        stored = gguf.quantize(weight, kind) if weight.ndim == 2 else weight
        writer.add_tensor(name_of(name), stored, raw_dtype=kind if weight.ndim == 2 else None)
    for name, weight in (tensors or {}).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
