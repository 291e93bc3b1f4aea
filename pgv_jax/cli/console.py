"""What a person sees while a command works: one console on stderr, one kind of progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)


@contextmanager
def bar(words: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress: ``with bar("embedding", 1000) as report: report(done)``.

    Where stderr is not a terminal, one line when the stage begins.
    """
    if not console.is_terminal:
        console.print(f"{words} ...", highlight=False)
        yield lambda done: None
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
