"""The table of ``objectives.py``: what the finished cells show together, and a JSON line of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.report.comparison.arms import arms_summary, pair_keys
from pgv_jax.report.comparison.attempts import tries_summary
from pgv_jax.report.stats import cluster_share, paired_difference
from pgv_jax.types import Episode

OFFLINE = ("auc", "top1", "brier", "ece")
SEARCHES = ("search-gc_iql", "search-lookahead")


def tell(folders: Mapping[str, Path], cells: Sequence[str], seeds: int) -> None:
    """Print each task's table and one JSON line with all figures."""
    everything = {}
    for task, folder in folders.items():
        played, figures = _finished(folder, cells, seeds)
        everything[task] = _told(task, folder, played, figures, seeds)
    print(json.dumps(everything))


Played = dict[str, list[Episode]]
Figures = dict[str, list[dict[str, Any]]]


def _finished(folder: Path, cells: Sequence[str], seeds: int) -> tuple[Played, Figures]:
    """Episodes and figures of the cells that are done, by method over the seeds."""
    played: Played = {}
    figures: Figures = {}
    for seed in range(seeds):
        for name in cells:
            path = folder / f"seed-{seed}" / f"{name}.cell.json"
            if path.exists():
                figures.setdefault(name, []).append(json.loads(path.read_text("utf-8")))
                episodes = read_jsonl(path.with_name(f"{name}.jsonl"))
                played.setdefault(name, []).extend(episodes)
    return played, figures


def _told(task: str, folder: Path, played: Played, figures: Figures, seeds: int) -> dict[str, Any]:
    arms = arms_summary({name: e for name, e in played.items() if name not in SEARCHES})
    used = _used(folder, seeds)
    print(f"\n{task}: {max(map(len, figures.values()), default=0)} seeds")
    columns = ("method", "seeds", "success [95 %]", "score", "AUC", "top-1", "Brier", "ECE")
    print(f"| {' | '.join((*columns, 'decisions/s', 'steps'))} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, arm in arms.items():
        arm |= {"score": _score(played[name]), "offline": _means(figures[name])}
        low, high = arm["ci95"]
        row = [str(len(figures[name]))]
        row += [f"{arm['success']:.0%} [{low:.0%}, {high:.0%}]", f"{arm['score']['score']:.2f}"]
        for key in OFFLINE:
            mean, sd = arm["offline"].get(key, (None, None))
            row.append("" if mean is None else f"{mean:.2f} ± {sd:.2f}")
        rate = arm["offline"].get("decisions_s", (None,))[0]
        row += ["" if rate is None else f"{rate:.0f}", f"{arm['mean_steps']:.1f}"]
        print(f"| {name} | {' | '.join(row)} |")
    told = {name: _search(played[name]) for name in SEARCHES if name in played}
    for name, search in told.items():
        words = [
            f"{pick} {search[pick]['success']:.0%} [{search[pick]['ci95'][0]:.0%}, "
            f"{search[pick]['ci95'][1]:.0%}]"
            for pick in ("first_try", "self_selected", "oracle")
        ]
        spent = f"{search['expansions']:.0f} expansions, {search['env_steps']:.0f} steps a decision"
        print(f"\n{name} ({search['tries']} tries): {', '.join(words)}; {spent}")
    gain = None
    if set(SEARCHES) <= set(played):
        gain = _gain(played[SEARCHES[1]], played[SEARCHES[0]])
        low, high = gain["ci95"]
        less = f"{gain['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
        print(f"first try, lookahead less its base: {less}")
    print(f"learned from: {used}")
    seconds = {name: [cell["cpu_seconds"] for cell in cells] for name, cells in figures.items()}
    return {"arms": arms, "search": told, "gain": gain, "used": used, "cpu_seconds": seconds}


def _score(episodes: Sequence[Episode]) -> dict[str, Any]:
    """The mean score; success where a task has none."""
    scores = [float(bool(e.success)) if e.score is None else e.score for e in episodes]
    return cluster_share(scores, [e.task_id for e in episodes]).as_json("score")


def _means(figures: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the seeds of what they all have."""
    kept = {}
    for key in (*OFFLINE, "decisions_s"):
        values = [f[key] for f in figures if f.get(key) is not None]
        if values:
            kept[key] = (float(np.mean(values)), float(np.std(values)))
    return kept


def _search(episodes: Sequence[Episode]) -> dict[str, Any]:
    spent = [step.metadata for e in episodes for step in e.steps]
    means = {key: float(np.mean([m[key] for m in spent])) for key in ("expansions", "env_steps")}
    return {**tries_summary(episodes), **means}


def _gain(a: Sequence[Episode], b: Sequence[Episode]) -> dict[str, Any]:
    """First tries of two searches, paired by task and seed."""
    a, b = ([e for e in played if not e.metadata["try"]] for played in (a, b))
    twins = dict(zip(pair_keys(b), b, strict=True))
    pairs = [(e, twins[key]) for key, e in zip(pair_keys(a), a, strict=True) if key in twins]
    ours, theirs = (np.array([bool(e.success) for e in side]) for side in zip(*pairs, strict=True))
    return paired_difference(ours, theirs, [e.task_id for e, _ in pairs]).as_json("difference")


def _used(folder: Path, seeds: int) -> dict[str, float]:
    """Environment steps that were learned from, and what lookahead's own search took a seed."""
    used: dict[str, float] = {}
    if (folder / "dataset").exists():
        logs = list(read_episodes(folder / "dataset", "train"))
        used = {"logged_episodes": len(logs), "logged_steps": sum(len(e.steps) for e in logs)}
    paths = [folder / f"seed-{seed}" / "searched.jsonl" for seed in range(seeds)]
    searched = [[s.metadata for e in read_jsonl(p) for s in e.steps] for p in paths if p.exists()]
    for key, extra in (("env_steps", 1), ("expansions", 0)):
        if searched:
            used[f"search_{key}"] = float(
                np.mean([sum(m[key] + extra for m in s) for s in searched])
            )
    return used
