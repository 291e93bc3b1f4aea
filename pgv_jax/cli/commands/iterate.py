"""``pgv iterate``: collect with the critic so far, learn from it, repeat."""

from __future__ import annotations

import click


@click.command()
@click.argument("method")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--out",
    default="runs/iterate",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where the iterations go; a run that it holds is continued.",
)
def iterate(method: str, config: str, overrides: tuple[str, ...], out: str) -> None:
    """Run METHOD as CONFIG says, a file or a shipped one's name; KEY=VALUE overrides a key.

    METHOD is an objective that says what it plays: agent_prm, inverse_prm, lookahead.

    \b
    pgv iterate agent_prm textworld/agent_prm --out runs/agent_prm
    """
    from pathlib import Path

    from pgv_jax.cli.console import bar
    from pgv_jax.config import load_config
    from pgv_jax.workflows.iterate import IterateConfig
    from pgv_jax.workflows.iterate import iterate as run

    settings = load_config(config, overrides, IterateConfig)
    for record in run(method, settings, Path(out), bar):
        click.echo(
            f"Iteration {record['iteration']}: success {record['success']:.0%} of "
            f"{record['episodes']} episodes; the critic learned from it is {record['artifact']}."
        )
