"""The scripted quickstart over several seeds of everything: games, episodes, training, proposals.

    python benchmarks/quickstart.py --seeds 3 --out runs/seeds [--first 1] [--plain-thoughts]

Runs (or continues) one quickstart a seed, pools their episodes and prints one JSON line a case,
with intervals over games. Seeds play different games, so 3 seeds are 36 held-out games.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from entry import begin

from pgv_jax.cli.console import bar, console
from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.report.comparison.arms import arms_summary, goals_summary
from pgv_jax.types import Episode
from pgv_jax.workflows.scripted import Size, scripted_quickstart


def pooled(folders: list[Path], file: str) -> dict[str, list[Episode]]:
    """Every run's episodes of one file, by arm."""
    arms: dict[str, list[Episode]] = {}
    for folder in folders:
        for episode in read_jsonl(folder / file):
            arms.setdefault(str(episode.metadata["arm"]), []).append(episode)
    return arms


def say(case: str, figures: dict[str, Any]) -> None:
    """Print one case as a line of JSON."""
    print(json.dumps({"case": case, **figures}, ensure_ascii=False), flush=True)


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--first", default=0, show_default=True, help="The first seed.")
@click.option("--out", default="runs/seeds", show_default=True, type=click.Path(path_type=Path))
@click.option("--plain-thoughts", is_flag=True, help="The control: thoughts that give no reason.")
def main(seeds: int, first: int, out: Path, plain_thoughts: bool) -> None:
    """Run the seeds, then print what they show together."""
    keep_compiled()
    folders, reports = [], []
    for seed in range(first, first + seeds):
        console.print(f"seed {seed}")
        folders.append(out / f"seed-{seed}")
        reports.append(scripted_quickstart(folders[-1], seed, reasons=not plain_thoughts, bar=bar))
    for share in Size().shares:
        for name, arm in arms_summary(pooled(folders, f"arms-{share}.jsonl")).items():
            say(f"arms p={share}: {name}", arm)
    goals = goals_summary(pooled(folders, "goals.jsonl"))
    for name, arm in goals["arms"].items():
        say(f"goals: {name}", arm)
    for kind, table in goals["kinds"].items():
        shares = {name: round(arm["reached"], 3) for name, arm in table["arms"].items()}
        say(f"goals of kind '{kind}'", {"goals": table["goals"], **shares})
    for part in ("auc", "top1"):
        say(f"offline {part}", {"seeds": [report["offline"][part] for report in reports]})
    seconds = [sum(report["seconds"].values()) for report in reports]
    say("seconds", {"median": float(np.median(seconds)), "each": seconds})


if __name__ == "__main__":
    begin(main)
