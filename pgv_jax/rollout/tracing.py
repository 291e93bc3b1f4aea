"""OpenTelemetry spans of a rollout: an episode, each decision in it, each call to the model.

Episodes and calls follow the GenAI semantic conventions (``gen_ai.*``, still in development);
what they have no name for, such as the critic's values, is under ``pgv.*``. Numbers, names and
hashes alone are recorded: no prompt, answer, thought, goal, observation or key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pgv_jax.agents.agent import Decider, Decision, View
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.llm.cache import identity_of
from pgv_jax.llm.client import Client, ClientError, Completion, Request
from pgv_jax.parts import part
from pgv_jax.types import Episode

SCOPE = "pgv_jax.rollout"

_VENDORS = {"google": "gcp.gemini"}
"""Our names of providers, where the conventions have another."""


class Tracing:
    """Makes the spans of one run; ``provider`` is an ``opentelemetry.trace.TracerProvider``."""

    def __init__(self, provider: Any, arm: str = "agent"):
        from opentelemetry.trace import SpanKind, Status, StatusCode

        from pgv_jax import __version__

        self._provider, self._arm = provider, arm
        self._tracer = provider.get_tracer(SCOPE, __version__)
        self._internal, self._outgoing = SpanKind.INTERNAL, SpanKind.CLIENT
        self._failed = lambda sentence: Status(StatusCode.ERROR, sentence)

    @contextmanager
    def episode(self, spec: EpisodeSpec) -> Iterator[Callable[[Episode], None]]:
        """A span around one episode; call what it yields with the episode once it is over."""
        about = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": self._arm,
            "gen_ai.conversation.id": spec.episode_id,
            "pgv.task": spec.task_id,
            "pgv.seed": spec.seed,
        }
        with self._span(f"invoke_agent {self._arm}", self._internal, about) as span:

            def over(episode: Episode) -> None:
                span.set_attribute("pgv.steps", len(episode.steps))
                if episode.success is not None:
                    span.set_attribute("pgv.success", episode.success)
                if episode.score is not None:
                    span.set_attribute("pgv.score", episode.score)

            yield over

    def agent(self, agent: Decider) -> Decider:
        """``agent`` with a span around each decision."""
        return _TracedAgent(agent, self)

    def client(self, client: Client) -> Client:
        """``client`` with a span around each call; put it behind the cache, not before it."""
        return _TracedClient(client, self)

    def close(self) -> None:
        """Hand on what is still waiting, where the provider is of the SDK."""
        flush = getattr(self._provider, "force_flush", None)
        if flush is not None:
            flush()

    @contextmanager
    def _span(self, name: str, kind: Any, about: dict[str, Any]) -> Iterator[Any]:
        """A span that says how it ended; an exception's message may hold texts and is left out."""
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=about, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                reason = error.kind if isinstance(error, ClientError) else type(error).__name__
                span.set_attribute("error.type", reason)
                span.set_status(self._failed(reason))
                raise


class _TracedAgent:
    def __init__(self, agent: Decider, tracing: Tracing):
        self._agent, self._tracing, self._step = agent, tracing, 0

    async def decide(self, view: View) -> Decision:
        about = {"pgv.step": self._step}
        self._step += 1
        with self._tracing._span("pgv.decision", self._tracing._internal, about) as span:
            decision = await self._agent.decide(view)
            span.set_attributes(_decided(decision))
        return decision


class _TracedClient:
    def __init__(self, client: Client, tracing: Tracing):
        self._client, self._tracing = client, tracing
        self.model, self.identity = client.model, dict(identity_of(client))
        address = urlsplit(str(self.identity.get("base_url", "")))
        provider = str(self.identity.get("provider", "scripted"))
        self._about: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _VENDORS.get(provider, provider),
            "gen_ai.request.model": self.model,
        }
        if address.hostname:
            self._about["server.address"] = address.hostname
            self._about["server.port"] = address.port or (443 if address.scheme == "https" else 80)

    @property
    def batched(self) -> bool:
        """Whether the client takes several samples in one call, which it may learn on the way."""
        return bool(getattr(self._client, "batched", True))

    async def complete(self, request: Request) -> list[Completion]:
        tracing, about = self._tracing, self._about | _asked(request)
        with tracing._span(f"chat {self.model}", tracing._outgoing, about) as span:
            try:
                answers = await self._client.complete(request)
            except ClientError as error:
                span.set_attributes(_answered(list(error.completions.values())))
                raise
            span.set_attributes(_answered(answers))
        return answers


def open_tracing(where: str, out: Path, arm: str) -> Tracing | None:
    """``off``; ``file``: one span a line in ``out``; ``otlp``: to a collector; ``global``.

    ``otlp`` and the name of the service are set by OpenTelemetry's own environment variables;
    ``global`` takes the provider that the process has set up, as ``opentelemetry-instrument`` does.
    """
    if where == "off":
        return None
    with part("otel", f"tracing={where}"):
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    if where == "global":
        return Tracing(trace.get_tracer_provider(), arm)
    provider = TracerProvider(resource=_named(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(_exporter(where, out)))
    return Tracing(provider, arm)


def _named(resource: Any) -> Any:
    """``resource`` with the service called pgv, unless the environment calls it otherwise."""
    from opentelemetry.sdk.resources import Resource

    name = str(resource.attributes.get("service.name", ""))
    return resource.merge(Resource({"service.name": "pgv"})) if "unknown" in name else resource


def _exporter(where: str, out: Path) -> Any:
    if where == "file":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        out.parent.mkdir(parents=True, exist_ok=True)
        # the processor's thread writes it until the process ends
        lines = out.open("a", encoding="utf-8", buffering=1)
        return ConsoleSpanExporter(
            out=lines, formatter=lambda span: span.to_json(indent=None) + "\n"
        )
    with part("otel", f"tracing={where}"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    return OTLPSpanExporter()


def _asked(request: Request) -> dict[str, Any]:
    about: dict[str, Any] = {
        "gen_ai.request.temperature": float(request.temperature),
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.output.type": "text" if request.response_format is None else "json",
    }
    if request.n > 1:
        about["gen_ai.request.choice.count"] = request.n
    if request.seed is not None:
        about["gen_ai.request.seed"] = request.seed
    return about


def _answered(answers: list[Completion]) -> dict[str, Any]:
    finished = [str(finish) for a in answers if (finish := a.metadata.get("finish"))]
    about: dict[str, Any] = {
        "gen_ai.usage.input_tokens": sum(a.prompt_tokens for a in answers),
        "gen_ai.usage.output_tokens": sum(a.completion_tokens for a in answers),
        "pgv.samples": len(answers),
        "pgv.dollars": sum(a.dollars for a in answers),
        "pgv.tries": max((int(a.metadata.get("tries", 1)) for a in answers), default=0),
    }
    return about | ({"gen_ai.response.finish_reasons": finished} if finished else {})


def _decided(decision: Decision) -> dict[str, Any]:
    """The critic's values of the candidates (by the goal that decides), and what was done."""
    about: dict[str, Any] = {
        "pgv.candidates": len(decision.candidates),
        "pgv.chosen": decision.index,
        "pgv.samples": len(decision.completions),
        "pgv.cached": sum(c.cached for c in decision.completions),
        "pgv.dollars": sum(c.dollars for c in decision.completions),
        "pgv.unanswered": bool(decision.error),
        "pgv.scorer_failed": "scorer_failed" in decision.metadata,
    }
    values = [next(iter(c.scores.values()), None) for c in decision.candidates if c.scores]
    if values:
        about["pgv.values"] = [float(value) for value in values if value is not None]
    if chosen := decision.chosen.scores:
        about["pgv.value"] = float(next(iter(chosen.values())))
    refinement = decision.metadata.get("refinement")
    if isinstance(refinement, dict):
        about["pgv.refinement.outcome"] = str(refinement["outcome"])
        about["pgv.refinement.reason"] = str(refinement["reason"])
        about["pgv.refinement.rounds"] = len(refinement["rounds"])
        about["pgv.refinement.malformed"] = int(refinement["malformed"])
    return about
