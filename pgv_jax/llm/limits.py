"""How fast an endpoint is asked: a concurrency limit that follows 429s, and waits between tries.

Additive increase, multiplicative decrease (Chiu and Jain 1989): each answered call raises the
limit by 1/limit, the first rejection of a round trip halves it. Back-off is exponential with full
jitter (uniform between 0 and the cap), never shorter than the Retry-After that the endpoint sent.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pgv_jax.errors import PgvError


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed call is tried again: ``tries`` in all, waits in seconds.

    ``host_tries`` bounds the tries on a host that has never answered, so that a wrong address is
    told in seconds. ``longest_wait`` is the longest Retry-After that is waited for.
    """

    tries: int = 12
    base: float = 0.5
    cap: float = 30.0
    host_tries: int = 3
    longest_wait: float = 900.0

    def delay(self, failures: int, rng: random.Random) -> float:
        """Seconds before the next try after ``failures`` >= 1 of them: full jitter."""
        exponent = min(failures - 1, 32)  # 2**32 is far beyond any cap, and cannot overflow
        return rng.uniform(0.0, min(self.cap, self.base * 2.0**exponent))


class Slot:
    """Leave to make one call; remembers the round in which it was given."""

    __slots__ = ("round",)

    def __init__(self, round_: int):
        self.round = round_


class AdaptiveLimit:
    """At most ``limit`` calls at once; it moves between ``minimum`` and ``maximum``."""

    def __init__(self, maximum: int = 32, minimum: int = 1, start: int | None = None):
        if not 1 <= minimum <= maximum:
            raise PgvError(
                f"Concurrency needs 1 <= minimum <= maximum, but minimum is {minimum} "
                f"and maximum is {maximum}."
            )
        self.minimum, self.maximum = float(minimum), float(maximum)
        self.limit = float(maximum if start is None else min(max(start, minimum), maximum))
        self.in_flight = 0
        self.rejections = 0
        self._round = 0
        self._resume_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait for a turn (first come, first served), and give it back at the end."""
        await self._acquire()
        try:
            yield Slot(self._round)
        finally:
            self.in_flight -= 1
            self._wake()

    def accepted(self) -> None:
        """The endpoint answered: raise the limit by one per round trip, if it is made use of.

        A limit that nobody reaches would grow unproven, and the next rush would be refused.
        """
        if 2 * self.in_flight >= int(self.limit):
            self.limit = min(self.maximum, self.limit + 1.0 / self.limit)
        self._wake()

    def rejected(self, slot: Slot, retry_after: float = 0.0) -> None:
        """The endpoint is overloaded: halve once a round trip, and let nobody ask too early."""
        self.rejections += 1
        if slot.round == self._round:
            self.limit = max(self.minimum, self.limit / 2.0)
            self._round += 1
        if retry_after > 0:
            loop = asyncio.get_running_loop()
            self._resume_at = max(self._resume_at, loop.time() + retry_after)

    async def _acquire(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiters and self._free(loop.time()):
            self.in_flight += 1
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.in_flight -= 1  # the turn was given in the same tick as the cancellation
            else:
                self._waiters.remove(waiter)
            self._wake()
            raise

    def _free(self, now: float) -> bool:
        return self.in_flight < int(self.limit) and now >= self._resume_at

    def _wake(self) -> None:
        """Give turns to those who wait; inside a Retry-After, come back at its end."""
        if not self._waiters:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._resume_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(self._resume_at, self._wake)
            return
        while self._waiters and self._free(now):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
