"""The model of a rollout by its spec: scripted and bound to a task, or an API behind a cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.propose import Choice
from pgv_jax.agents.scripted.listener import listener_client
from pgv_jax.agents.scripted.policies import behaviour_client, proposer_client
from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, ClientOptions, LocalOptions
from pgv_jax.llm.budget import Budget, Prices, Spend
from pgv_jax.llm.cache import CachedClient, ResponseCache
from pgv_jax.llm.client import Client
from pgv_jax.llm.limits import Retry
from pgv_jax.llm.providers.opening import open_client
from pgv_jax.llm.structured import StructuredClient
from pgv_jax.rollout.settings import ApiConfig, BudgetConfig, RolloutConfig
from pgv_jax.rollout.tracing import Tracing
from pgv_jax.texts.templates import SUCCESS

if TYPE_CHECKING:
    from pgv_jax.tasks.base import TextEnv

SCRIPTED = {"proposer": 0.9, "player": 0.5, "listener": 4}
"""Scripted models, and the number after their name where none is given.

proposer: distinct random actions, among them a right one with probability P (``proposer:none``:
all drawn evenly, none planted); player: plays the right action with probability SKILL; listener:
follows the critic's words, over PLANS plans.
"""

LOCAL_THOUGHT = 240
"""Most characters of a local model's thought: a small one may not find its end."""


class Model:
    """Whoever answers in a rollout; ``client(env, spec)`` is what one episode asks.

    An async context manager that closes connections, ledger and cache.
    """

    identity: dict[str, Any]
    spent = Spend()
    paid: ApiClient | None = None

    def client(self, env: TextEnv, spec: EpisodeSpec) -> Client:
        """The client of one episode."""
        raise NotImplementedError

    def clean(self, text: str) -> str:
        """``text`` without secrets."""
        return text

    def trace(self, tracing: Tracing) -> None:
        """Make a span of each call that is really sent; a scripted model sends none."""

    async def __aenter__(self) -> Model:
        return self

    async def __aexit__(self, *exception: object) -> None:
        return None


class ScriptedModel(Model):
    """A scripted model, which binds itself to each episode's environment."""

    def __init__(self, spec: str, candidates: int):
        _, _, rest = spec.partition(":")
        self.name, _, number = rest.partition(":")
        if self.name not in SCRIPTED:
            raise PgvError(
                f"Client '{spec}' is unknown; scripted models are "
                f"{', '.join(f'scripted:{name}' for name in SCRIPTED)}."
            )
        self.candidates = candidates
        self.identity = {"provider": "scripted", "model": rest}
        self.number: float | None = None
        if rest == "proposer:none":
            return
        try:
            self.number = float(number) if number else float(SCRIPTED[self.name])
        except ValueError:
            raise PgvError(
                f"Client '{spec}' ends in '{number}', where a number belongs; for example "
                f"scripted:{self.name}:{SCRIPTED[self.name]}."
            ) from None
        if not 0 <= self.number <= (1 if self.name != "listener" else 100):
            raise PgvError(f"Client '{spec}' has the number {self.number:g}, out of its range.")
        self.identity = {"provider": "scripted", "model": f"{self.name}:{self.number:g}"}

    def client(self, env: TextEnv, spec: EpisodeSpec) -> Client:
        """A policy for this environment."""
        if self.name == "proposer" or self.number is None:
            return proposer_client(env, self.number, self.candidates)
        if self.name == "player":
            return behaviour_client(env, self.number, self.candidates)
        return listener_client(env, int(self.number), good=spec.goal or SUCCESS)


class ApiModel(Model):
    """An API model: one client for all episodes, behind the cache and within the budget."""

    def __init__(self, spec: str, api: ApiConfig, budget: Budget, prices: Prices, cache: Path):
        options = ClientOptions(
            base_url=api.base_url,
            key_env="" if api.key_env == "none" else api.key_env,
            timeout=api.timeout,
            connect_timeout=api.connect_timeout,
            concurrency=api.concurrency,
            retry=Retry(api.tries, api.retry_base, api.retry_cap),
            samples=api.samples,
            extra=api.extra,
            omit=api.omit,
            local=LocalOptions(**api.local.model_dump()),
        )
        self.paid = open_client(spec, options, budget=budget, prices=prices)
        self.identity = dict(self.paid.identity)
        self._cache = ResponseCache(cache)
        self.shared: Client = StructuredClient(CachedClient(self.paid, self._cache))

    @property
    def spent(self) -> Spend:  # type: ignore[override]
        """What this run has spent, also before it was last interrupted."""
        assert self.paid is not None
        return self.paid.budget.spent

    def trace(self, tracing: Tracing) -> None:
        """Make a span of each call; what the cache answers is none."""
        assert self.paid is not None
        self.shared = StructuredClient(CachedClient(tracing.client(self.paid), self._cache))

    def client(self, env: TextEnv, spec: EpisodeSpec) -> Client:
        """The client that all episodes share."""
        return self.shared

    def clean(self, text: str) -> str:
        """``text`` with the key blotted out, wherever it came from."""
        assert self.paid is not None
        for secret in self.paid.endpoint.secrets:
            text = text.replace(secret, "***")
        return text

    async def __aexit__(self, *exception: object) -> None:
        assert self.paid is not None
        await self.paid.aclose()
        self._cache.close()


def choice_of(settings: RolloutConfig, system: str) -> Choice:
    """How answers are held to the actions that are offered; ``system`` asks for it in words."""
    local = settings.client.partition(":")[0] == "local"
    length = settings.thought_length or (LOCAL_THOUGHT if local else 0)
    return Choice(system, settings.rounds, length, settings.answers != "action")


def open_model(settings: RolloutConfig, out: Path, suffix: str = "", shards: int = 1) -> Model:
    """The model that ``settings.client`` names; its cache and ledger are in ``out``.

    ``suffix`` tells the ledgers of shards apart, each of which has its part of the budget.
    """
    spec = settings.client
    if spec.partition(":")[0] == "scripted":
        return ScriptedModel(spec, settings.candidates)
    cache = Path(settings.cache) if settings.cache else out / "cache"
    ledger = out / f"ledger{suffix}"
    return api_model(spec, settings.api, settings.budget, shards, ledger, cache)


def api_model(
    spec: str, api: ApiConfig, limits: BudgetConfig, shards: int, ledger: Path, cache: Path
) -> ApiModel:
    """An API model with its part of a budget."""
    prices = Prices.load(limits.prices) if limits.prices else Prices()
    return ApiModel(spec, api, _budget(limits, shards, ledger), prices, cache)


def _budget(limits: BudgetConfig, shards: int, ledger: Path) -> Budget:
    return Budget(
        None if limits.requests is None else limits.requests // shards,
        None if limits.tokens is None else limits.tokens // shards,
        None if limits.dollars is None else limits.dollars / shards,
        ledger,
    )
