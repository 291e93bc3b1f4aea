"""Ending early in good order: what is paid for is waited for, and then nobody asks again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Halted(Exception):
    """An episode was left between two decisions; it is played again from the cache."""


class Stop:
    """Why everybody is to end, once there is a reason; the first one counts."""

    def __init__(self) -> None:
        self.cause: BaseException | None = None

    def because(self, cause: BaseException) -> None:
        """Ask everybody to end."""
        if self.cause is None:
            self.cause = cause

    def check(self) -> None:
        """Raise ``Halted`` where there is a reason to end."""
        if self.cause is not None:
            raise Halted


@contextmanager
def interruptible(stop: Stop, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Let Ctrl-C (and SIGTERM, which batch systems send) ask ``stop``; a second one ends at once.

    Does nothing outside of the main thread, or where somebody else handles these signals. A plain
    flag, not a callback of the event loop: a scripted model never lets the loop run.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.cause is not None:
            raise KeyboardInterrupt
        stop.because(KeyboardInterrupt())
        if say is not None:
            say("Stopping when the calls in flight have ended; again to stop at once.")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number, usual in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            if signal.getsignal(number) is usual:
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does; in the main thread alone."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
