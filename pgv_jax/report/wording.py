"""How the reports put numbers into words; the same in HTML, terminal and verdicts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "\u2013"
"""A dash: printed where a number does not exist."""
MINUS = "\u2212"
NO_BREAK = "\u00a0"


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
