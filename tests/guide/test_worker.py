"""The worker: every question has its own answer, none waits for a question behind it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pgv_jax.guide.worker import Worker


def test_every_question_has_its_own_answer_in_the_order_of_asking():
    asked: list[int] = []

    def question(number: int) -> int:
        asked.append(number)
        if number == 2:
            raise KeyError(number)
        return 10 * number

    async def ask() -> list[object]:
        worker = Worker("test")
        questions = (worker.ask(lambda number=number: question(number)) for number in range(5))
        return await asyncio.gather(*questions, return_exceptions=True)

    zero, one, two, three, four = asyncio.run(ask())
    assert [zero, one, three, four] == [0, 10, 30, 40]
    assert isinstance(two, KeyError)
    assert asked == [0, 1, 2, 3, 4]


def test_a_question_that_nobody_waits_for_is_not_asked():
    asked: list[str] = []
    release = threading.Event()

    async def ask() -> None:
        worker = Worker("test")
        first = asyncio.create_task(worker.ask(lambda: release.wait(60)))
        second = asyncio.create_task(worker.ask(lambda: asked.append("second")))
        third = asyncio.create_task(worker.ask(lambda: asked.append("third")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second, 0.01)
        first.cancel()  # its answer comes, and nobody takes it
        release.set()
        await third

    asyncio.run(ask())
    assert asked == ["third"]


def test_an_answer_does_not_wait_for_a_slow_question_behind_it():
    begun, release = threading.Event(), threading.Event()

    async def ask() -> bool:
        worker = Worker("test")
        gate = asyncio.create_task(worker.ask(lambda: begun.wait(60)))
        await asyncio.sleep(0.01)  # the next two wait together
        quick = asyncio.create_task(worker.ask(lambda: True))
        slow = asyncio.create_task(worker.ask(lambda: release.wait(60)))
        await asyncio.sleep(0)
        begun.set()
        await gate
        answered = await asyncio.wait_for(quick, 60)
        release.set()
        await slow
        return answered

    assert asyncio.run(ask())


def test_questions_of_several_loops():
    worker = Worker("test")

    async def ask(number: int) -> list[int]:
        return await asyncio.gather(*(worker.ask(lambda n=n: number + n) for n in range(20)))

    found: dict[int, list[int]] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: asyncio.run(ask(n))}))
        for n in (0, 100, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [n + i for i in range(20)] for n in (0, 100, 200)}
