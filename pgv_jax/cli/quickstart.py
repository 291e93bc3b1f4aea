"""``pgv quickstart``: the whole loop on games, in one command."""

from __future__ import annotations

import click


@click.command()
@click.option("--out", default="runs/quickstart", show_default=True, type=click.Path())
@click.option("--seed", default=0, show_default=True, help="Of the games and of everything else.")
@click.option("--quick", is_flag=True, help="Under 90 seconds, with little training.")
@click.option("--plain-thoughts", is_flag=True, help="The control: thoughts that give no reason.")
def quickstart(out: str, seed: int, quick: bool, plain_thoughts: bool) -> None:
    """Play, learn, judge, guide and report, with no key and no download.

    Interrupt it when you like; the same command continues.
    """
    from pathlib import Path

    from pgv_jax.cli.console import bar, console

    console.print("Loading JAX ...", highlight=False)
    from pgv_jax.report.pages.quickstart import terminal_table
    from pgv_jax.workflows.quickstart import quickstart as run

    report = run(Path(out), seed, quick, not plain_thoughts, bar)
    console.print(terminal_table(report))
    if report["torch_parity"] is None:
        console.print(
            f"PyTorch twin written to {out}/torch; its parity is checked once torch is there: "
            "pip install torch==2.13.0"
        )
    total = sum(report["seconds"].values())
    console.print(f"The report, {total:.0f} s of work: {out}/report.html")
    console.print(
        "With logs of your own: pgv import LOGS --out data/mine, then "
        "pgv train gc_iql data.dataset=data/mine, then pgv evaluate.",
        highlight=False,
    )
