"""How a spec such as ``openai:MODEL`` becomes a client."""

from __future__ import annotations

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, ClientOptions
from pgv_jax.llm.budget import Budget, Prices
from pgv_jax.llm.providers.anthropic import AnthropicClient
from pgv_jax.llm.providers.google import GoogleClient
from pgv_jax.llm.providers.local import LocalClient
from pgv_jax.llm.providers.openai import OpenAIClient
from pgv_jax.registry import Registry

PROVIDERS = {
    "openai": OpenAIClient,
    "anthropic": AnthropicClient,
    "google": GoogleClient,
    "local": LocalClient,
}
DEFAULT, UNNAMED = "openai", "local"
"""The provider of a model alone, and the one that has a model of its own."""
REGISTRY: Registry[type[ApiClient]] = Registry(
    "Provider", "pgv_jax.providers", lambda: PROVIDERS, ApiClient
)


def open_client(
    spec: str,
    options: ClientOptions | None = None,
    *,
    budget: Budget | None = None,
    prices: Prices | None = None,
) -> ApiClient:
    """``MODEL`` or ``openai:MODEL`` | ``anthropic:MODEL`` | ``google:MODEL`` -> client.

    ``local`` is a packaged small model on this machine, ``local:FILE.gguf`` another one. An entry
    point's name and ``FILE.py:Class`` stand in a provider's place, too.
    """
    # Local models carry colons in their names.
    alone = (UNNAMED, "") if spec == UNNAMED else (DEFAULT, spec)
    provider, model = REGISTRY.split(spec) or alone
    if not model and provider != UNNAMED:
        raise PgvError(f"Model '{spec}' names no model; write for example openai:NAME.")
    return REGISTRY.get(provider)(model, options, budget=budget, prices=prices)
