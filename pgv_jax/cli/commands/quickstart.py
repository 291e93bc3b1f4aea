"""``pgv quickstart``: the whole loop on games, in one command."""

from __future__ import annotations

import click

from pgv_jax.errors import PgvError


@click.command()
@click.option(
    "--out",
    type=click.Path(),
    help="Where it goes. [runs/quickstart; with --scripted, runs/scripted]",
)
@click.option("--seed", default=0, show_default=True, help="Of training and of the samples.")
@click.option(
    "--scripted",
    is_flag=True,
    help="A script instead of the language model: more games, more arms, its own log.",
)
@click.option("--quick", is_flag=True, help="With --scripted: under 90 seconds, little training.")
@click.option("--plain-thoughts", is_flag=True, help="With --scripted: thoughts give no reason.")
def quickstart(
    out: str | None, seed: int, scripted: bool, quick: bool, plain_thoughts: bool
) -> None:
    """Learn from a small language model's own log, and let it play held-out games with the critic.

    The model runs on this machine, without a key. Interrupt it when you like; the same command
    continues.
    """
    from pathlib import Path

    from pgv_jax.cli.console import bar, console
    from pgv_jax.parts import pip_line

    if not scripted and (quick or plain_thoughts):
        raise PgvError(
            "--quick and --plain-thoughts are of the scripted quickstart; add --scripted."
        )
    folder = Path(out or ("runs/scripted" if scripted else "runs/quickstart"))
    console.print("Loading JAX ...", highlight=False)
    from pgv_jax.report.pages.quickstart import terminal_table

    if scripted:
        from pgv_jax.workflows.scripted import scripted_quickstart

        report = scripted_quickstart(folder, seed, quick, not plain_thoughts, bar)
    else:
        from pgv_jax.workflows.quickstart import quickstart as run

        report = run(folder, seed, bar)
    console.print(terminal_table(report))
    if report["torch_parity"] is None:
        console.print(
            f"PyTorch twin written to {folder}/torch; its parity is checked once torch is there: "
            f"{pip_line('torch')}",
            markup=False,
        )
    total = sum(report["seconds"].values())
    console.print(f"The report, {total:.0f} s of work: {folder}/report.html")
    console.print(
        "With logs of your own: pgv fit LOGS --out runs/mine, then pgv serve runs/mine/artifact.",
        highlight=False,
    )
