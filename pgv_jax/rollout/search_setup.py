"""The searching agent that a rollout's settings ask for."""

from __future__ import annotations

from pgv_jax.agents.propose import Choice
from pgv_jax.agents.search.search_agent import SearchAgent
from pgv_jax.agents.search.search_world import World
from pgv_jax.agents.search.tree import Limits, Values
from pgv_jax.agents.strategies import strategy
from pgv_jax.llm.budget import Prices
from pgv_jax.llm.client import Client
from pgv_jax.rollout.settings import RolloutConfig


def search_agent(
    settings: RolloutConfig,
    client: Client,
    world: World,
    values: Values,
    goals: tuple[str, ...],
    system: str = "",
    choice: Choice | None = None,
) -> SearchAgent:
    """The agent that a rollout's configuration asks for."""
    search, prices = settings.search, settings.budget.prices
    return SearchAgent(
        client,
        world,
        values,
        strategy(settings.strategy).search,
        goals,
        Limits(search.expansions, search.depth, search.breadth),
        search.tokens,
        search.dollars,
        Prices.load(prices) if prices else Prices(),
        settings.candidates,
        search.root_candidates,
        search.hindsight,
        settings.temperature,
        settings.max_tokens,
        settings.repeat_penalty,
        world.env.correct,
        system,
        choice,
    )
