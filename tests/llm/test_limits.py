import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.llm.limits import AdaptiveLimit, Retry


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


@given(failures=st.integers(1, 5000), seed=st.integers(0, 99))
def test_backoff_is_full_jitter_between_zero_and_a_doubling_cap(failures: int, seed: int) -> None:
    retry = Retry(base=0.5, cap=30.0)
    delay = retry.delay(failures, random.Random(seed))
    assert 0.0 <= delay <= min(30.0, 0.5 * 2.0 ** min(failures - 1, 60))


def test_jitter_uses_the_whole_range() -> None:
    rng = random.Random(0)
    delays = [Retry(base=1.0, cap=1.0).delay(1, rng) for _ in range(1000)]
    assert min(delays) < 0.05 and max(delays) > 0.95


def test_no_more_calls_at_once_than_the_limit() -> None:
    async def main() -> int:
        limit, most = AdaptiveLimit(maximum=3), 0

        async def call() -> None:
            nonlocal most
            async with limit.slot():
                most = max(most, limit.in_flight)
                await asyncio.sleep(0)

        await asyncio.gather(*(call() for _ in range(20)))
        assert limit.in_flight == 0
        return most

    assert run(main()) == 3


def test_rejections_of_one_round_trip_halve_once() -> None:
    async def main() -> list[float]:
        limit, seen = AdaptiveLimit(maximum=16), []
        async with limit.slot() as a, limit.slot() as b:
            limit.rejected(a)
            seen.append(limit.limit)
            limit.rejected(b)  # sent before the first rejection was known
            seen.append(limit.limit)
        async with limit.slot() as c:
            limit.rejected(c)
            seen.append(limit.limit)
        return seen

    assert run(main()) == [8.0, 8.0, 4.0]


def test_a_round_trip_of_answers_adds_about_one_up_to_the_maximum() -> None:
    async def main() -> tuple[float, float]:
        limit = AdaptiveLimit(maximum=16, start=8)
        async with contextlib.AsyncExitStack() as slots:
            for _ in range(8):
                await slots.enter_async_context(limit.slot())
            for _ in range(8):
                limit.accepted()
            after_one_round = limit.limit
            for _ in range(1000):
                limit.accepted()
        return after_one_round, limit.limit

    after_one_round, at_last = run(main())
    assert 8.9 < after_one_round <= 9.0
    assert at_last == 16.0


def test_a_limit_that_is_not_made_use_of_does_not_grow() -> None:
    async def main() -> float:
        limit = AdaptiveLimit(maximum=16, start=8)
        async with limit.slot():
            limit.accepted()
        return limit.limit

    assert run(main()) == 8.0


def test_the_limit_never_falls_below_its_minimum() -> None:
    async def main() -> float:
        limit = AdaptiveLimit(maximum=4)
        for _ in range(10):
            async with limit.slot() as slot:
                limit.rejected(slot)
        return limit.limit

    assert run(main()) == 1.0


def test_nobody_asks_inside_a_retry_after() -> None:
    async def main() -> list[float]:
        limit, loop = AdaptiveLimit(maximum=4), asyncio.get_running_loop()
        async with limit.slot() as slot:
            limit.rejected(slot, retry_after=0.03)
            until = loop.time() + 0.03

            async def call() -> float:
                async with limit.slot():
                    return loop.time() - until

            others = [asyncio.create_task(call()) for _ in range(3)]
        return await asyncio.gather(*others)

    assert all(early > -2e-3 for early in run(main()))


def test_cancelled_waiters_leave_no_slot_behind() -> None:
    async def main() -> int:
        limit = AdaptiveLimit(maximum=1)

        async def call() -> None:
            async with limit.slot():
                await asyncio.sleep(0)

        async with limit.slot():
            waiting = [asyncio.create_task(call()) for _ in range(5)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            waiting[3].cancel()
        # the slot is handed to the second waiter in the tick in which that one is cancelled
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with limit.slot():
            return limit.in_flight

    assert run(main()) == 1


def test_an_impossible_range_is_told() -> None:
    with pytest.raises(PgvError, match="minimum is 5 and maximum is 2"):
        AdaptiveLimit(maximum=2, minimum=5)
