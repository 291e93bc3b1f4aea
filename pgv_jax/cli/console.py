"""What a person sees while a command works: one console on stderr, one kind of progress bar."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pgv_jax.report.wording import seconds


def on_stderr(**options: Any) -> Console:
    """A console on stderr. A pipe or a file shows no bars, also where FORCE_COLOR is set.

    Jupyter and CI services set it, and rich takes them for a terminal then: a bar would be written
    anew some ten times a second.
    """
    return Console(stderr=True, force_terminal=None if sys.stderr.isatty() else False, **options)


console = on_stderr()
SILENCE = 30.0
"""Seconds between two lines of progress where there is no bar."""
_ACTIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal may obey (escapes, C1 codes, changes of direction) or cannot print."""


def inert(text: str) -> str:
    """A text from a log as a terminal may show it: what it would obey stands as ``\\x1b``."""
    return _ACTIVE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def say(text: str, err: bool = False, newline: bool = True) -> None:
    """Print a text that may hold words of others, inert, on stdout or stderr."""
    click.echo(inert(text), err=err, nl=newline)


class _Lines(logging.Handler):
    """Prints a record's message as a line of the console, above any bar."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(inert(record.getMessage()), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def logged() -> Iterator[None]:
    """Show what this package logs: what it chose and why, on stderr, a line each."""
    logger, lines = logging.getLogger("pgv_jax"), _Lines()
    level, upward = logger.level, logger.propagate
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
        logger.propagate = upward


def _now_and_then(words: str, total: int) -> Callable[[int], None]:
    """Print a line of progress at most every ``SILENCE`` seconds."""
    begin = told = time.monotonic()

    def report(done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if done and now - told >= SILENCE:
            told = now
            left = (now - begin) / done * max(0, total - done)
            console.print(
                f"{words}: {done:,} of {total:,}, about {seconds(left)} left", highlight=False
            )

    return report


@contextmanager
def bar(words: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress: ``with bar("embedding", 1000) as report: report(done)``.

    Where stderr is not a terminal, a line when the stage begins, and one now and then that says
    how much is done and about how long the rest takes.
    """
    if not console.is_terminal:
        console.print(f"{words} ...", highlight=False)
        yield _now_and_then(words, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(words, total=total)
        yield lambda done: progress.update(task, completed=done)
