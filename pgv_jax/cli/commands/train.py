"""``pgv train``: from a dataset to an artifact, in one process or many."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click


@click.command()
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--workdir",
    default="runs/train",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where metrics, checkpoints and the artifact go; a run that it holds is continued.",
)
@click.option(
    "--profile", is_flag=True, help="Keep a trace of one call in WORKDIR/profile (XProf)."
)
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    envvar="JAX_COORDINATOR_ADDRESS",
    help="Address of process 0, when there are several.",
)
@click.option(
    "--processes",
    type=int,
    envvar="JAX_NUM_PROCESSES",
    help="Number of processes; 1: this one alone.",
)
@click.option(
    "--process-id", type=int, envvar="JAX_PROCESS_ID", help="Number of this process, from 0."
)
@click.option(
    "--worker-timeout",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="Seconds without a sign of life after which a process counts as lost and all stop.",
)
@click.option(
    "--start-timeout",
    default=300,
    show_default=True,
    type=click.IntRange(1),
    help="Seconds for all processes to connect.",
)
def train(
    config: str,
    overrides: tuple[str, ...],
    workdir: str,
    profile: bool,
    **place: Any,
) -> None:
    """Train a critic as CONFIG says, a file or a shipped one's name; KEY=VALUE overrides a key.

    \b
    pgv train gc_iql data.dataset=data/mine --workdir runs/mine

    On several hosts with one file system, run the same command on each. SLURM, Kubernetes and TPU
    pods tell each process who it is; elsewhere --coordinator, --processes and --process-id do.
    """
    from pgv_jax.rollout.stopping import terminable

    with terminable():  # before what takes seconds to import
        _train(config, overrides, workdir, profile, place)


def _train(
    config: str, overrides: tuple[str, ...], workdir: str, profile: bool, place: dict[str, Any]
) -> None:
    from pathlib import Path

    from pgv_jax.cli.console import bar, console, logged
    from pgv_jax.config import load_config
    from pgv_jax.critic.artifact import load
    from pgv_jax.data.samples import dataset_path
    from pgv_jax.learner import cluster
    from pgv_jax.workflows.training import fit, prepare, silent

    settings = load_config(config, overrides)
    if settings.data.dataset:
        named = {"dataset": str(dataset_path(settings.data.dataset))}
        data = settings.data.model_copy(update=named)
        settings = settings.model_copy(update={"data": data})
    folder = Path(workdir)
    with ExitStack() as stack:
        stack.enter_context(logged())
        cluster.initialize(**place)
        stack.enter_context(cluster.guarded())
        shown = bar if cluster.is_writer() else silent
        prepared = prepare(settings, folder / "tables", shown)
        told = console.print if cluster.is_writer() else lambda words: None
        if prepared.held_out is None:
            told("The dataset has too few tasks to hold any out: training runs to the end.")
        artifact = fit(settings, prepared, folder, shown, profile=profile)
        if cluster.is_writer():
            for sentence in load(artifact).manifest["recipe"]["words"]:
                told(sentence)
        told(f"The critic is in {artifact}. Judge it before you trust it: pgv evaluate.")
