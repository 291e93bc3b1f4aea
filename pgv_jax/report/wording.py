"""How the reports put names and numbers into words; the same in HTML, terminal and verdicts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "\u2013"
"""A dash: printed where a number does not exist."""
MINUS = "\u2212"
NO_BREAK = "\u00a0"

LABELS = {
    "critic": "Critic",
    "critic_v": "Critic, V head",
    "direct": "Critic, direct Q",
    "goal_free": "Success-only critic",
    "monte_carlo": "Monte-Carlo head",
    "success_only": "Success-only critic",
    "shuffled": "Shuffled scores",
    "oracle": "Simulator's oracle",
    "first": "First proposal",
    "random": "Random choice",
    "constant": "Constant",
    "step_index": "Step index alone",
    "logistic_regression": "Logistic regression",
    "monte_carlo_regression": "Monte-Carlo regression",
    "task_only": "Task alone",
    "tf_idf": "Words (TF-IDF)",
    "tf_idf_task": "Words of the task alone",
    "length_only": "Lengths alone",
    "critic_calibrated": "Critic, calibrated",
    "shuffled_thoughts": "Critic, thoughts exchanged",
    "shuffled_goals": "Critic, goals exchanged",
    "shuffled_states": "Critic, all but the goal exchanged",
    "popularity": "Popularity of the goal",
    "similarity": "Similarity to the observation",
}

EXPLANATIONS = {
    "first": "take what the proposer says first; no critic",
    "critic": "imagines the next note of each proposal; takes the one that is worth most",
    "direct": "the same critic's Q head, which reads the thought and imagines nothing",
    "critic_v": "the same critic's value of the state, blind to the thought",
    "goal_free": "a critic trained on success alone, by the same objective",
    "monte_carlo": "the same network fitted on discounted outcomes, no bootstrapping",
    "success_only": "a critic trained on success alone, asked for the same goal",
    "shuffled": "the critic's scores dealt out at random among the proposals",
    "oracle": "the simulator tells the right proposal: the ceiling of these proposals",
    "random": "any candidate, equally likely",
    "constant": "the success rate in training, whatever is seen",
    "step_index": "a clock: knows how many steps have passed and nothing else",
    "logistic_regression": "a linear probe of the same embeddings",
    "monte_carlo_regression": "ridge regression of the discounted outcome on the same embeddings",
    "task_only": "a linear probe of the task's embedding, blind to every step",
    "tf_idf": "logistic regression on the words themselves, without embeddings",
    "tf_idf_task": "the same on the words of the task, blind to every step",
    "length_only": "the number of characters of each text, no words",
    "critic_calibrated": "after the calibration that the artifact carries",
    "shuffled_thoughts": "each step scored with the thought of another episode at this step",
    "shuffled_goals": "asked for another row's goal: what all but the goal tells",
    "shuffled_states": "the goal kept, all else of another row: what the goal tells",
    "popularity": "the share of training episodes in which the sentence ever holds",
    "similarity": "inner product of the embeddings of observation and goal",
}

SCORES = {
    "critic": "Q(s, thought, success), the artifact that is judged",
    "critic_v": "V(s, success) of the same artifact, blind to the thought",
    "direct": "the same critic's Q head, which imagines nothing",
    "goal_free": "a critic trained on success alone, by the same objective",
    "monte_carlo": "the same network fitted on discounted outcomes",
    "first": "the proposer's own order",
}


def label(name: str) -> str:
    """The printed name of an arm, a scorer or a kind of goal."""
    return LABELS.get(name, name.replace("_", " ").strip().capitalize())


def named(name: str) -> str:
    """``label`` inside of a sentence: a small letter first, but for a proper name."""
    text = label(name)
    return text if text.startswith("Monte") else text[0].lower() + text[1:]


def explanation(name: str) -> str:
    """What an arm is, in half a sentence; empty where unknown."""
    return EXPLANATIONS.get(name, "")


def score_explanation(name: str) -> str:
    """What a scorer's numbers are, in half a sentence; empty where unknown."""
    return SCORES.get(name, explanation(name))


def setting(value: object) -> str:
    """A setting as a reader says it: yes and no for truth values."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def unbroken(text: str) -> str:
    """Keep "74 %", "[70, 78]" and "p < 0.001" on one line each, by no-break spaces."""
    inside = r"(?<=\d) (?=%)|(?<=,) (?=[+\u2212]?\d[\d.]*\])|(?<=\bp) (?=[<=])|(?<=p [<=]) (?=\d)"
    return re.sub(inside, NO_BREAK, text)


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """``0.74``, with ``sign`` also ``+0.74``; a dash for None."""
    if value is None:
        return MISSING
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("+-")


def percent(value: float | None, sign: bool = False) -> str:
    """``74 %``; a dash for None."""
    if value is None:
        return MISSING
    return f"{number(100 * value, 0, sign)} %"


def interval(ci: Sequence[float | None] | None, digits: int = 2, sign: bool = False) -> str:
    """``[0.70, 0.78]``; "no interval" where an end is missing."""
    if ci is None or None in ci:
        return "[no interval]"
    return f"[{number(ci[0], digits, sign)}, {number(ci[1], digits, sign)}]"


def percent_interval(ci: Sequence[float | None] | None, sign: bool = False) -> str:
    """``[70, 78]``, in per cent, from shares."""
    if ci is None or None in ci:
        return "[no interval]"
    low, high = (number(100 * end, 0, sign) for end in ci if end is not None)
    return f"[{low}, {high}]"


def seconds(value: float | None) -> str:
    """``0.4 s``, ``12 s`` or ``3 min 05 s``."""
    if value is None:
        return MISSING
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def p_value(p: float | None) -> str:
    """``p = 0.03`` or ``p < 0.001``; a dash for None."""
    if p is None:
        return MISSING
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def calibrator(fitted: Mapping[str, Any]) -> str:
    """A calibrator of an artifact in half a sentence."""
    where = f"{fitted['fitted_on']['tasks']} tasks of split {fitted['fitted_on']['split']}"
    if fitted["skill"] is None:
        return f"the score itself, a chance that the recipe fitted on {where}"
    if fitted["kind"] == "constant":
        return f"no evidence on {where} beyond the mean {number(fitted['rate'])}"
    return (
        f"{fitted['kind']}, fitted on {where}; cross-fitted Brier skill {number(fitted['skill'])}"
    )
