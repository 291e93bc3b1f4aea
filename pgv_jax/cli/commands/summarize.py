"""``pgv summarize``: a dataset whose observations are progress notes by a chat model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pgv_jax.types import Episode


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="openai:MODEL, anthropic:MODEL or google:MODEL.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new dataset.")
@click.option("--prompts", type=click.Path(file_okay=False), help="Folder with a summary.txt.")
@click.option("--base-url", default="", help="Of the model's endpoint; default: its vendor's.")
@click.option("--key-env", help="Environment variable of its key; 'none' where none is wanted.")
@click.option("--prices", type=click.Path(), help="YAML of dollars per million tokens.")
@click.option("--dollars", type=float, help="The budget; needs --prices.")
@click.option("--tokens", type=click.IntRange(min=0), help="The budget in tokens.")
@click.option("--concurrency", default=16, show_default=True, type=click.IntRange(min=1))
@click.option("--overwrite", is_flag=True, help="Replace another dataset in the same folder.")
def summarize(
    dataset: Path,
    model: str,
    out: Path,
    prompts: str | None,
    base_url: str,
    key_env: str | None,
    prices: str | None,
    dollars: float | None,
    tokens: int | None,
    concurrency: int,
    overwrite: bool,
) -> None:
    """Let a model write each observation of DATASET as a note of simple sentences.

    Answers are kept in OUT.notes: an interrupted run goes on, and nothing is paid twice.

    \b
    pgv summarize data/mine --model openai:MODEL --out data/notes
    pgv train gc_iql data.dataset=data/notes texts.history=0
    """
    from pgv_jax.cli.console import bar, console
    from pgv_jax.data.episodes import dataset_info, write_dataset
    from pgv_jax.errors import PgvError
    from pgv_jax.rollout.settings import ApiConfig, BudgetConfig, RolloutConfig
    from pgv_jax.rollout.summarize import summarize as run

    if out.resolve() == dataset.resolve():
        raise PgvError(f"--out {out} is the dataset itself; choose another folder.")
    about = dataset_info(dataset)
    episodes = _with_splits(dataset, about["splits"])
    settings = RolloutConfig(
        client=model,
        api=ApiConfig(base_url=base_url, key_env=key_env),
        budget=BudgetConfig(dollars=dollars, tokens=tokens, prices=prices),
        prompts=prompts,
        concurrency=concurrency,
    )
    with bar("writing notes", len(episodes)) as report:
        noted, used = run(
            episodes, settings, out.with_name(f"{out.name}.notes"), report, console.print
        )
    summary = write_dataset(
        out,
        noted,
        source=f"notes by {model} on {about['source'] or about['fingerprint'][:16]}",
        licence=about["licence"],
        overwrite=overwrite,
    )
    spent = used.spent
    cost = f", ${spent.dollars:.4f}" if spent.dollars else ""
    click.echo(
        f"{summary.folder}: notes of {summary.episodes:,} episodes, {spent.requests:,} calls, "
        f"{spent.tokens:,} tokens{cost}. Next: pgv describe {summary.folder}"
    )


def _with_splits(dataset: Path, splits: Iterable[str]) -> list[Episode]:
    """All episodes; their splits are stated, so that each task stays where it was."""
    from dataclasses import replace

    from pgv_jax.data.episodes import read_episodes

    return [
        replace(episode, split=split)
        for split in splits
        for episode in read_episodes(dataset, split)
    ]
