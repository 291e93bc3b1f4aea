"""Kinds of things that a persuader says, their words, and how a remark is told to be of a kind.

The kinds follow the strategies that were annotated in human persuasion dialogues (Wang et al. 2019,
arXiv:1906.06725); names, wording and cues are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

APPEALS = ("facts", "feeling", "trust", "story", "example")
"""Moves that give a reason."""

END = "end the talk"
"""The action that ends a talk."""

DONE = {
    "chat": "made friendly talk",
    "question": "asked about them",
    "facts": "given facts",
    "feeling": "appealed to their feelings",
    "trust": "spoken of the charity's record",
    "story": "told a story",
    "example": "spoken of a gift of your own",
    "how": "explained how the donation works",
    "small": "suggested a small gift",
    "ask": "asked for a donation",
    "pressure": "put pressure on them",
}
"""Move -> "You have ...": what a note says of it."""

_CUES: Mapping[str, tuple[str, ...]] = {
    "pressure": (
        r"asham", r"selfish", r"decent person", r"guilt", r"should feel", r"how can you",
        r"you must", r"heartless",
    ),
    "ask": (
        r"would you (like|be willing|consider)", r"will you (donate|give)", r"how much",
        r"can you (donate|give)", r"put you down", r"could you (donate|give)", r"are you willing",
    ),
    "small": (
        r"\bcents\b", r"\bdime\b", r"\bpenn(y|ies)\b", r"\bsmall (gift|amount|donation)",
        r"\btiny\b", r"\ba little\b", r"even (ten|a|one)", r"as little as",
    ),
    "story": (
        r"\bwhen i was\b", r"\bmy (sister|brother|mother|father|friend|neighbou?r)",
        r"\bi once\b", r"\bi (met|remember|grew up)\b", r"\btold me\b",
    ),
    "example": (
        r"\bi (donate|gave|give|am giving|have donated|have decided|will donate)\b",
        r"\bmyself\b", r"\bmy own\b", r"\bi('ve| have) been (giving|donating)\b",
    ),
    "trust": (
        r"audit", r"watchdog", r"rating|rated", r"transparen", r"accounts\b", r"record\b",
        r"reach(es)? the", r"trustworth|legitimate|reputa", r"accredit", r"experience\b",
    ),
    "facts": (
        r"percent|%", r"studies|study|research", r"million|thousand|hundred thousand",
        r"statistic", r"every dollar|one dollar", r"\bin fact\b", r"evidence", r"report(s|ed)?\b",
    ),
    "feeling": (
        r"imagine", r"hungry|starv", r"heart", r"hope", r"happy|smile", r"suffer", r"fear",
        r"\bsad\b", r"tears|cry", r"think of (how|a|the)",
    ),
    "how": (
        r"taken from your", r"payment for this", r"sent on|directly", r"choose any",
        r"the charity (gives|provides|helps|works)", r"\bhow it works\b", r"organi[sz]ation",
    ),
    "question": (
        r"\bdo you\b", r"\bhave you\b", r"\bwhat (do|matters|is|are)\b", r"\bare you\b",
        r"\bdid you\b", r"tell me about",
    ),
    "chat": (r"\bhello\b|\bhi\b", r"how are you", r"thank", r"nice|glad|good to", r"your day"),
}  # fmt: skip


@lru_cache(maxsize=1)
def _patterns() -> dict[str, list[re.Pattern[str]]]:
    return {kind: [re.compile(cue) for cue in cues] for kind, cues in _CUES.items()}


@lru_cache(maxsize=4096)
def kind_of(remark: str) -> str:
    """The kind of a remark: the one with most cues in it; nothing recognised is small talk.

    A shipped line is of its own kind. Cues are crude: a model's remark is often told wrongly.
    """
    for kind, lines in sayings("moves").items():
        if remark in lines:
            return kind
    lower = remark.lower()
    counts = {
        kind: sum(bool(pattern.search(lower)) for pattern in patterns)
        for kind, patterns in _patterns().items()
    }
    best = max(counts, key=lambda kind: counts[kind])
    return best if counts[best] else "chat"


@lru_cache(maxsize=2)
def sayings(name: str) -> dict[str, tuple[str, ...]]:
    """Kind -> its lines, of a file ``KIND: WORDS`` in data/persuasion."""
    text = files("pgv_jax.tasks.persuasion").joinpath(f"data/{name}.txt").read_text("utf-8")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        kind, colon, words = line.partition(":")
        if colon and not line.startswith("#"):
            found.setdefault(kind.strip(), []).append(words.strip())
    return {kind: tuple(lines) for kind, lines in found.items()}
