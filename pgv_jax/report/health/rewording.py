"""Does the choice hang on how candidates are worded? The same ones, said in other words.

A critic reads texts. Where it prefers another candidate once all of them are put into another
neutral frame, its choice is one of wording, and a model that words its steps unlike the logs will
be guided by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pgv_jax.report.health.alike import in_turns
from pgv_jax.report.health.choices import (
    DECISIONS,
    NO_CHOICE,
    best_differs,
    difference,
    logged_decisions,
)
from pgv_jax.report.health.sections import finite, not_testable
from pgv_jax.report.rows import Rows, Scorer, q_success
from pgv_jax.texts.templates import History
from pgv_jax.types import Episode

ENDS = (".", "!", "?")


def _before(text: str) -> str:
    return f"My next step: {text}"


def _after(text: str) -> str:
    return f"{text}{'' if text.endswith(ENDS) else '.'} That is my next step."


def _first_person(text: str) -> str:
    """A command becomes a sentence; to anything longer, "I think" is put before it."""
    command = text[:1].islower() and not text.endswith(ENDS) and "\n" not in text
    return f"I {text}." if command else f"I think: {text}"


FRAMES: Mapping[str, Callable[[str], str]] = {
    "before": _before,
    "after": _after,
    "first person": _first_person,
}
"""Frames that leave what is said as it is. An empty text stays empty."""


def rewording(
    scorer: Scorer,
    episodes: Sequence[Episode],
    logged: Rows,
    history: History = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """The section: the share of decisions in which a frame of ``FRAMES`` changes the best thought.

    All candidates of a decision stand in the same frame. ``any`` counts decisions that at least one
    frame changes. Decisions are ``DECISIONS`` at most of ``logged_decisions``; intervals are over
    tasks. Ties share the best.
    """
    found = logged_decisions(episodes, logged, history, seed)
    if found is None:
        return not_testable(NO_CHOICE)
    rows, start, among = found
    rows, start = _some(rows, start, seed)
    task_ids = [rows.task_ids[i] for i in start[:-1]]
    q_B = finite("critic", q_success(scorer, rows))
    changed = {}
    for name, frame in FRAMES.items():
        asked = replace(rows, thoughts=[frame(text) if text else text for text in rows.thoughts])
        changed[name] = best_differs(q_B, finite("critic", q_success(scorer, asked)), start)
    return {
        "testable": True,
        "decisions": len(task_ids),
        "among": among,
        "any": difference(np.logical_or.reduce(list(changed.values())), task_ids),
        "frames": {name: difference(differ, task_ids) for name, differ in changed.items()},
    }


def _some(rows: Rows, start: np.ndarray, seed: int) -> tuple[Rows, np.ndarray]:
    """At most ``DECISIONS`` decisions, of tasks that take turns."""
    task_ids = [rows.task_ids[i] for i in start[:-1]]
    kept = sorted(in_turns(task_ids, seed)[:DECISIONS])
    parts = [np.arange(start[i], start[i + 1]) for i in kept]
    sizes = [len(part) for part in parts]
    return rows.take(np.concatenate(parts)), np.cumsum([0, *sizes])
