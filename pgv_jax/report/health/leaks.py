"""Does a text give the outcome away? The leak scan of ``pgv describe`` and of the health report.

Whatever names the result in a text that is scored makes every scorer look good. A sentence that
goes with one outcome is not a leak by itself: it may be honest progress.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from scipy.special import betainc

from pgv_jax.texts.templates import sentences
from pgv_jax.types import Episode

LEAK_SUPPORT = 10
LEAK_SHARE = 0.9
LEAK_ALPHA = 0.01

NAMED = re.compile(
    r"\b(?:your (?:final )?score|final score|score\s*[:=]\s*[\d.]+|reward\s*[:=]\s*-?[\d.]+"
    r"|answer is (?:in)?correct|you (?:have )?(?:won|lost|win|lose)\b|game over|episode finished"
    r"|task (?:is |has been |has )?(?:completed?|failed|done|solved)|all tests passed)",
    re.I,
)
"""Words by which an environment announces the result."""

OUTCOMES = {True: "success", False: "failure", None: "unknown"}

COVERS = 0.5
"""A first observation's sentence is a leak where it meets this share of an outcome's episodes."""
SHOWN = 10


def action_head(action: str) -> str:
    """The kind of an action: the name before a bracket, else its first word."""
    found = re.match(r"\s*([\w.-]+)\s*[(\[]", action) or re.match(r"\s*(\S{1,30})", action)
    return found.group(1) if found else ""


def binomial_tail(hits: int, trials: int, rate: float) -> float:
    """P(X >= hits) for X ~ Binomial(trials, rate), by the incomplete beta function."""
    return float(betainc(hits, trials - hits + 1, rate)) if hits > 0 else 1.0


def find_leaks(
    counts: Counter[tuple[str, str]], base: dict[str, float]
) -> list[tuple[str, str, int, float]]:
    """Return (text, outcome, episodes, share) of texts that go with one outcome.

    At least 10 episodes, 90 % of them with that outcome, and more than chance: the binomial tail
    at the outcome's base rate, times the texts that were tried (Bonferroni), is below 1 %.
    """
    totals: Counter[str] = Counter()
    for (text, _), count in counts.items():
        totals[text] += count
    tried = sum(total >= LEAK_SUPPORT for total in totals.values())
    found = [
        (text, outcome, totals[text], count / totals[text])
        for (text, outcome), count in counts.items()
        if totals[text] >= LEAK_SUPPORT
        and count / totals[text] >= LEAK_SHARE
        and tried * binomial_tail(count, totals[text], base.get(outcome, 1.0)) < LEAK_ALPHA
    ]
    return sorted(found, key=lambda leak: (-leak[2], leak[0]))


def scan(episodes: Iterable[Episode]) -> dict[str, Any]:
    """Scan the observations and actions of episodes: the section ``leaks`` of a health report.

    ``flagged`` where the words of ``NAMED``, or a sentence of the *first* observation that half of
    an outcome's episodes share, go with one outcome: at the start nothing has been achieved yet.
    ``suspects`` are later sentences and kinds of action that go with one: progress, or the result
    in other words. The last observation, which no step is scored at, is not scanned.
    """
    known = [e for e in episodes if e.success is not None]
    totals = Counter(OUTCOMES[e.success] for e in known)
    base = {name: count / len(known) for name, count in totals.items()}
    counts: dict[str, Counter[tuple[str, str]]] = {
        name: Counter() for name in ("named", "first", "later", "action")
    }
    steps_naming = 0
    for episode in known:
        named: set[str] = set()
        met: set[str] = set()
        for step in episode.steps:
            seen = set(sentences(step.observation))
            telling = {s for s in seen if NAMED.search(s)}
            steps_naming += bool(telling)
            met |= seen - telling
            for sentence in telling:
                named |= {sentence[:200], *(m.group().lower() for m in NAMED.finditer(sentence))}
        outcome = OUTCOMES[episode.success]
        first = set(sentences(episode.steps[0].observation)) if episode.steps else set()
        texts = {
            "named": named,
            "first": first,
            "later": met - first,
            "action": {action_head(step.action) for step in episode.steps},
        }
        for where, held in texts.items():
            counts[where].update((text[:200], outcome) for text in held)
    found = {where: find_leaks(counted, base) for where, counted in counts.items()}
    early = [leak for leak in found["first"] if leak[2] * leak[3] >= COVERS * totals[leak[1]]]
    sure = [_row("names the outcome", leak) for leak in found["named"]]
    sure += [_row("first observation", leak) for leak in early]
    suspects = [_row("later observation", leak) for leak in found["later"]]
    suspects += [_row("action", leak) for leak in found["action"]]
    return {
        "flagged": bool(sure),
        "episodes": len(known),
        "steps_naming": steps_naming,
        "leaks": sure[:SHOWN],
        "suspects": sorted(suspects, key=lambda row: -row["episodes"])[:SHOWN],
    }


def _row(where: str, leak: tuple[str, str, int, float]) -> dict[str, Any]:
    text, outcome, episodes, share = leak
    return {
        "where": where,
        "text": text,
        "outcome": outcome,
        "episodes": episodes,
        "share": round(share, 6),
    }
