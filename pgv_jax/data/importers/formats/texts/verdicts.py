"""Outcomes that a harness writes below an episode of a text log."""

from __future__ import annotations

import re
from dataclasses import replace

from pgv_jax.data.importers.outcomes.outcome import Outcome, share, tristate

OUTCOME = re.compile(
    r"^[ \t]*(?:Your score\b.*|Answer is (?:IN)?CORRECT\.?|Episode finished.*reward.*)[ \t]*$",
    re.M | re.I,
)
AROUND = r"[ \t*_#>\[\](){}|~=.!:-]*"
BEFORE = AROUND.replace("-", "")  # a minus belongs to the number
VERDICT = re.compile(
    rf"^{AROUND}(?:(?:final|total|episode|task|overall|game|test)[ _])*"
    r"(?:reward|score|return|result|outcome|success|correct|verdict|status|resolved|solved|passed"
    rf"|accuracy|won|em|f1)\b[ \t*_]*(?:->|[:=\])>]){BEFORE}"
    rf"(?P<value>-?\d+(?:\.\d+)?(?:%|[ \t]*/[ \t]*\d+(?:\.\d+)?)?|[a-z_]+"
    rf"|[\u2705\u2713\u274c\u2717]){AROUND}$"
    rf"|^{AROUND}(?:task |episode )?(?:succeeded|failed|success|failure|correct|incorrect)"
    rf"{AROUND}$",
    re.M | re.I,
)
"""An outcome that a harness writes below an episode; only there is it taken for one."""
COUNTED = re.compile(
    rf"^{AROUND}(?:(?:total|num|number of|elapsed)[ _])*"
    r"(?:steps?|turns?|time|duration|elapsed|cost|tokens?|calls?|seed|length)\b"
    rf"[ \t*_]*[:=][ \t]*[$]?-?\d[^\n]*$",
    re.I,
)
"""What a harness counts beside an outcome."""
SCORE = re.compile(r"(?:Your score[^:\n]*:|reward\b[^=:\n]*[=:])[ \t]*(-?\d+(?:\.\d+)?)", re.I)


def without_verdict(text: str, counts: bool = False) -> tuple[str, list[str]]:
    """Take the lines that state an outcome from the end of a text.

    What is counted above an outcome stays, for it may be what the agent saw; with ``counts`` (the
    text is an action) it goes, too.
    """
    lines, said = text.split("\n"), []
    while lines and _is_below(lines[-1]):
        line = lines.pop().strip()
        said += [line] if line else []
    if not any(map(_states_outcome, said)):
        return text, []
    while not counts and not _states_outcome(said[-1]):
        lines.append(said.pop())
    return "\n".join(lines).strip(), said[::-1]


def states_outcome(text: str) -> bool:
    """Whether a text states an outcome, and nothing else than that and counts."""
    lines = text.strip().split("\n")
    return all(map(_is_below, lines)) and any(map(_states_outcome, lines))


def _is_below(line: str) -> bool:
    return not line.strip() or bool(COUNTED.match(line)) or _states_outcome(line)


def _truth(word: str) -> bool | None:
    """As ``tristate``; below an episode ``ok`` is a verdict."""
    return True if word.lower() == "ok" else tristate(word)


def _states_outcome(line: str) -> bool:
    if OUTCOME.match(line):
        return True
    found = VERDICT.match(line)
    word = found.group("value") if found else None
    return bool(found) and (word is None or _truth(word) is not None or share(word) is not None)


def unread_verdict(text: str) -> str:
    """The last line of a text if it has a verdict's form and a word that says nothing, else ""."""
    line = text.rsplit("\n", 1)[-1].strip()
    return line[:60] if VERDICT.match(line) and not _states_outcome(line) else ""


def outcome_in(said: str) -> Outcome:
    """What the lines below an episode say of its end."""
    outcome = Outcome()
    for line in said.split("\n"):
        score = SCORE.search(line)
        stated = VERDICT.match(line)
        word = stated.group("value") if stated else None
        if score:
            amount = share(word)
            reward = float(score.group(1)) if amount is None else amount
            outcome = replace(outcome, reward=reward)
            continue
        word = word or line.strip(" \t*_#>[](){}|~=.!:-").rsplit(" ", 1)[-1]
        truth = _truth(word)
        if outcome.success is None and truth is not None:
            outcome = replace(outcome, success=truth)
        elif outcome.reward is None and share(word) is not None:
            outcome = replace(outcome, reward=share(word))
    return outcome
