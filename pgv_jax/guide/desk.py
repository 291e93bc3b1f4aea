"""Questions of coroutines, answered in one thread: what waits at the same time is one errand.

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


class _Asked(NamedTuple):
    question: Callable[[], Any]
    future: asyncio.Future[Any]


class _Told(NamedTuple):
    future: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Desk:
    """Answers one question at a time, in the order in which they came, from any event loop."""

    def __init__(self, name: str):
        self._worker = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        self._at_work = False
        self._told: dict[asyncio.AbstractEventLoop, list[_Told]] = {}

    async def ask(self, question: Callable[[], T]) -> T:
        """What ``question()`` gives or raises; it is not called where nobody waits any more."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append(_Asked(question, future))
            idle, self._at_work = not self._at_work, True
        if idle:
            self._worker.submit(self._work)
        return await future

    def _work(self) -> None:
        while True:
            with self._lock:
                asked, self._waiting = self._waiting, []
                self._at_work = bool(asked)
            if not asked:
                return
            for question, future in asked:
                if future.cancelled():
                    continue
                try:
                    told = _Told(future, question(), None)
                except StopIteration as error:  # no future takes it
                    told = _Told(future, None, RuntimeError(f"{error!r} was raised"))
                except BaseException as error:  # whatever it is, it is the asker's
                    told = _Told(future, None, error)
                self._tell(told)

    def _tell(self, told: _Told) -> None:
        """Lay an answer out for its loop, and wake the loop unless it is awaited there already."""
        loop = told.future.get_loop()
        with self._lock:
            laid_out = self._told.setdefault(loop, [])
            laid_out.append(told)
        if len(laid_out) == 1:
            try:
                loop.call_soon_threadsafe(self._settle, loop)
            except RuntimeError:  # a closed loop has nobody who waits
                self._told.pop(loop)

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            laid_out = self._told.pop(loop)
        for future, value, error in laid_out:
            if future.done():
                continue  # given up meanwhile
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
