"""From a real model's own log to its own play: SmolLM2-135M, a critic of its log, held-out games.

    python benchmarks/real_model.py --out runs/real [--tasks 24] [--seeds 1] [--arms first,critic]

A cell is an arm: it plays every held-out game --seeds times. Finished cells and episodes are kept,
and so are samples, which arms in the same state share. Prints a JSON line and a row of a Markdown
table an arm; intervals are 95 %, over games.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from entry import begin

from pgv_jax.cli.console import bar
from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.errors import PgvError
from pgv_jax.report.wording import MISSING
from pgv_jax.workflows.local_model import ARMS, CRITICS, LocalRun, check_local, figures


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.0f} %"


@click.command()
@click.option("--out", default="runs/real", show_default=True, type=click.Path(path_type=Path))
@click.option("--tasks", default=24, show_default=True, help="Held-out games.")
@click.option("--seeds", default=1, show_default=True, help="Episodes a game and arm.")
@click.option("--arms", default=",".join(ARMS), show_default=True)
def main(out: Path, tasks: int, seeds: int, arms: str) -> None:
    """Learn what the arms need, play what is missing, then print what they show together."""
    names = arms.split(",")
    for name in names:
        if name not in ARMS:
            raise PgvError(f"There is no arm '{name}'; the arms are {', '.join(ARMS)}.")
    keep_compiled()
    check_local()
    run = LocalRun(out, 0, bar)
    prepared = run.prepared()
    needed = {"direct" if name == "direct" else "critic" for name in names} & set(CRITICS)
    if {"critic", "shuffled", "direct"} & set(names):
        for name in sorted(needed):
            run.learn(name, prepared).flush()
    told = figures({name: run.play(name, tasks, seeds) for name in names})
    print("| who chooses | success | less the first | right action | right among six | distinct |")
    print("|---|---|---|---|---|---|")
    for name, arm in told.items():
        low, high = (100 * bound for bound in arm["ci95"])
        less = arm["minus"].get("first")
        gain = MISSING
        if less:
            gain = f"{100 * less['difference']:+.0f}"
            gain += " [{:+.0f}, {:+.0f}]".format(*(100 * bound for bound in less["ci95"]))
        distinct = MISSING if arm["distinct"] is None else f"{arm['distinct']:.1f}"
        print(
            f"| {name} | {_percent(arm['success'])} [{low:.0f}, {high:.0f}] | {gain} | "
            f"{_percent(arm['chosen_right'])} | {_percent(arm['any_right'])} | {distinct} |"
        )
    for name, arm in told.items():
        print(json.dumps({"arm": name, **arm}))


if __name__ == "__main__":
    begin(main)
