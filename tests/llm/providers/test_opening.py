"""Which client a model's name opens, and what is said where none can be."""

from __future__ import annotations

import asyncio
import sys

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ClientOptions
from pgv_jax.llm.providers.opening import open_client


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(PgvError, match=r"pip install 'pgv-jax\[anthropic\]'"):
        open_client("anthropic:m", ClientOptions(key_env=""))


def test_specs_name_the_vendor_and_colons_in_models_survive() -> None:
    client = open_client("qwen3:8b", ClientOptions(key_env="", base_url="http://127.0.0.1:9/v1"))
    assert (client.provider, client.model) == ("openai", "qwen3:8b")
    asyncio.run(client.aclose())
    with pytest.raises(PgvError, match="names no model"):
        open_client("openai:")
