"""``pgv rollout``: episodes by an agent that a critic may guide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pgv_jax.rollout.launch import Rollout
    from pgv_jax.types import Episode


@click.command()
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--out",
    default="runs/rollout",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where the episodes go; a run that it holds is continued.",
)
@click.option(
    "--shard", metavar="I/N", help="Play part I of N (from 0), for a job array; the same --out."
)
@click.pass_context
def rollout(
    ctx: click.Context, config: str, overrides: tuple[str, ...], out: str, shard: str | None
) -> None:
    """Play the tasks of CONFIG, a file or a shipped one's name; KEY=VALUE overrides a key.

    \b
    pgv rollout textworld/local artifact=runs/quickstart/critic/artifact
    pgv rollout rollout artifact=... client=openai:MODEL --out runs/guided
    """
    from pathlib import Path

    from pgv_jax.cli.console import logged
    from pgv_jax.cli.main import INTERRUPTED
    from pgv_jax.config import load_config
    from pgv_jax.rollout.launch import Rollout
    from pgv_jax.rollout.record import Shard
    from pgv_jax.rollout.settings import RolloutConfig

    part = Shard.parse(shard) if shard else None
    settings = load_config(config, overrides, RolloutConfig)
    run = Rollout(settings, Path(out), part)
    try:
        with logged(), _progress(run) as (on_episode, say):
            run.run(on_episode, say)
    except KeyboardInterrupt:
        _where_it_stands(run)
        _say(f"Interrupted. To continue: {_command(config, overrides, out, shard)}")
        ctx.exit(INTERRUPTED)
    except Exception:
        if run.watch.begun:  # else it was refused
            _where_it_stands(run)
            _say(f"To continue: {_command(config, overrides, out, shard)}")
        raise
    _where_it_stands(run)
    _say(f"Episodes: {run.path}. Compare runs: pgv compare {out} OTHER")


def _say(sentence: str) -> None:
    """One line to stderr, as it is: no wrapping, and brackets are no markup."""
    from pgv_jax.cli.console import console

    console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _command(config: str, overrides: tuple[str, ...], out: str, shard: str | None) -> str:
    import shlex

    words = ["pgv", "rollout", config, *overrides, "--out", out]
    return shlex.join([*words, *(["--shard", shard] if shard else [])])


def _where_it_stands(run: Rollout) -> None:
    watch = run.watch
    _say(f"{watch.finished} of {len(run.specs)} episodes are saved in {run.path}; {_so_far(run)}.")
    for sentence in watch.warnings():
        _say(f"Note: {sentence}")


def _so_far(run: Rollout) -> str:
    """Success and spend in words."""
    watch, spent = run.watch, run.model.spent
    words = f"success {watch.succeeded} of {watch.finished}"
    if spent.requests:
        words += f", {spent.requests} calls, {spent.tokens} tokens"
    if spent.dollars:
        words += f", ${spent.dollars:.4f}"
    if proposals := watch.proposals_in_words():
        words += f"; {proposals}"
    return words


@contextmanager
def _progress(
    run: Rollout,
) -> Iterator[tuple[Callable[[int, int, Episode], None], Callable[[str], None]]]:
    """A bar with success so far and spend; where stderr is no terminal, some lines."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    from pgv_jax.cli.console import console

    total, name = len(run.specs), run.settings.arm

    if not console.is_terminal:
        _say(f"{name}: {total} episodes ...")
        step = max(1, total // 10)

        def line(done: int, of: int, episode: Episode) -> None:
            if done % step == 0 and done < of:
                _say(f"{done} of {of}: {_so_far(run)}")

        yield line, _say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, Elapsed(), Remaining(), console=console) as bar:
        task = bar.add_task(name, total=total, completed=run.watch.finished)

        def update(done: int, of: int, episode: Episode) -> None:
            bar.update(task, completed=done, description=f"{name}: {_so_far(run)}")

        yield update, _say
