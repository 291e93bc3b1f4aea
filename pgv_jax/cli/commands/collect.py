"""``pgv collect``: play a task many times and keep the episodes as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgv_jax.data.episodes import DatasetSummary
    from pgv_jax.rollout.settings import RolloutConfig


@click.command()
@click.argument("task")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Dataset's folder.")
@click.option("--episodes", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--policy",
    default="scripted",
    show_default=True,
    help="scripted:skill=S with S from 0 (random) to 1 (expert); several as 0.1/0.9, in turn.",
)
@click.option("--model", help="Collect with an API model: MODEL, anthropic:MODEL, google:MODEL.")
@click.option(
    "--voice", default="", help="A model for the task's other seats, such as a persuadee."
)
@click.option("--split", type=click.Choice(["all", "train", "test"]), default="all")
@click.option(
    "--task-arg",
    "args",
    multiple=True,
    metavar="NAME=VALUE",
    help="Argument of the environment; may be repeated.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    help="Thoughts recorded a step; the first is played. [6, with --model 1]",
)
@click.option("--max-steps", default=0, help="Limit of an episode; 0: the task's own limit.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes. [one a core]")
@click.option("--base-url", default="", help="Address of the model's endpoint. [its vendor's]")
@click.option("--key-env", help="Environment variable of its key; '' if it needs none.")
@click.option("--voice-base-url", default="", help="Address of the voice's endpoint. [the model's]")
@click.option("--voice-key-env", help="Environment variable of the voice's key. [the model's]")
@click.option("--voice-dollars", type=float, help="The voice's own budget; needs --prices.")
@click.option("--prices", type=click.Path(), help="YAML of dollars per million tokens.")
@click.option("--dollars", type=float, help="The model's budget; needs --prices.")
@click.option(
    "--concurrency", default=16, show_default=True, help="Episodes at once, with a model."
)
@click.option("--licence", default="", help="Kept with the dataset.")
@click.option("--overwrite", is_flag=True, help="Replace another dataset in the same folder.")
def collect(
    task: str,
    out: Path,
    episodes: int,
    policy: str,
    model: str | None,
    voice: str,
    split: str,
    args: tuple[str, ...],
    seed: int,
    candidates: int | None,
    max_steps: int,
    workers: int | None,
    licence: str,
    overwrite: bool,
    **reached: Any,
) -> None:
    """Play TASK and write a dataset of episodes (RLDS); an interrupted run goes on.

    \b
    pgv collect webshop --policy scripted:skill=0.4 --episodes 1000 --out data/webshop
    pgv collect webshop --task-arg data=FOLDER --model MODEL --out data/webshop-model
    """
    from pgv_jax.cli.console import bar, console
    from pgv_jax.rollout.collect import collect as run
    from pgv_jax.rollout.plan import Plan

    plan = Plan(
        task=task,
        episodes=episodes,
        args=_arguments(args),
        policy=policy,
        model=model,
        voice=voice,
        split=split,
        seed=seed,
        candidates=candidates or (1 if model else 6),
        max_steps=max_steps,
    )
    summary = run(
        plan,
        out,
        workers=workers or _cores(),
        api=_api(model, voice, reached) if model else None,
        licence=licence,
        overwrite=overwrite,
        bar=bar,
        say=console.print,
    )
    click.echo(_closing(summary))


def _arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE, the values read as YAML."""
    import yaml

    from pgv_jax.errors import PgvError

    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise PgvError(f"--task-arg '{pair}' is not of the form NAME=VALUE.")
        try:
            found[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            found[name] = text
    return found


def _cores() -> int:
    """The cores that this process may use."""
    import os

    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


def _api(model: str, voice: str, reached: dict[str, Any]) -> RolloutConfig:
    from pgv_jax.rollout.settings import ApiConfig, BudgetConfig, RolloutConfig, VoiceConfig

    other = ApiConfig(
        base_url=reached["voice_base_url"] or reached["base_url"],
        key_env=reached["key_env"]
        if reached["voice_key_env"] is None
        else reached["voice_key_env"],
    )

    return RolloutConfig(
        client=model,
        api=ApiConfig(base_url=reached["base_url"], key_env=reached["key_env"]),
        budget=BudgetConfig(dollars=reached["dollars"], prices=reached["prices"]),
        concurrency=reached["concurrency"],
        voice=VoiceConfig(
            client=voice,
            api=other,
            budget=BudgetConfig(dollars=reached["voice_dollars"], prices=reached["prices"]),
        ),
    )


def _closing(summary: DatasetSummary) -> str:
    splits = ", ".join(f"{name} {part['episodes']:,}" for name, part in summary.splits.items())
    verb = "already held" if summary.reused else "holds"
    return (
        f"{summary.folder} {verb} {summary.episodes:,} episodes, {summary.steps:,} steps of "
        f"{summary.tasks:,} tasks ({splits}). Next: pgv describe {summary.folder}"
    )
