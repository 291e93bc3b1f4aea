"""``pgv fit``: from logs to a verdict in one command."""

from __future__ import annotations

from pathlib import Path

import click

from pgv_jax.errors import PgvError

STEPS, QUICK_STEPS = 3000, 600


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("logs", nargs=-1, type=click.UNPROCESSED, metavar="LOGS... [IMPORT OPTIONS]")
@click.option(
    "--out",
    default=Path("runs/fit"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the dataset, the critic and the report go; what it holds is continued.",
)
@click.option("--encoder", default="sentences:minilm", show_default=True, help="As of pgv embed.")
@click.option("--quick", is_flag=True, help=f"{QUICK_STEPS} updates instead of {STEPS:,}.")
def fit(logs: tuple[str, ...], out: Path, encoder: str, quick: bool) -> None:
    """Import LOGS, learn a critic from them, judge it on held-out tasks and say what to do next.

    \b
    pgv fit logs/*.jsonl --out runs/mine
    pgv fit traces.jsonl --rewards results.csv --success "reward >= 1" --out runs/mine

    Options of `pgv import` may follow. Interrupted, the same command continues.
    """
    from pgv_jax.cli.console import console
    from pgv_jax.data.episodes import is_dataset, read_episodes
    from pgv_jax.workflows.claim import claim

    if not logs:
        raise PgvError("No log is named; give files or folders: pgv fit LOGS... --out DIR.")
    asked = {"logs": list(logs), "encoder": encoder, "quick": quick}
    claim(out / "fit.json", "a fit", asked, fresh=True)
    dataset, run, health = out / "dataset", out / "critic", out / "health"
    if not is_dataset(dataset):
        _pgv("import", *logs, "--out", str(dataset))
    episodes = list(read_episodes(dataset))
    known = sum(e.success is not None for e in episodes)
    won = sum(e.success is True for e in episodes)
    console.print(f"{len(episodes):,} episodes, {known:,} of known outcome, {won:,} successes.")
    artifact = _learn(dataset, run, encoder, QUICK_STEPS if quick else STEPS)
    _judge(artifact, dataset, health, known, won)
    for line in _next(out, artifact, dataset):
        click.echo(line)


def _pgv(*arguments: str) -> None:
    """Run another command of this group, in this process."""
    from pgv_jax.cli.main import pgv

    pgv.main(list(arguments), prog_name="pgv", standalone_mode=False)


def _learn(dataset: Path, run: Path, encoder: str, steps: int) -> Path:
    """Embed what training reads and train; both continue where they were."""
    from pgv_jax.cli.console import bar, console, logged
    from pgv_jax.config import load_config
    from pgv_jax.rollout.stopping import terminable
    from pgv_jax.workflows.pipeline import fit as train
    from pgv_jax.workflows.pipeline import prepare

    config = load_config(
        None,
        [
            f"data.dataset={dataset}",
            f"data.encoder={encoder}",
            f"train.steps={steps}",
            "critic.recipe=auto",
        ],
    )
    with terminable(), logged():
        prepared = prepare(config, run / "tables", bar)
        if prepared.held_out is None:
            console.print("Too few tasks to hold any out: training runs to the end.")
        return train(config, prepared, run, bar)


def _judge(artifact: Path, dataset: Path, health: Path, known: int, won: int) -> None:
    """The health report where there is something to judge against, else why there is none."""
    if known == 0:
        said = "no episode has a known outcome; give --rewards, --success or --rewards-on"
    elif won in (0, known):
        said = f"all {known:,} known outcomes are the same, so success tells nothing apart"
    else:
        try:
            _pgv("evaluate", str(artifact), "--dataset", str(dataset), "--out", str(health))
            return
        except PgvError as error:
            said = str(error).rstrip(".")
    click.echo(f"Not judged: {said}. State goals were learned; no verdict on success is possible.")


def _next(out: Path, artifact: Path, dataset: Path) -> list[str]:
    report = out / "health" / "report.html"
    return [
        f"The critic is in {artifact}.",
        *([f"Read {report}: what it knows, and on what evidence."] if report.exists() else []),
        "Next:",
        f"  pgv show {dataset} --episode ID --artifact {artifact} --out {out}/episode.html",
        f"  pgv rollout rollout artifact={artifact} client=openai:MODEL",
        f'  python -c \'from pgv_jax import ValueFunction; c = ValueFunction.load("{artifact}"); '
        'print(c.q("task", "observation", ["thought"], ["The task is done."]))\'',
    ]
