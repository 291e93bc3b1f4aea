"""Questions of coroutines, answered in one thread: those that wait together are taken together.

A call of ``run_in_executor`` wakes a thread and then the event loop for every question, which
costs more than a small answer. Here the thread takes all that wait, and a loop that has not yet
come to one answer finds the next ones with it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Call(NamedTuple):
    question: Callable[[], Any]
    future: asyncio.Future[Any]


class _Result(NamedTuple):
    future: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Worker:
    """Answers one question at a time, in the order in which they came, from any event loop."""

    def __init__(self, name: str):
        self._pool = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._busy = False
        self._results: dict[asyncio.AbstractEventLoop, list[_Result]] = {}

    async def ask(self, question: Callable[[], T]) -> T:
        """What ``question()`` gives or raises; it is not called where nobody waits any more."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append(_Call(question, future))
            idle, self._busy = not self._busy, True
        if idle:
            self._pool.submit(self._work)
        return await future

    def _work(self) -> None:
        while True:
            with self._lock:
                calls, self._waiting = self._waiting, []
                self._busy = bool(calls)
            if not calls:
                return
            for question, future in calls:
                if future.cancelled():
                    continue
                try:
                    result = _Result(future, question(), None)
                except StopIteration as error:  # no future takes it
                    result = _Result(future, None, RuntimeError(f"{error!r} was raised"))
                except BaseException as error:  # whatever it is, it is the caller's
                    result = _Result(future, None, error)
                self._deliver(result)

    def _deliver(self, result: _Result) -> None:
        """Queue a result for its loop, and wake the loop unless it was woken already."""
        loop = result.future.get_loop()
        with self._lock:
            results = self._results.setdefault(loop, [])
            results.append(result)
        if len(results) == 1:
            try:
                loop.call_soon_threadsafe(self._resolve, loop)
            except RuntimeError:  # a closed loop has nobody who waits
                self._results.pop(loop)

    def _resolve(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            results = self._results.pop(loop)
        for future, value, error in results:
            if future.done():
                continue  # given up meanwhile
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
