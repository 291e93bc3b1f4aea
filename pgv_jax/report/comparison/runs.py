"""Runs side by side: success and score with intervals, paired tests, and what a success costs.

A run is Episodes JSONL, a file or a folder of shards. Where a task was tried more than once in a
run (``metadata["attempt"]``), three columns are told apart: the first try, the try that the agent
itself would hand in (``metadata["self_score"]``), and the best by the true outcome. The last is a
bound that uses knowledge no agent has.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.report.comparison.arms import Key, game_of, pair_keys
from pgv_jax.report.stats import (
    cluster_share,
    paired_difference,
    rounded,
    sign_test,
)
from pgv_jax.report.wording import interval, number, p_value, percent, percent_interval
from pgv_jax.types import Episode

Runs = dict[str, list[Episode]]


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> Runs:
    """Name -> episodes: the file's or folder's name, with the arm where a run has several.

    A folder's ``*.jsonl`` are shards of one run and are merged; an episode that two of them hold
    must be the same in both. A path that is given twice counts once: ``runs/react runs/*``.
    """
    runs: Runs = {}
    paths = _once(paths)
    for path in paths:
        by_arm: dict[str, list[Episode]] = {}
        for episode in read_run(path):
            by_arm.setdefault(str(episode.metadata.get("arm", "")), []).append(episode)
        name = path.name if path.is_dir() else path.stem
        for arm, episodes in by_arm.items():
            full = f"{name}/{arm}" if len(by_arm) > 1 else name
            if len(paths) == 1 and len(by_arm) > 1:
                full = arm
            if full in runs:
                raise PgvError(f"Two runs are named '{full}'; rename one of the files.")
            runs[full] = episodes
    return runs


def _once(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        found.setdefault(path.resolve(), path)
    return list(found.values())


def unfinished(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """A sentence for each rollout folder that does not hold all its episodes (yet)."""
    found = []
    for path in _once(paths):
        records = [_record(file) for file in sorted(path.glob("run*.json"))]
        if not records:
            continue
        shards = max(int((record.get("shard") or [0, 1])[1]) for record in records)
        if len(records) < shards:
            found.append(f"{path} holds {len(records)} of {shards} shards.")
        for record in records:
            state = record.get("state")
            if state not in (None, "finished"):
                done, asked = record.get("finished", "?"), record.get("episodes", "?")
                why = f": {record['reason']}" if record.get("reason") else "."
                found.append(f"{path} holds {done} of {asked} episodes and is {state}{why}")
    return found


def compare(runs: Mapping[str, Sequence[Episode]], reference: str | None = None) -> dict[str, Any]:
    """The comparison as JSON values; every run is paired with ``reference`` (default: the first).

    A run: ``first_try``, ``self_selected`` and ``oracle`` (None where nothing was tried twice) =
    {success, ci95 (over tasks), score, score_ci95}; ``costs`` =
    {per_decision, per_success} of tokens, dollars, seconds; ``minus`` = {pairs, success, ci95,
    sign_test, score, score_ci95}, first tries against the reference's on the same tasks and seeds.
    """
    runs = {name: list(episodes) for name, episodes in runs.items() if episodes}
    if not runs:
        raise PgvError("There are no episodes to compare; give files or folders of a rollout.")
    reference = next(iter(runs)) if reference is None else reference
    if reference not in runs:
        raise PgvError(f"Run '{reference}' is not among those given: {', '.join(runs)}.")
    first = {name: _tries(episodes)["first_try"] or [] for name, episodes in runs.items()}
    return {
        "reference": reference,
        "tasks_in_common": len(
            set.intersection(*({e.task_id for e in episodes} for episodes in runs.values()))
        ),
        "runs": {
            name: _run(episodes)
            | {"minus": None if name == reference else _minus(first[name], first[reference])}
            for name, episodes in runs.items()
        },
    }


def compare_table(comparison: Mapping[str, Any]) -> Group:
    """The comparison for the terminal: results with intervals, then costs."""
    runs, reference = comparison["runs"], comparison["reference"]
    tried = any(run["oracle"] for run in runs.values())
    title = f"{comparison['tasks_in_common']} tasks in common; pairs against {reference}"
    results = [column for column in RESULTS if tried or not column.of_tries]
    notes = [
        f"{name}: {run['unknown']} episodes of unknown outcome count as failures."
        for name, run in runs.items()
        if run["unknown"]
    ]
    tables = (_table(title, results, runs), _table("What it costs", COSTS, runs))
    return Group(*tables, *(Text(note) for note in notes))


def _table(
    title: str, columns: Sequence[TableColumn], runs: Mapping[str, Mapping[str, Any]]
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("Run")
    for column in columns:
        table.add_column(column.heading, justify="right")
    for name, run in runs.items():
        table.add_row(name, *(column.cell(run) for column in columns))
    return table


def _success(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    return f"{percent(result['success'])} {percent_interval(result['ci95'])}"


def _score(result: Mapping[str, Any]) -> str:
    if result["score"] is None:
        return number(None)
    return f"{number(result['score'])} {interval(result['score_ci95'])}"


def _pairs(run: Mapping[str, Any]) -> str:
    return "" if run["minus"] is None else str(run["minus"]["pairs"])


def _difference(run: Mapping[str, Any]) -> str:
    minus = run["minus"] or {"pairs": 0}
    if not minus["pairs"]:
        return ""
    return f"{percent(minus['success'], sign=True)} {percent_interval(minus['ci95'], sign=True)}"


def _sign_test(run: Mapping[str, Any]) -> str:
    minus = run["minus"] or {"pairs": 0}
    return p_value(minus["sign_test"]["p"]) if minus["pairs"] else ""


def _refined(run: Mapping[str, Any]) -> str:
    outcomes = run["refinements"]
    counts = [outcomes.get(key, 0) for key in ("rewritten", "kept", "fallback")]
    return ", ".join(map(str, counts)) if outcomes else ""


class TableColumn(NamedTuple):
    """A column of the terminal's tables: its heading, and a run's cell in it.

    ``of_tries``: it is shown where a task was tried more than once in some run.
    """

    heading: str
    cell: Callable[[Mapping[str, Any]], str]
    of_tries: bool = False


RESULTS = (
    TableColumn("Episodes", lambda run: str(run["first_try"]["episodes"])),
    TableColumn("Success", lambda run: _success(run["first_try"])),
    TableColumn("Score", lambda run: _score(run["first_try"])),
    TableColumn("Self-selected", lambda run: _success(run["self_selected"]), of_tries=True),
    TableColumn("Oracle (bound)", lambda run: _success(run["oracle"]), of_tries=True),
    TableColumn("Pairs", _pairs),
    TableColumn("Difference", _difference),
    TableColumn("Sign test", _sign_test),
)
COSTS = (
    TableColumn("Tokens a decision", lambda run: number(run["costs"]["per_decision"]["tokens"], 0)),
    TableColumn("$ a decision", lambda run: number(run["costs"]["per_decision"]["dollars"], 4)),
    TableColumn("Seconds a decision", lambda run: number(run["costs"]["per_decision"]["seconds"])),
    TableColumn("Tokens a success", lambda run: number(run["costs"]["per_success"]["tokens"], 0)),
    TableColumn("$ a success", lambda run: number(run["costs"]["per_success"]["dollars"], 4)),
    TableColumn("Seconds a success", lambda run: number(run["costs"]["per_success"]["seconds"])),
    TableColumn("Refined, kept, fell back", _refined),
)


def read_run(path: Path) -> list[Episode]:
    """The episodes of one run, Episodes JSONL or a folder whose ``*.jsonl`` are its shards."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise PgvError(f"{path} is no run: neither Episodes JSONL nor a folder of *.jsonl files.")
    found: dict[str, Episode] = {}
    for file in files:
        for episode in read_jsonl(file):
            known = found.setdefault(episode.episode_id, episode)
            if known != episode:
                raise PgvError(
                    f"{file}: episode '{episode.episode_id}' differs from the one of that name in "
                    f"another file of {path}; shards of different runs do not mix."
                )
    return list(found.values())


def _record(path: Path) -> dict[str, Any]:
    """What a rollout says of itself; nothing where it cannot be read."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _tries(episodes: Sequence[Episode]) -> dict[str, list[Episode] | None]:
    """One episode of each (task, goal, seed): the first, the self-selected and the best one."""
    groups: dict[Key, list[Episode]] = {}
    for episode in sorted(episodes, key=lambda e: int(e.metadata.get("attempt", 0))):
        tried = "attempt" in episode.metadata
        key: Key = tuple(
            (
                episode.task_id,
                str(episode.metadata.get("goal", "")),
                str(episode.metadata.get("seed", "")),
                "" if tried else episode.episode_id,
            )
        )
        groups.setdefault(key, []).append(episode)
    first = [group[0] for group in groups.values()]
    if all(len(group) == 1 for group in groups.values()):
        return {"first_try": first, "self_selected": None, "oracle": None}
    judged = all("self_score" in e.metadata for g in groups.values() if len(g) > 1 for e in g)
    own = [
        group[0] if len(group) == 1 else max(group, key=lambda e: float(e.metadata["self_score"]))
        for group in (groups.values() if judged else ())
    ]
    best = [
        max(group, key=lambda e: (e.success is True, e.score or 0.0)) for group in groups.values()
    ]
    return {"first_try": first, "self_selected": own or None, "oracle": best}


def _run(episodes: Sequence[Episode]) -> dict[str, Any]:
    tries = _tries(episodes)
    return {
        **{name: None if tried is None else _result(tried) for name, tried in tries.items()},
        "tasks": len({episode.task_id for episode in episodes}),
        "episodes": len(episodes),
        "unknown": sum(episode.success is None for episode in episodes),
        "mean_steps": rounded(float(np.mean([len(episode.steps) for episode in episodes])), 3),
        "costs": _costs(tries["first_try"] or []),
        "refinements": dict(_refinements(episodes)),
    }


def _result(episodes: Sequence[Episode]) -> dict[str, Any]:
    clusters = [game_of(episode) for episode in episodes]
    won = [bool(episode.success) for episode in episodes]
    scored = [(e.score, c) for e, c in zip(episodes, clusters, strict=True) if e.score is not None]
    score = cluster_share([s for s, _ in scored], [c for _, c in scored]) if scored else None
    return {
        **cluster_share(won, clusters).as_json("success"),
        "score": None if score is None else rounded(score.value),
        "score_ci95": None if score is None else [rounded(score.low), rounded(score.high)],
        "episodes": len(episodes),
    }


def _minus(episodes: Sequence[Episode], others: Sequence[Episode]) -> dict[str, Any]:
    twins = dict(zip(pair_keys(others), others, strict=True))
    pairs = [
        (e, twins[key])
        for key, e in zip(pair_keys(episodes), episodes, strict=True)
        if key in twins
    ]
    if not pairs:
        return {"pairs": 0}
    clusters = [game_of(episode) for episode, _ in pairs]
    a, b = [bool(e.success) for e, _ in pairs], [bool(twin.success) for _, twin in pairs]
    result = {
        "pairs": len(pairs),
        **paired_difference(a, b, clusters).as_json("success"),
        "sign_test": sign_test(a, b, clusters).as_json(),
    }
    scored = [
        (e.score, twin.score, c)
        for (e, twin), c in zip(pairs, clusters, strict=True)
        if e.score is not None and twin.score is not None
    ]
    if scored:
        ours, theirs, of = zip(*scored, strict=True)
        score = paired_difference(ours, theirs, of)
        result["score"] = rounded(score.value)
        result["score_ci95"] = [rounded(score.low), rounded(score.high)]
    return result


def _costs(episodes: Sequence[Episode]) -> dict[str, dict[str, float | None]]:
    """Tokens, dollars and seconds over decisions and over successes; None where not recorded.

    A step's own ``seconds`` are preferred to the episode's, which hold the environment's too.
    """
    steps = [step for episode in episodes for step in episode.steps]
    totals: dict[str, float | None] = {
        "tokens": _total(steps, ("prompt_tokens", "completion_tokens")),
        "dollars": _total(steps, ("dollars",)),
        "seconds": _total(steps, ("seconds",)),
    }
    if totals["seconds"] is None:
        totals["seconds"] = _total(episodes, ("seconds",))
    counts = {
        "per_decision": len(steps),
        "per_success": sum(bool(episode.success) for episode in episodes),
    }
    return {
        what: {
            name: rounded(total / count) if total is not None and count else None
            for name, total in totals.items()
        }
        for what, count in counts.items()
    }


def _total(records: Sequence[Any], names: Sequence[str]) -> float | None:
    known = [
        float(record.metadata[name])
        for record in records
        for name in names
        if isinstance(record.metadata.get(name), int | float)
    ]
    return sum(known) if known else None


def _refinements(episodes: Sequence[Episode]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for episode in episodes:
        for step in episode.steps:
            refinement = step.metadata.get("refinement")
            if isinstance(refinement, Mapping) and "outcome" in refinement:
                outcomes[str(refinement["outcome"])] += 1
    return outcomes
