"""How a spec such as ``openai:MODEL`` becomes a client."""

from __future__ import annotations

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, ClientOptions
from pgv_jax.llm.budget import Budget, Prices
from pgv_jax.llm.providers.anthropic import AnthropicClient
from pgv_jax.llm.providers.google import GoogleClient
from pgv_jax.llm.providers.openai import OpenAIClient
from pgv_jax.registry import Registry

PROVIDERS = {"openai": OpenAIClient, "anthropic": AnthropicClient, "google": GoogleClient}
DEFAULT = "openai"
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

    An entry point's name and ``FILE.py:Class`` stand in a provider's place, too.
    """
    # Local models carry colons in their names.
    provider, model = REGISTRY.split(spec) or (DEFAULT, spec)
    if not model:
        raise PgvError(f"Model '{spec}' names no model; write for example openai:NAME.")
    return REGISTRY.get(provider)(model, options, budget=budget, prices=prices)
