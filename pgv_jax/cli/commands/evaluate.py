"""``pgv evaluate``: judge a critic on held-out tasks, beside simple baselines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgv_jax.errors import PgvError

if TYPE_CHECKING:
    from pgv_jax.types import Episode

NOT_ENOUGH = 3
"""Exit status where ``--require`` asks for more than the verdict."""


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--dataset", type=click.Path(path_type=Path), required=True, help="Folder of a dataset."
)
@click.option("--split", default="test", show_default=True, help="Split that is judged.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the report. [ARTIFACT/../health]"
)
@click.option(
    "--store", type=click.Path(path_type=Path), help="Embedding store. [DATASET/embeddings]"
)
@click.option(
    "--beside",
    multiple=True,
    metavar="NAME=ARTIFACT",
    help="Another critic to judge beside it, such as monte_carlo=runs/mc/artifact.",
)
@click.option(
    "--calibration",
    type=click.Choice(["auto", "temperature", "platt", "isotonic", "none"]),
    default="auto",
    show_default=True,
    help="Fitted on split val and kept in ARTIFACT; none keeps what ARTIFACT has.",
)
@click.option("--group", metavar="REGEX", help="The kind of a task: what this finds in its id.")
@click.option(
    "--expectile",
    type=click.FloatRange(0.5, 1, max_open=True),
    metavar="NUMBER",
    help="Also train the critic with this expectile (.5: no optimism about luck), and say how "
    "often that critic would choose otherwise.",
)
@click.option("--data-curve", is_flag=True, help="Also train on 10 and 30 % of the training tasks.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help="What the verdict demands: auc, top1, worse, skill or ece.",
)
@click.option(
    "--require",
    type=click.Choice(["trust", "ranking"]),
    help="Exit with 3 where the verdict is worse than this.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of drawn goals, exchanges and folds."
)
@click.pass_context
def evaluate(
    context: click.Context,
    artifact: Path,
    dataset: Path,
    split: str,
    out: Path | None,
    store: Path | None,
    beside: Sequence[str],
    calibration: str,
    group: str | None,
    expectile: float | None,
    data_curve: bool,
    limits: Sequence[str],
    require: str | None,
    seed: int,
) -> None:
    """Judge the critic ARTIFACT on tasks that it was not trained on.

    Writes report.json and report.html, and prints whether to trust it: "trust", "trust for ranking
    only" or "do not use", and what the critic adds over simple baselines. A test without enough
    data says "not testable".
    """
    from rich.console import Console

    from pgv_jax.cli.console import bar
    from pgv_jax.data.samples import dataset_path
    from pgv_jax.report.health.trust import LEVELS, enough, limits_of
    from pgv_jax.report.pages.terminal import health_table
    from pgv_jax.workflows import evaluate as workflow

    console = Console()
    question = workflow.Question(
        split=split,
        beside=dict(_named(beside)),
        calibration=calibration,
        kind_of=_grouping(group),
        expectile=expectile,
        data_curve=data_curve,
        limits=limits_of(limits),
        seed=seed,
    )
    done = workflow.evaluate(
        artifact,
        dataset_path(dataset),
        question,
        out=out,
        store=store,
        bar=bar,
        status=console.status,
    )
    for sentence in done.words:
        console.print(sentence)
    for note in done.notes:
        console.print(f"{note[0].upper()}{note[1:]}.")
    console.print(health_table(done.report))
    console.print(f"Wrote {done.page}", soft_wrap=True)
    needed = {None: LEVELS[0], "ranking": LEVELS[1], "trust": LEVELS[2]}[require]
    if not enough(done.report["verdict"]["level"], needed):
        context.exit(NOT_ENOUGH)


def _grouping(pattern: str | None) -> Callable[[Episode], str] | None:
    """From an episode to the kind of its task: what ``pattern`` finds in the task's id."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise PgvError(f"--group '{pattern}' is not a regular expression: {error}.") from None

    def kind_of(episode: Episode) -> str:
        found = compiled.search(episode.task_id)
        return found.group() if found else ""

    return kind_of


def _named(beside: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for pair in beside:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise PgvError(f"--beside '{pair}' is not NAME=ARTIFACT, such as monte_carlo=runs/mc.")
        if name == "critic":
            raise PgvError("--beside cannot be called 'critic', the name of what is judged.")
        yield name, Path(path)
