"""What each arm of an experiment achieved, and what it gained over the others, pair by pair.

Arms play the same games from the same seeds with the same proposals, so they are compared within
(game, goal, seed); games are the clusters of every interval and test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pgv_jax.report.columns import COLUMNS
from pgv_jax.report.stats import (
    cluster_share,
    paired_difference,
    paired_ratio,
    rounded,
    sign_test,
)
from pgv_jax.types import Episode

REFERENCES = tuple(column.name for column in COLUMNS if column.reference)
"""Arms that every other arm is compared with, where they were played."""

Key = tuple[Hashable, ...]


def arms_summary(
    episodes_by_arm: Mapping[str, Sequence[Episode]], references: Sequence[str] = REFERENCES
) -> dict[str, dict[str, Any]]:
    """Success of each arm with intervals, mean steps, and paired tests against ``references``.

    An arm: ``success``, ``ci95`` (over games), ``episodes``, ``games``, ``unknown`` (outcome not
    known: counted as failures), ``mean_steps``, ``minus`` = {reference: {difference, ci95, pairs,
    sign_test}}.
    """
    arms = {name: list(episodes) for name, episodes in episodes_by_arm.items() if episodes}
    return {
        name: {
            **_success(episodes, "success"),
            "minus": _minus(name, arms, references),
        }
        for name, episodes in arms.items()
    }


def goals_summary(
    episodes_by_arm: Mapping[str, Sequence[Episode]], references: Sequence[str] = REFERENCES
) -> dict[str, Any]:
    """Goals asked at run time: the share reached by arm, overall and by ``metadata["goal_kind"]``.

    ``{"goals", "games", "arms": {arm: {reached, ci95, ..., ratio_to_first, minus}},
    "kinds": {kind: {"goals", "arms": {arm: {reached, ci95, ...}}}}}``; empty without episodes.
    """
    arms = {name: list(episodes) for name, episodes in episodes_by_arm.items() if episodes}
    if not arms:
        return {}
    everything = [episode for episodes in arms.values() for episode in episodes]
    overall = {}
    for name, episodes in arms.items():
        overall[name] = {**_success(episodes, "reached"), "minus": _minus(name, arms, references)}
        if "first" in arms and name != "first":
            a, b, clusters = _pairs(episodes, arms["first"])
            ratio = paired_ratio(a, b, clusters)
            overall[name]["ratio_to_first"] = ratio.as_json("ratio")
    kinds = {}
    for kind in dict.fromkeys(_kind(episode) for episode in everything):
        of_kind = {
            name: [episode for episode in episodes if _kind(episode) == kind]
            for name, episodes in arms.items()
        }
        kinds[kind] = {
            "goals": _count_goals(e for episodes in of_kind.values() for e in episodes),
            "arms": {
                name: _success(episodes, "reached")
                for name, episodes in of_kind.items()
                if episodes
            },
        }
    return {
        "goals": _count_goals(everything),
        "games": len({game_of(episode) for episode in everything}),
        "arms": overall,
        "kinds": kinds,
    }


def game_of(episode: Episode) -> str:
    """The cluster of an episode: the game that it was played on, else its task."""
    return str(episode.metadata.get("game", episode.task_id))


def pair_keys(episodes: Iterable[Episode]) -> list[Key]:
    """What tells an episode's twin in another arm: (task, goal, seed), and the which-th of it."""
    seen: Counter[Key] = Counter()
    keys = []
    for episode in episodes:
        about = episode.metadata
        key: Key = (
            episode.task_id,
            str(about.get("goal", episode.task)),
            str(about.get("seed", "")),
        )
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def _success(episodes: Sequence[Episode], name: str) -> dict[str, Any]:
    won = np.array([bool(episode.success) for episode in episodes], np.float64)
    games = [game_of(episode) for episode in episodes]
    return {
        **cluster_share(won, games).as_json(name),
        "episodes": len(episodes),
        "games": len(set(games)),
        "unknown": sum(episode.success is None for episode in episodes),
        "mean_steps": rounded(float(np.mean([len(episode.steps) for episode in episodes])), 3),
    }


def _minus(
    name: str, arms: Mapping[str, Sequence[Episode]], references: Sequence[str]
) -> dict[str, Any]:
    compared = {}
    for reference in references:
        if reference == name or reference not in arms:
            continue
        a, b, clusters = _pairs(arms[name], arms[reference])
        if not len(a):
            continue
        compared[reference] = {
            **paired_difference(a, b, clusters).as_json("difference"),
            "pairs": len(a),
            "sign_test": sign_test(a, b, clusters).as_json(),
        }
    return compared


def _pairs(a: Sequence[Episode], b: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    twins = dict(zip(pair_keys(b), b, strict=True))
    pairs = [(e, twins[key]) for key, e in zip(pair_keys(a), a, strict=True) if key in twins]
    return (
        np.array([bool(e.success) for e, _ in pairs]),
        np.array([bool(twin.success) for _, twin in pairs]),
        [game_of(e) for e, _ in pairs],
    )


def _kind(episode: Episode) -> str:
    return str(episode.metadata.get("goal_kind", "other"))


def _count_goals(episodes: Iterable[Episode]) -> int:
    return len({(game_of(e), str(e.metadata.get("goal", e.task))) for e in episodes})
