"""How a spec such as ``openai:MODEL`` becomes a client."""

from __future__ import annotations

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, ClientOptions
from pgv_jax.llm.budget import Budget, Prices
from pgv_jax.llm.providers.anthropic import AnthropicClient
from pgv_jax.llm.providers.google import GoogleClient
from pgv_jax.llm.providers.local import LocalClient
from pgv_jax.llm.providers.openai import OpenAIClient

PROVIDERS: dict[str, type[ApiClient]] = {
    "openai": OpenAIClient,
    "anthropic": AnthropicClient,
    "google": GoogleClient,
    "local": LocalClient,
}


def open_client(
    spec: str,
    options: ClientOptions | None = None,
    *,
    budget: Budget | None = None,
    prices: Prices | None = None,
) -> ApiClient:
    """``MODEL`` or ``openai:MODEL`` | ``anthropic:MODEL`` | ``google:MODEL`` -> client.

    ``local`` is a packaged small model on this machine, ``local:FILE.gguf`` another one.
    """
    provider, colon, model = spec.partition(":")
    if provider == "local":
        return LocalClient(model, options, budget=budget, prices=prices)
    if not colon or provider not in PROVIDERS:
        provider, model = "openai", spec  # local models carry colons in their names
    if not model:
        raise PgvError(f"Model '{spec}' names no model; write for example openai:NAME.")
    return PROVIDERS[provider](model, options, budget=budget, prices=prices)
