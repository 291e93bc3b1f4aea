"""Model folders with random weights, written without torch: the laws need no real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

TINY = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
BERT = {"model_type": "bert", "hidden_act": "gelu", "type_vocab_size": 2, "layer_norm_eps": 1e-12}
LLAMA = {"model_type": "llama", "num_key_value_heads": 2, "hidden_act": "silu"}
QWEN2 = {"model_type": "qwen2", "num_key_value_heads": 2, "hidden_act": "silu"}
QWEN3 = {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16, "hidden_act": "silu"}


def write_folder(
    folder: Path,
    config: dict[str, Any],
    *,
    seed: int = 0,
    tail: bool = False,
    head: bool = False,
    shards: int = 1,
    prefix: str = "",
) -> Path:
    """A whole model folder: config.json, weights (in ``shards`` files), tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**TINY, **config}
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    shapes = bert_shapes(config) if config["model_type"] == "bert" else decoder_shapes(config)
    tensors = {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape) / np.sqrt(shape[-1])
        if name.endswith("norm.weight") or "LayerNorm.weight" in name:
            value = 1 + 0.2 * rng.standard_normal(shape)
        elif name.endswith("bias"):
            value = 0.2 * rng.standard_normal(shape)
        tensors[prefix + name] = value.astype(np.float32)
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
    else:
        where = {name: f"model-{i % shards + 1:05d}.safetensors" for i, name in enumerate(names)}
        for file in set(where.values()):
            save_file({n: tensors[n] for n in names if where[n] == file}, folder / file)
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_tokenizer(folder, head=head or config["model_type"] == "bert", tail=tail)
    return folder


def write_tokenizer(folder: Path, *, head: bool, tail: bool) -> None:
    """Byte-level ids 0..255 (every text has tokens), <s> = 256, </s> = 257, <pad> = 258."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: i for i, symbol in enumerate(alphabet)}
    vocab |= {"<s>": 256, "</s>": 257, "<pad>": 258}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    single = ("<s> " if head else "") + "$A" + (" </s>" if tail else "")
    if head or tail:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<s>", 256), ("</s>", 257)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "pad_token": "<pad>",
                "model_max_length": 1000000,
            }
        )
    )


def write_sentence_transformers(
    folder: Path, pooling: str, *, normalize: bool = True, **extra: Any
) -> None:
    """The files by which sentence-transformers states pooling, normalisation and prompts."""
    keys = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "max": "pooling_mode_max_tokens",
        "mean_sqrt": "pooling_mode_mean_sqrt_len_tokens",
        "last": "pooling_mode_lasttoken",
    }
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    modes = {key: name == pooling for name, key in keys.items()}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": width, **modes})
    )
    (folder / "config_sentence_transformers.json").write_text(json.dumps(extra))


def bert_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for i in range(config["num_hidden_layers"]):
        for name, out, into in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes[f"encoder.layer.{i}.{name}.weight"] = (out, into)
            shapes[f"encoder.layer.{i}.{name}.bias"] = (out,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{i}.{name}.weight"] = (width,)
            shapes[f"encoder.layer.{i}.{name}.bias"] = (width,)
    return shapes


def decoder_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    rows = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    bias = config["model_type"] == "qwen2" or config.get("attention_bias", False)
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config["vocab_size"], width),
        "norm.weight": (width,),
    }
    for i in range(config["num_hidden_layers"]):
        at = f"layers.{i}"
        for name, out in (("q", rows), ("k", keys), ("v", keys)):
            shapes[f"{at}.self_attn.{name}_proj.weight"] = (out, width)
            if bias:
                shapes[f"{at}.self_attn.{name}_proj.bias"] = (out,)
        shapes[f"{at}.self_attn.o_proj.weight"] = (width, rows)
        if bias and config["model_type"] != "qwen2":
            shapes[f"{at}.self_attn.o_proj.bias"] = (width,)
        if config["model_type"] == "qwen3":
            shapes[f"{at}.self_attn.q_norm.weight"] = (head,)
            shapes[f"{at}.self_attn.k_norm.weight"] = (head,)
        for name, shape in (("gate", (inner, width)), ("up", (inner, width))):
            shapes[f"{at}.mlp.{name}_proj.weight"] = shape
        shapes[f"{at}.mlp.down_proj.weight"] = (width, inner)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{name}.weight"] = (width,)
    return shapes
