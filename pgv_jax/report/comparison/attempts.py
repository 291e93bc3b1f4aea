"""Several tries at a task: what the first achieved, the self-selected one, and the best in truth.

The three are told apart always: a method that picks the best of its tries by the true outcome
reports an oracle, and not itself (Mendes & Ritter 2025 pick the best of three so).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.report.stats import cluster_share
from pgv_jax.types import Episode

SELF_VALUE = "self_value"
"""The step's metadata that holds the value which the search itself found."""


def tries_summary(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Success of the first try, the self-selected try and the oracle's, with intervals over tasks.

    Tries are episodes that share (task, ``metadata["group"]``), in the order of
    ``metadata["try"]``. The self-selected try has the highest ``self_value`` at its last decision;
    of equals the first. ``{"groups", "tries", "first_try", "self_selected", "oracle"}``, each of
    the last three ``{"success", "ci95"}``; empty without episodes.
    """
    groups: dict[Hashable, list[Episode]] = {}
    for episode in episodes:
        key = (episode.task_id, episode.metadata.get("group"))
        groups.setdefault(key, []).append(episode)
    if not groups:
        return {}
    ordered = [sorted(group, key=_number) for group in groups.values()]
    tasks = [group[0].task_id for group in ordered]
    picks = {
        "first_try": [_won(group[0]) for group in ordered],
        "self_selected": [_won(max(group, key=_self_value)) for group in ordered],
        "oracle": [max(map(_won, group)) for group in ordered],
    }
    told: dict[str, Any] = {"groups": len(ordered), "tries": max(map(len, ordered))}
    for name, won in picks.items():
        told[name] = cluster_share(won, tasks).as_json("success")
    return told


def _number(episode: Episode) -> int:
    return int(episode.metadata.get("try", 0))


def _won(episode: Episode) -> float:
    return float(episode.success is True)


def _self_value(episode: Episode) -> float:
    value = episode.steps[-1].metadata.get(SELF_VALUE) if episode.steps else None
    if value is None:
        raise PgvError(
            f"Episode '{episode.episode_id}' has no {SELF_VALUE} at its last step, so no try can "
            "be selected by it; only the search strategies record it."
        )
    return float(value)
