"""The critic's numbers in words, and the controls that take its place: pure functions.

A control shows the model something of the same form that carries no (or other) knowledge; a
method that does not beat its controls has not used the critic.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

import numpy as np

from pgv_jax.agents.imagined_goals import Goal, read_object
from pgv_jax.errors import PgvError

NUMBERS = ("raw", "calibrated", "rank")
"""How a number is shown: 0.73, 73 % after calibration, or "most likely" .. "least likely"."""

SCORES = ("critic", "shuffled", "permuted", "constant", "none", "guess", "scalar")
"""Where the numbers come from; all but the first are controls.

shuffled: the critic's numbers for a thought drawn from those looked at in this episode, so that
they say nothing of this one; permuted: its numbers for this thought, dealt to the goals at random,
which of two leaves half in place; constant: 0.5 for all; none: goals without numbers; guess: the
model's own estimates; scalar: one number for success, no goals.
"""

Calibrate = Callable[[np.ndarray], np.ndarray]
"""Scores in [0, 1] of some goals -> their likelihoods, as fitted on held-out tasks."""


def deal(score_G: np.ndarray, source: str, seed: int) -> np.ndarray:
    """What ``source`` shows in place of the critic's ``score_G``; [G], NaN is shown as nothing."""
    score_G = np.asarray(score_G, np.float64)
    if source == "permuted":
        order = list(range(len(score_G)))
        random.Random(f"deal/{seed}").shuffle(order)
        return score_G[order]
    if source == "constant":
        return np.full_like(score_G, 0.5)
    if source == "none":
        return np.full_like(score_G, np.nan)
    return score_G


def in_words(
    goals: Sequence[Goal],
    shown_G: np.ndarray,
    numbers: str = "raw",
    calibrate: Calibrate | None = None,
) -> str:
    """The natural-language value: one line a goal, good ones and bad ones named as such."""
    marks = number_words(shown_G, numbers, calibrate)
    lines = []
    for goal, mark in zip(goals, marks, strict=True):
        side = "Good outcome" if goal.good else "Bad outcome"
        lines.append(f'- {side}: "{goal.text}"' + (f" {mark}" if mark else ""))
    return "\n".join(lines)


def number_words(
    shown_G: np.ndarray, numbers: str = "raw", calibrate: Calibrate | None = None
) -> list[str]:
    """One mark a number: "0.73", "73 %" or a rank word; "" for NaN."""
    shown_G = np.asarray(shown_G, np.float64)
    if numbers == "calibrated":
        if calibrate is None:
            raise PgvError(
                "Calibrated numbers need a calibration; fit one on held-out tasks or show raw "
                "numbers or ranks."
            )
        known_G = np.where(np.isnan(shown_G), 0.0, shown_G)
        percent_G = 100 * np.clip(np.asarray(calibrate(known_G), np.float64), 0.0, 1.0)
        return [
            "" if np.isnan(shown) else f"{percent:.0f} %"
            for shown, percent in zip(shown_G, percent_G, strict=True)
        ]
    if numbers == "rank":
        return _rank_words(shown_G)
    return ["" if np.isnan(shown) else f"{shown:.2f}" for shown in shown_G]


def scalar_in_words(score: float, numbers: str = "raw", calibrate: Calibrate | None = None) -> str:
    """The value of success in words; a single number has no rank, so it is shown raw then."""
    style = "raw" if numbers == "rank" else numbers
    return f"- The task will succeed: {number_words(np.array([score]), style, calibrate)[0]}"


def parse_guess(text: str, count: int) -> np.ndarray | None:
    """``count`` probabilities of a model's answer, in [0, 1]; None where they are not that many.

    JSON is asked for; a bare list, lines with one number each and percentages are survived.
    """
    fields = read_object(text)
    values: object = None
    if fields is not None:
        values = fields.get("probabilities", next(iter(fields.values()), None))
    else:
        start, end = text.find("["), text.rfind("]")
        if 0 <= start < end:
            try:
                values = json.loads(text[start : end + 1])
            except ValueError:
                values = None
    if isinstance(values, dict):
        values = list(values.values())
    items = values if isinstance(values, list) else [line for line in text.splitlines() if line]
    found = [_probability(item) for item in items]
    known = [value for value in found if value is not None]
    if len(known) != count or len(found) != count:
        return None
    return np.array(known)


def parse_refinement(text: str, thought: str) -> tuple[bool, str] | None:
    """(keep, the thought to go on with); None where the answer says neither.

    JSON is asked for; "Decision: ..." and "Thought: ..." lines are survived. A rewrite that
    repeats the thought keeps it.
    """
    fields = read_object(text)
    if fields is not None:
        decision, new = str(fields.get("decision", "")), fields.get("thought")
        new = new if isinstance(new, str) else ""
    else:
        labels = dict(re.findall(r"(?im)^[\s*_#>-]*(decision|thought)[\s*_]*:\s*(.+?)\s*$", text))
        lower = {name.lower(): value for name, value in labels.items()}
        decision, new = lower.get("decision", ""), lower.get("thought", "")
        if not labels and re.fullmatch(r"\W*keep\W*", text, re.IGNORECASE):
            decision = "keep"
    new = " ".join(new.split()).strip('*_`" ')
    decision = decision.lower()
    if "keep" in decision and "rewrite" not in decision:
        return True, thought
    if not new or (decision and "rewrite" not in decision and "revise" not in decision):
        return None
    same = new.casefold().rstrip(".") == thought.casefold().rstrip(".")
    return (True, thought) if same else (False, new)


def _rank_words(shown_G: np.ndarray) -> list[str]:
    """Ranks among the numbers that are shown; equal numbers share the better rank."""
    known = np.flatnonzero(~np.isnan(shown_G))
    words = [""] * len(shown_G)
    for g in known:
        above = int((shown_G[known] > shown_G[g]).sum())
        below = int((shown_G[known] < shown_G[g]).sum())
        if not above and not below:
            words[g] = "equally likely"
        elif not above:
            words[g] = "most likely of these"
        elif not below:
            words[g] = "least likely of these"
        else:
            words[g] = f"number {above + 1} of {len(known)} in likelihood"
    return words


def _probability(value: object) -> float | None:
    if isinstance(value, dict):
        value = next((v for v in value.values() if isinstance(v, int | float)), None)
    if isinstance(value, str):
        match = re.search(r"(\d*\.?\d+)\s*(%?)\s*$", value)
        if match is None:
            return None
        value = float(match.group(1)) / (100.0 if match.group(2) else 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    if 1.0 < number <= 100.0:
        number /= 100.0
    return number if 0.0 <= number <= 1.0 else None
