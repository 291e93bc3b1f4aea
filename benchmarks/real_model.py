"""From a real model's own log to its own play: SmolLM2-135M, critics of its log, held-out games.

    python benchmarks/real_model.py --out runs/real [--seeds 3] [--games 24] [--goals 180]

A cell is (seed, arm): critics are trained with the seed, and the arm plays every held-out game once
with samples of that seed, then pursues goals that were never the task. Finished cells and episodes
are kept, and so are samples, which arms in the same state share. Prints Markdown tables and a JSON
line each; intervals are 95 %, over games of all seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from entry import begin

from pgv_jax.cli.console import bar, console
from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.errors import PgvError
from pgv_jax.report.comparison.arms import goals_summary
from pgv_jax.report.wording import MISSING, percent, percent_interval
from pgv_jax.types import Episode
from pgv_jax.workflows.local_model import (
    ARMS,
    BASE,
    CRITICS,
    GOAL_ARMS,
    LocalRun,
    check_local,
    figures,
)

FIRST = "proposals"
"""The first of the six samples that all other arms choose among."""


def _gain(arm: Mapping[str, Any]) -> str:
    less = arm["minus"].get(FIRST)
    if not less:
        return MISSING
    return f"{percent(less['difference'], sign=True)} {percent_interval(less['ci95'], sign=True)}"


def games_table(arms: Mapping[str, Sequence[Episode]]) -> list[str]:
    """The held-out games' own task, a row an arm."""
    told = figures(arms)
    lines = ["| who chooses | success | less the first | right action | right among six | tokens |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, arm in told.items():
        success = f"{percent(arm['success'])} {percent_interval(arm['ci95'])}"
        right = f"{percent(arm['chosen_right'])} | {percent(arm['any_right'])}"
        lines.append(f"| {name} | {success} | {_gain(arm)} | {right} | {arm['tokens']:,.0f} |")
    return [*lines, *(json.dumps({"arm": name, **arm}) for name, arm in told.items())]


def goals_table(arms: Mapping[str, Sequence[Episode]]) -> list[str]:
    """Goals at run time, a row an arm."""
    found = goals_summary(arms, references=tuple(arms))
    kinds = found["kinds"]
    lines = [f"| goals reached by | all | less the first | {' | '.join(kinds)} |"]
    lines += ["|---" * (3 + len(kinds)) + "|"]
    for name, arm in found["arms"].items():
        each = [percent(kind["arms"][name]["reached"]) for kind in kinds.values()]
        reached = f"{percent(arm['reached'])} {percent_interval(arm['ci95'])}"
        lines.append(f"| {name} | {reached} | {_gain(arm)} | {' | '.join(each)} |")
    return [*lines, json.dumps(found)]


def _show(table: Callable[[Any], list[str]], cells: Mapping[str, Sequence[Episode]]) -> None:
    print("\n".join(["", *table(cells)]), flush=True)


@click.command()
@click.option("--out", default="runs/real", show_default=True, type=click.Path(path_type=Path))
@click.option("--games", default=24, show_default=True, help="Held-out games.")
@click.option("--seeds", default=3, show_default=True, help="Of training, and of the samples.")
@click.option("--goals", default=180, show_default=True, help="Goals at run time; 0: none.")
@click.option("--arms", default=",".join(ARMS), show_default=True)
def main(out: Path, games: int, seeds: int, goals: int, arms: str) -> None:
    """Learn what the arms need, play what is missing, then print what they show together."""
    names = arms.split(",")
    for name in names:
        if name not in ARMS:
            raise PgvError(f"There is no arm '{name}'; the arms are {', '.join(ARMS)}.")
    keep_compiled()
    check_local()
    played: dict[str, list[Episode]] = {name: [] for name in names}
    pursued: dict[str, list[Episode]] = {name: [] for name in GOAL_ARMS if name in names and goals}
    for seed in range(seeds):
        console.print(f"seed {seed}")
        run = LocalRun(out / f"seed-{seed}", seed, bar)
        needed = {name if name in CRITICS else "critic" for name in names}
        needed |= {BASE} if "lookahead" in names else set()
        for name in sorted(needed):
            run.learn(name, run.prepared(name)).flush()
        if "lookahead" in names:
            run.look_ahead()
        for name in names:
            played[name] += run.play(name, games)
        _show(games_table, played)
        for name in pursued:
            pursued[name] += run.play(name, games, goals)
        if pursued:
            _show(goals_table, pursued)


if __name__ == "__main__":
    begin(main)
