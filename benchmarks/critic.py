"""What the critic that imagines adds: held-out games, with and without reasons in the thoughts.

    python benchmarks/critic.py --out runs/critic [--seeds 3] [--first 1] [--thoughts plain]

A cell is (thoughts, seed): games are generated, episodes collected, critics trained, and held-out
games played by every arm, as the quickstart does it. Finished cells and stages are kept, so the
command continues where it was. Prints JSON lines, then one Markdown table for each kind of
thoughts; intervals are 95 %, over games of all seeds (``report/stats.py``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from entry import begin

from pgv_jax.cli.console import bar, console
from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.report.comparison.arms import arms_summary, goals_summary
from pgv_jax.report.stats import cluster_share
from pgv_jax.report.wording import MISSING
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode
from pgv_jax.workflows.scripted import Run, Size, guide, learn, play, pursue_goals, store
from pgv_jax.workflows.training import prepare

Decisions = dict[str, list[tuple[str, float]]]
"""By critic: (game, was a right command first?) of each held-out decision."""


def decisions(episodes: Iterable[Episode], critics: Mapping[str, ValueFunction]) -> Decisions:
    """Rank the logged candidates of each decision where some are right and some are not."""
    found: Decisions = {name: [] for name in critics}
    for episode in episodes:
        for step in episode.steps:
            right = [bool(candidate.correct) for candidate in step.candidates]
            if len(set(right)) < 2:
                continue
            thoughts = [candidate.thought for candidate in step.candidates]
            for name, critic in critics.items():
                best = int(critic.q(episode.task, step.observation, thoughts, [SUCCESS]).argmax())
                found[name].append((episode.task_id, float(right[best])))
    return found


def cell(out: Path, seed: int, reasons: bool) -> dict[str, Any]:
    """One cell's figures; its episodes stay beside them."""
    done = out / "cell.json"
    if done.exists():
        told: dict[str, Any] = json.loads(done.read_text("utf-8"))
        return told
    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, seed, Size(), reasons, bar)
    began = time.perf_counter()
    play(run)
    if not (out / "dataset").exists():
        store(run)
    prepared = prepare(run.config("critic"), out / "tables", bar)
    critics = learn(run, prepared)
    ranked = decisions(read_episodes(out / "dataset", "test"), critics)
    for share in run.size.shares:
        guide(run, critics, share)
    pursue_goals(run, critics)
    for critic in critics.values():
        critic.flush()
    told = {
        "decisions": ranked,
        "metrics": critics["critic"].manifest["metrics"],
        "parts": prepared.train.manifest["parts"],
        "seconds": round(time.perf_counter() - began, 1),
    }
    done.write_text(json.dumps(told) + "\n", "utf-8")
    return told


def pooled(folders: Iterable[Path], file: str) -> dict[str, list[Episode]]:
    """Every cell's episodes of one file, by arm; games of different seeds are different."""
    arms: dict[str, list[Episode]] = {}
    for folder in folders:
        for episode in read_jsonl(folder / file):
            arms.setdefault(str(episode.metadata["arm"]), []).append(episode)
    return arms


def interval(value: float, ci95: list[float]) -> str:
    """``.91 [.88, .94]``"""
    low, high = ci95
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def table(folders: list[Path], cells: list[dict[str, Any]]) -> list[str]:
    """The Markdown table of one kind of thoughts."""
    shares = {
        share: arms_summary(pooled(folders, f"arms-{share}.jsonl")) for share in Size().shares
    }
    first, second = shares.values()
    lines = ["| who chooses | top-1 | p = .9 | p = .5 |", "|---|---|---|---|"]
    for name in first:
        top1 = MISSING
        if name in cells[0]["decisions"]:
            rows = [
                (f"{i} {game}", right)
                for i, told in enumerate(cells)
                for game, right in told["decisions"][name]
            ]
            games, right = zip(*rows, strict=True)
            top1 = interval(*_value(cluster_share(np.asarray(right), games)))
        said = [interval(arms[name]["success"], arms[name]["ci95"]) for arms in (first, second)]
        lines.append(f"| {name} | {top1} | {said[0]} | {said[1]} |")
    goals = goals_summary(pooled(folders, "goals.jsonl"))
    kinds = goals["kinds"]
    lines += [
        "",
        f"| asked for a goal | all | {' | '.join(kinds)} |",
        "|---" * (2 + len(kinds)) + "|",
    ]
    for name, arm in goals["arms"].items():
        each = [f"{kinds[kind]['arms'][name]['reached']:.2f}" for kind in kinds]
        lines.append(f"| {name} | {interval(arm['reached'], arm['ci95'])} | {' | '.join(each)} |")
    for share, arms in shares.items():
        for other, minus in arms["critic"]["minus"].items():
            lines.append(f"critic minus {other}, p = {share}: {json.dumps(minus)}")
    for other, minus in goals["arms"]["critic"].get("minus", {}).items():
        lines.append(f"critic minus {other}, goals: {json.dumps(minus)}")
    return lines


def _value(found: Any) -> tuple[float, list[float]]:
    return found.value, [found.low, found.high]


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--first", default=1, show_default=True, help="The first seed.")
@click.option("--out", default="runs/critic", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--thoughts",
    "kinds",
    multiple=True,
    type=click.Choice(["plain", "reasons"]),
    default=["plain", "reasons"],
    show_default=True,
)
def main(seeds: int, first: int, out: Path, kinds: tuple[str, ...]) -> None:
    """Run the cells that are not finished, then print what they show together."""
    keep_compiled()
    for kind in kinds:
        folders = [out / f"{kind}-{seed}" for seed in range(first, first + seeds)]
        cells = []
        for seed, folder in zip(range(first, first + seeds), folders, strict=True):
            console.print(f"{kind}, seed {seed}")
            cells.append(cell(folder, seed, kind == "reasons"))
            shown = {name: cells[-1][name] for name in ("metrics", "parts", "seconds")}
            tops = {n: np.mean([r for _, r in rows]) for n, rows in cells[-1]["decisions"].items()}
            print(json.dumps({"cell": folder.name, "top1": tops, **shown}), flush=True)
        print("\n".join([f"\n{kind}", *table(folders, cells)]), flush=True)


if __name__ == "__main__":
    begin(main)
