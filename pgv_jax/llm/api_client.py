"""What every paid client does whichever vendor answers: pace, retry, keep the budget, fan out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from pgv_jax.errors import PgvError
from pgv_jax.llm.budget import Budget, Prices, Spend, worst_case
from pgv_jax.llm.client import ClientError, Completion, Message, Request
from pgv_jax.llm.failures import Endpoint, Failure, describe_failure, public_url
from pgv_jax.llm.limits import AdaptiveLimit, Retry

log = logging.getLogger(__name__)

MOST_TOKENS = 10**7
"""Read or written in one call at most: no model has a longer context, whatever its server tells."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of a reply: its text, or the kind and sentence of why there is none.

    ``message`` as in ``Completion``.
    """

    text: str = ""
    kind: str = ""
    sentence: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    message: Message | None = None

    @property
    def length(self) -> int:
        """Characters that were written, by which the samples of a call share its cost."""
        return len(self.text) + len(json.dumps(self.message) if self.message else "")


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call brought back; ``usage`` is (prompt, completion) tokens where they were told.

    A call without usage, or with one that cannot be, counts at its worst case, and in
    ``counts["usage_unknown"]``.
    """

    samples: Sequence[Sample]
    usage: tuple[int, int] | None = None


class FailedReply(Exception):
    """A reply of status 200 that carries an error."""

    def __init__(self, failure: Failure):
        super().__init__(failure.sentence)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How llama.cpp serves a model here. ``threads`` 0: as many as this process may use cores.

    ``slots`` answers are written at once; each has ``context`` tokens for its prompt and answer.
    """

    threads: int = 0
    slots: int = 8
    context: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a model is asked. Times in seconds; ``timeout`` bounds each try as a whole.

    ``key_env`` names the environment variable of the key ("" for servers that want none).
    ``extra`` goes into the body of every request as it is; ``omit`` leaves fields out that a model
    does not take (such as "temperature"). ``samples``: "auto" asks for n samples in one call and
    falls back to parallel calls where fewer come, "parallel" always asks one by one. ``local`` is
    for a model that runs on this machine.
    """

    base_url: str = ""
    key_env: str | None = None
    timeout: float = 120.0
    connect_timeout: float = 10.0
    concurrency: int = 64
    retry: Retry = field(default_factory=Retry)
    samples: Literal["auto", "parallel"] = "auto"
    extra: Mapping[str, Any] = field(default_factory=dict)
    omit: tuple[str, ...] = ()
    local: LocalOptions = field(default_factory=LocalOptions)


class ApiClient:
    """The part of a client that no vendor changes; a subclass says how one call is sent."""

    provider = ""
    default_url = ""
    default_key_env = ""
    has_n = False
    most_n = 1 << 16
    """Samples that one call may ask for."""
    here = False
    """Whether the server is in this process."""

    def __init__(
        self,
        model: str,
        options: ClientOptions | None = None,
        *,
        budget: Budget | None = None,
        prices: Prices | None = None,
    ):
        options = options or ClientOptions()
        if options.samples not in ("auto", "parallel"):
            raise PgvError(f"samples is '{options.samples}'; use auto or parallel.")
        if not options.timeout > 0:
            raise PgvError(f"timeout is {options.timeout}; give a positive number of seconds.")
        self.model = model
        self.options = options
        self.batched = self.has_n and options.samples == "auto"
        self.budget = budget or Budget()
        self.prices = prices or Prices()
        self.limit = AdaptiveLimit(options.concurrency)
        self.counts: Counter[str] = Counter()
        if self.budget.limits["dollars"] is not None:
            self.prices.require(model)
        url = options.base_url or self.default_url
        key_env = self.default_key_env if options.key_env is None else options.key_env
        key = _key(key_env, public_url(url))
        self.endpoint = Endpoint(url, model, key_env or None, (key,) if key_env else ())
        self._rng = random.Random()  # jitter only: it affects no output
        self._answered = False
        self._open(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, base_url={self.endpoint.host!r})"

    @property
    def identity(self) -> dict[str, Any]:
        """All that affects the answers besides the request: part of every cache key."""
        return {
            "provider": self.provider,
            "base_url": self.endpoint.host,
            "model": self.model,
            "extra": dict(self.options.extra),
            "omit": sorted(self.options.omit),
        }

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections and the budget's ledger."""
        await self._close()
        self.budget.close()

    async def complete(self, request: Request) -> list[Completion]:
        """Ask for ``request.n`` samples; raises ``ClientError`` with those that did arrive."""
        if request.n < 1 or request.max_tokens < 1:
            raise PgvError(
                f"A request needs n >= 1 and max_tokens >= 1, but they are {request.n} and "
                f"{request.max_tokens}."
            )
        if request.n > 1 and not self.batched:
            indices = range(request.first, request.first + request.n)
            return await self._gather([replace(request, first=i, n=1) for i in indices])
        if request.n > self.most_n:
            parts = range(0, request.n, self.most_n)
            return await self._gather(
                [
                    replace(request, first=request.first + i, n=min(self.most_n, request.n - i))
                    for i in parts
                ]
            )
        started = time.monotonic()
        reply, tries = await self._call(request)
        samples = reply.samples[: request.n]
        if not samples:
            raise ClientError("empty", f"{self.endpoint.host} answered without any choice.")
        found, failed = self._completions(request, reply, samples, time.monotonic() - started)
        for completion in found.values():
            if tries > 1:
                completion.metadata["tries"] = tries  # type: ignore[index]
        if failed is not None:
            raise ClientError(failed.kind, failed.sentence, found)
        missing = request.n - len(samples)
        if missing:
            self.batched = False  # it takes no notice of n: ask one by one from now on
            rest = replace(request, first=request.first + len(samples), n=missing)
            try:
                return [*found.values(), *await self.complete(rest)]
            except ClientError as error:
                error.completions.update(found)
                raise
        return list(found.values())

    def _open(self, key: str) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError

    async def _send(self, request: Request) -> Reply:
        """Send one call and read its reply; vendor exceptions pass through."""
        raise NotImplementedError

    async def _gather(self, requests: Sequence[Request]) -> list[Completion]:
        """All requests at once; a failure waits for the others, whose samples it carries."""
        outcomes = await asyncio.gather(
            *(self.complete(request) for request in requests), return_exceptions=True
        )
        found: dict[int, Completion] = {}
        failure: BaseException | None = None
        for request, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                failure = failure or outcome
                found.update(getattr(outcome, "completions", {}))
            else:
                found.update({request.first + i: c for i, c in enumerate(outcome)})
        if isinstance(failure, ClientError):
            raise ClientError(failure.kind, str(failure), found)
        if failure is not None:
            raise failure
        return [found[index] for index in sorted(found)]

    async def _call(self, request: Request) -> tuple[Reply, int]:
        """Try until a reply comes, and return it with the number of tries."""
        worst = worst_case(request, request.n, self.prices, self.model)
        failures = 0
        while True:
            outcome = await self._try(request, worst)
            if isinstance(outcome, Reply):
                return outcome, failures + 1
            failures += 1
            self.counts[f"failed_{outcome.kind}"] += 1
            self._give_up(outcome, failures)
            self.counts["retries"] += 1
            await asyncio.sleep(
                max(self.options.retry.delay(failures, self._rng), outcome.retry_after)
            )

    async def _try(self, request: Request, worst: Spend) -> Reply | Failure:
        async with self.limit.slot() as slot:
            reservation = await self.budget.reserve(worst)
            try:
                async with asyncio.timeout(self.options.timeout):
                    reply = await self._send(request)
            except Exception as error:
                failure = (
                    error.failure
                    if isinstance(error, FailedReply)
                    else describe_failure(error, self.endpoint)
                )
                if failure is None or failure.billed:
                    reservation.lost()
                else:
                    reservation.release()
                if failure is None:
                    raise
                self._answered = self._answered or failure.answered
                if failure.overloaded:
                    # A wait that is too long ends the run; nobody is to sit it out before.
                    wait = failure.retry_after
                    bearable = wait <= self.options.retry.longest_wait
                    self.limit.rejected(slot, wait if bearable else 0.0)
                return failure
            except BaseException:
                reservation.lost()  # cancelled while the provider was at work
                raise
            reply = self._checked(reply)
            self.counts["calls"] += 1
            self._answered = True
            self.limit.accepted()
            reservation.settle(self._spend(reply, worst))
            return reply

    def _give_up(self, failure: Failure, failures: int) -> None:
        """Raise where another try is of no use."""
        retry = self.options.retry
        if not failure.transient:
            raise ClientError(failure.kind, failure.sentence)
        if failure.retry_after > retry.longest_wait:
            raise ClientError(
                "quota",
                f"{self.endpoint.host} asks to wait {failure.retry_after:.0f} s, longer than the "
                f"{retry.longest_wait:.0f} s that are allowed; run the same command again later.",
            )
        if failure.kind == "host" and not self._answered and failures >= retry.host_tries:
            raise ClientError("host", failure.sentence)
        if failures >= retry.tries:
            raise ClientError(
                failure.kind,
                f"{failure.sentence} That was try {failures} of {retry.tries}; run the same "
                "command again to continue.",
            )

    def _checked(self, reply: Reply) -> Reply:
        """``reply`` without a usage that cannot be, on which a budget must not rest."""
        prompt, completion = reply.usage or (0, 0)
        least = int(any(sample.length for sample in reply.samples))
        if 1 <= prompt <= MOST_TOKENS and least <= completion <= MOST_TOKENS:
            return reply
        if not self.counts["usage_unknown"]:
            told = (
                "no usage"
                if reply.usage is None
                else f"a usage of {_short(prompt)} + {_short(completion)} tokens"
            )
            log.warning(
                "%s tells %s of a call; such calls count as the most that they can take.",
                self.endpoint.host,
                told,
            )
        self.counts["usage_unknown"] += 1
        return replace(reply, usage=None)

    def _spend(self, reply: Reply, worst: Spend) -> Spend:
        if reply.usage is None:
            return worst
        prompt, completion = reply.usage
        return Spend(1, prompt, completion, self.prices.dollars(self.model, prompt, completion))

    def _completions(
        self, request: Request, reply: Reply, samples: Sequence[Sample], seconds: float
    ) -> tuple[dict[int, Completion], Sample | None]:
        """Samples with their shares of the cost (shares add up), and the first that failed."""
        prompt, completion = reply.usage or (0, 0)
        prompts = shares(prompt, [1] * len(samples))
        completions = shares(completion, [sample.length for sample in samples])
        found: dict[int, Completion] = {}
        failed: Sample | None = None
        for i, sample in enumerate(samples):
            if sample.kind:
                failed = failed or sample
                continue
            found[request.first + i] = Completion(
                text=sample.text,
                prompt_tokens=prompts[i],
                completion_tokens=completions[i],
                dollars=self.prices.dollars(self.model, prompts[i], completions[i]),
                seconds=seconds,
                metadata=dict(sample.metadata) | ({} if reply.usage else {"usage": "unknown"}),
                message=sample.message,
            )
        return found, failed


def _short(count: int) -> str:
    return f"{count}" if abs(count) < 10**12 else "10^12 and more"


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` by ``weights`` into whole numbers that add up to it."""
    weight = sum(weights)
    if not weight:
        weights, weight = [1] * len(weights), len(weights)
    edges = [0]
    for part in weights:
        edges.append(edges[-1] + part)
    marks = [total * edge // weight for edge in edges]
    return [high - low for low, high in pairwise(marks)]


def _key(key_env: str, url: str) -> str:
    """The key from the environment; a placeholder where the server wants none."""
    if not key_env:
        return "none"  # the library insists on something
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise ClientError(
            "key",
            f"The environment variable {key_env} holds no key for {url}; set it, or set key_env "
            "to none for a server that wants no key.",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        # the HTTP library would name the value in its own complaint
        raise ClientError(
            "key", f"The key in {key_env} has characters that no key has; set it anew."
        )
    return key
