"""Would more data help? The same critic trained on a part of the training tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pgv_jax.report.health.ranking import AT_STEPS, auc_at_steps
from pgv_jax.report.health.sections import CRITIC, OUTCOMES, Thresholds, few
from pgv_jax.report.rows import Scorer, q_success, step_rows
from pgv_jax.texts.templates import History
from pgv_jax.types import Episode

SHARES = (0.1, 0.3)
"""Shares of the training tasks beside the whole."""


def tasks_of_share(episodes: Sequence[Episode], share: float) -> list[Episode]:
    """The episodes of a share of the tasks, at least one; a larger share holds the smaller."""
    tasks = {e.task_id for e in episodes}
    ranked = sorted(tasks, key=lambda task_id: hashlib.sha256(task_id.encode()).digest())
    kept = set(ranked[: max(1, round(share * len(ranked)))])
    return [e for e in episodes if e.task_id in kept]


def curve(
    judged: Sequence[Episode],
    scorer: Scorer,
    train: Sequence[Episode],
    smaller: Mapping[float, tuple[Scorer, Sequence[Episode]]],
    *,
    history: History = 0,
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """AUC at fixed steps by the share of training tasks: the section ``curve`` of a report.

    ``smaller`` maps a share to the critic trained on it and its training episodes; each point says
    how far the whole critic is above it (``critic_minus``).
    """
    needs = thresholds or Thresholds()
    rows = step_rows(judged, history)
    critics = {f"{share:g}": critic for share, (critic, _) in sorted(smaller.items())}
    scores = {name: q_success(critic, rows) for name, critic in critics.items()}
    scores[CRITIC] = q_success(scorer, rows)
    section = few(len(set(rows.task_ids)), OUTCOMES, needs) or auc_at_steps(
        rows, scores, AT_STEPS, needs
    )
    if not section["testable"]:
        return section
    parts = {share: part for share, (_, part) in sorted(smaller.items())} | {1.0: train}
    points = []
    for share, part in parts.items():
        found = section["scorers"][CRITIC if share == 1.0 else f"{share:g}"]
        points.append(
            {
                "share": share,
                "tasks": len({e.task_id for e in part}),
                "episodes": len(part),
                "auc": found["mean"],
                "ci95": found["ci95"],
                "critic_minus": found["critic_minus"],
            }
        )
    return {"testable": True, "points": points}
