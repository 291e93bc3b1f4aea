"""How a spec such as ``openai:MODEL`` becomes a client."""

from pgv_jax.llm.providers.openai import PROVIDERS, open_client

__all__ = ["PROVIDERS", "open_client"]
