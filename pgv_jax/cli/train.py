"""``pgv train``: from a dataset to an artifact."""

from __future__ import annotations

import click


@click.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--workdir",
    default="runs/train",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where metrics, checkpoints and the artifact go; a run that it holds is continued.",
)
def train(config: str, overrides: tuple[str, ...], workdir: str) -> None:
    """Train a critic as CONFIG says; keys are overridden by KEY=VALUE.

    \b
    pgv train configs/gc_iql.yaml data.dataset=data/mine --workdir runs/mine
    """
    from pathlib import Path

    from pgv_jax.cli.console import bar, console
    from pgv_jax.config import load_config
    from pgv_jax.pipeline import fit, prepare

    settings = load_config(config, overrides)
    folder = Path(workdir)
    prepared = prepare(settings, folder / "tables", bar)
    if prepared.held_out is None:
        console.print("The dataset has too few tasks to hold any out: training runs to the end.")
    artifact = fit(settings, prepared, folder, bar)
    console.print(f"The critic is in {artifact}. Judge it before you trust it: pgv evaluate.")
