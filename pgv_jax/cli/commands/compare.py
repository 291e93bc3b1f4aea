"""``pgv compare``: rollouts side by side."""

from __future__ import annotations

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@click.option("--reference", help="The run that the others are paired with; the first by default.")
@click.option("--out", type=click.Path(), help="A folder for compare.json and compare.svg.")
def compare(runs: tuple[str, ...], reference: str | None, out: str | None) -> None:
    """Compare rollouts: success and score with intervals, paired tests, costs.

    RUNS are Episodes JSONL files, or folders whose *.jsonl files are shards of one run. A file
    that holds several arms is taken apart.
    """
    import json
    import sys
    from pathlib import Path

    from rich.console import Console

    from pgv_jax.cli.console import console
    from pgv_jax.errors import PgvError
    from pgv_jax.report.comparison import runs as report
    from pgv_jax.report.pages.plots import compare_plot

    comparison = report.compare(report.read_runs(runs), reference)
    # a file or a pipe has no width: let no column be cut there
    Console(width=None if sys.stdout.isatty() else 150).print(report.compare_table(comparison))
    for sentence in report.unfinished(runs):
        console.print(f"Note: {sentence}", highlight=False, markup=False, soft_wrap=True)
    if out is None:
        return
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(comparison, indent=1, ensure_ascii=False)
        (folder / "compare.json").write_text(f"{text}\n", encoding="utf-8")
        plot = compare_plot(comparison)
        (folder / "compare.svg").write_text(str(plot), encoding="utf-8")
    except OSError as error:
        raise PgvError(f"Cannot write to {folder}: {error.strerror}.") from None
    console.print(f"Written: {folder / 'compare.json'}, {folder / 'compare.svg'}")
