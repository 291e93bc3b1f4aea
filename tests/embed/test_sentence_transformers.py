"""Pooled vectors equal sentence-transformers' own, from the same folders."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgv_jax.embed.model_files import open_folder
from tests.embed import folders

pytest.importorskip("torch", reason="parity needs torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("sentence_transformers", reason="parity with the library itself")

pytestmark = pytest.mark.usefixtures("as_shipped")

TEXTS = ["open the door", "a", "x" * 90, "take the lamp from the desk. " * 2, "é\x00"]


@pytest.mark.parametrize(
    ("config", "pooling", "extra", "tail"),
    [
        (folders.BERT, "mean", {}, False),
        (folders.BERT, "cls", {"prompts": {"q": "query: "}, "default_prompt_name": "q"}, False),
        (folders.QWEN3, "last", {"truncate_dim": 12}, True),
        (folders.LLAMA, "mean", {}, False),
    ],
    ids=["e5", "bge", "qwen3-embedding", "llama"],
)
def test_equal_vectors(
    config: dict[str, Any], pooling: str, extra: dict[str, Any], tail: bool, tmp_path: Path
) -> None:
    folder = folders.write_folder(tmp_path, config, tail=tail)
    folders.write_sentence_transformers(folder, pooling, **extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        expected = theirs.encode(TEXTS, normalize_embeddings="truncate_dim" in extra)
    np.testing.assert_allclose(open_folder(folder, "ours").encode(TEXTS), expected, atol=1e-5)
