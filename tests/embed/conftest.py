"""Small model folders that many tests share; they are never written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.embed import folders


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random causal model whose tokenizer adds no special tokens."""
    return folders.write_folder(tmp_path_factory.mktemp("qwen3"), folders.QWEN3)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with <s> before every text."""
    return folders.write_folder(tmp_path_factory.mktemp("bert"), folders.BERT)
