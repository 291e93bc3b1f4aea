"""What a server counts, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
VALUES = tuple(i / 20 for i in range(1, 20))


class Metrics:
    """The counters of one server; ``lookups`` tells how often a text's vector was in memory."""

    def __init__(self, lookups: Callable[[], tuple[int, int]]):
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "pgv_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self.candidates = Counter(
            "pgv_candidates", "Candidates that came.", ("api",), registry=registry
        )
        self.missing = Counter(
            "pgv_candidates_missing", "Candidates that did not come.", ("api",), registry=registry
        )
        self.fallbacks = Counter(
            "pgv_fallbacks",
            "Decisions in which the first candidate was passed on.",
            ("why",),
            registry=registry,
        )
        self.steered = Counter(
            "pgv_steered",
            "Decisions in which another candidate than the first was taken.",
            registry=registry,
        )
        seconds = Histogram(
            "pgv_stage_seconds", "Seconds by stage.", ("stage",), buckets=SECONDS, registry=registry
        )
        self.request_seconds = seconds.labels("request")
        self.upstream_seconds = seconds.labels("upstream")
        self.critic_seconds = seconds.labels("critic")
        self.values = Histogram(
            "pgv_value",
            "Values of the candidates that were taken.",
            buckets=VALUES,
            registry=registry,
        )
        self.reloads = Counter(
            "pgv_reloads", "Artifacts opened anew.", ("result",), registry=registry
        )
        self.unlogged = Counter(
            "pgv_unlogged", "Decisions that could not be logged.", registry=registry
        )
        self.in_flight = Gauge("pgv_in_flight", "Requests being answered.", registry=registry)
        self._registry.register(_Lookups(lookups))

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _Lookups(Collector):
    def __init__(self, lookups: Callable[[], tuple[int, int]]):
        self._lookups = lookups

    def collect(self) -> Iterator[Metric]:
        asked, found = self._lookups()
        yield CounterMetricFamily("pgv_texts", "Texts that the critic was asked about.", asked)
        yield CounterMetricFamily(
            "pgv_texts_in_memory", "Those whose vectors were in memory.", found
        )
