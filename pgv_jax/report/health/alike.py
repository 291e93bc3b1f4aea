"""Does the order of thoughts depend on the state? A critic that ranks alike everywhere cannot plan.

A critic that adds up what it thinks of the state and of the thought (a linear probe does) may tell
later success from failure well, and yet prefers the same thought in every state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pgv_jax.report.health.sections import not_testable
from pgv_jax.report.rows import Rows, Scorer, q_success

STATES, THOUGHTS = 16, 12
"""Held-out states, of as many tasks as possible, and the thoughts that are valued in each."""
LEAST = 5
ALIKE = 0.95
"""Agreement from which on a critic is said to rank alike everywhere; chance gives about .6."""


def order_agreement(q_SN: np.ndarray) -> float:
    """Mean over pairs of thoughts of the larger share of states that prefer one of the two.

    1: each pair has the same order in all S states. An equal value is half a vote for each.
    """
    first, second = np.triu_indices(q_SN.shape[1], 1)
    share_P = ((np.sign(q_SN[:, first] - q_SN[:, second]) + 1) / 2).mean(0)
    return float(np.maximum(share_P, 1 - share_P).mean())


def in_turns(task_ids: Sequence[str], seed: int) -> list[int]:
    """The places 0 .. B - 1 in random order, one of each task before the second of any."""
    met: Counter[str] = Counter()
    turns = []  # (how many of its task came before it, place)
    for place in np.random.default_rng(seed).permutation(len(task_ids)):
        turns.append((met[task_ids[place]], int(place)))
        met[task_ids[place]] += 1
    return [place for _, place in sorted(turns, key=lambda turn: turn[0])]


def grid(rows: Rows, seed: int) -> tuple[Rows, int]:
    """N logged thoughts in each of S logged states, state by state, and N.

    The states are of as many tasks as possible; the rows keep a state's outcome, which is not that
    of another thought.
    """
    order = in_turns(rows.task_ids, seed)
    states: dict[tuple[str, str], int] = {}
    for row in order:
        states.setdefault((rows.tasks[row], rows.observations[row]), row)
    thoughts = list(dict.fromkeys(rows.thoughts[i] for i in order))[:THOUGHTS]
    chosen = np.asarray(list(states.values())[:STATES], np.int64)
    repeated = rows.take(np.repeat(chosen, len(thoughts)))
    return replace(repeated, thoughts=thoughts * len(chosen)), len(thoughts)


def alike(scorer: Scorer, rows: Rows, seed: int) -> dict[str, Any]:
    """The section: logged thoughts of held-out states, each valued in all of these states.

    ``agreement`` is ``order_agreement`` of Q of success, ``alike``: it is ``ALIKE`` or more.
    """
    asked, thoughts = grid(rows, seed)
    states = len(asked) // max(thoughts, 1)
    if states < LEAST or thoughts < LEAST:
        return not_testable(
            f"{states} states with {thoughts} thoughts; at least {LEAST} are needed"
        )
    agreement = order_agreement(q_success(scorer, asked).reshape(states, thoughts))
    return {
        "testable": True,
        "states": states,
        "thoughts": thoughts,
        "agreement": round(agreement, 4),
        "alike": agreement >= ALIKE,
    }
