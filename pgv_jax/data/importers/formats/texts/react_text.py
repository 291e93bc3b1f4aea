"""Parsing ReAct text: ``Thought: / Action: / Observation:`` labels, or ``>`` lines.

``think[...]`` actions and ``> Think:`` lines are thoughts: they belong to the next real action,
and the "OK." that answers them is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LABEL = re.compile(
    r"^[ \t]*(Thought|Think|ActionPath|Action Path|Action|Act|Observation|Obs)"
    r"[ \t]*(\d*)[ \t]*:[ \t]?",
    re.M | re.I,
)
HEAD = re.compile(r"^[ \t]*(Question|Task|Instruction|Goal)[ \t]*:[ \t]*", re.M | re.I)
TASK_LINE = re.compile(r"^[ \t]*Your task is to:?[ \t]*(.+?)[ \t]*$", re.M | re.I)
THINK_ACTION = re.compile(r"^think[ \t]*\[(.*?)\]?[ \t]*$", re.S | re.I)
THINK_LINE = re.compile(r"^think\b[ \t]*:?[ \t]*", re.I)
PATH_LINE = re.compile(r"^action ?path\b[ \t]*:?[ \t]*", re.I)
ARROW = re.compile(r"^[ \t]*(?:>[ \t]*)+")
ACKNOWLEDGED = ("OK.", "OK")
OUTCOME = re.compile(
    r"^[ \t]*(?:Your score\b.*|Answer is (?:IN)?CORRECT\.?|Episode finished.*reward.*)[ \t]*$",
    re.M | re.I,
)
SCORE = re.compile(r"Your score[^:\n]*:[ \t]*(-?\d+(?:\.\d+)?)", re.I)


@dataclass
class Parsed:
    """A ReAct text taken apart. ``rows`` are (observation, thought, action, action path)."""

    preamble: str = ""
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    final: str = ""
    outcome: str = ""
    dangling: str = ""


class _Builder:
    """Collects pieces into rows: a thought waits for its action, an observation for its reader."""

    def __init__(self) -> None:
        self.parsed = Parsed()
        self.observation: list[str] = []
        self.thoughts: list[str] = []
        self.path = ""
        self.after_thought = False

    def think(self, text: str) -> None:
        self.after_thought = True
        if text.strip():
            self.thoughts.append(" ".join(text.split()))

    def act(self, text: str) -> None:
        inner = THINK_ACTION.match(text.strip())
        if inner:
            self.think(inner.group(1))
            return
        self.after_thought = False
        self.parsed.rows.append(
            ("\n".join(self.observation).strip(), " ".join(self.thoughts), text.strip(), self.path)
        )
        self.observation, self.thoughts, self.path = [], [], ""

    def observe(self, text: str) -> None:
        if self.after_thought and text.strip() in ACKNOWLEDGED:
            return
        if text.strip():
            self.observation.append(text.strip("\n").rstrip())

    def done(self) -> Parsed:
        self.parsed.dangling = " ".join(self.thoughts)
        final = "\n".join(self.observation)
        said = OUTCOME.findall(final)
        self.parsed.outcome = "\n".join(line.strip() for line in said)
        self.parsed.final = OUTCOME.sub("", final).strip() if said else final.strip()
        return self.parsed


def is_arrow(text: str) -> bool:
    """True for transcripts whose commands stand on lines that begin with ``>``."""
    return len(re.findall(r"^[ \t]*>", text, re.M)) > len(LABEL.findall(text)) / 2


def parse(text: str) -> Parsed:
    """Take a ReAct text apart, whichever form it has."""
    return _parse_arrows(text) if is_arrow(text) else _parse_labels(_after_examples(text))


def _parse_arrows(text: str) -> Parsed:
    builder = _Builder()
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if ARROW.match(line)), len(lines))
    builder.parsed.preamble = "\n".join(lines[:start]).strip()
    for line in lines[start:]:
        arrow = ARROW.match(line)
        if not arrow:
            builder.observe(line)
            continue
        said = line[arrow.end() :].strip()
        if THINK_LINE.match(said):
            builder.think(THINK_LINE.sub("", said, count=1))
        elif PATH_LINE.match(said):
            builder.path = PATH_LINE.sub("", said, count=1)
        elif said:
            builder.act(re.sub(r"^Action[ \t]*:[ \t]*", "", said, flags=re.I))
    return builder.done()


def _after_examples(text: str) -> str:
    """Drop few-shot examples: everything before the last restart of the numbering at 1."""
    firsts = [m for m in LABEL.finditer(text) if m.group(2) == "1"]
    if not firsts:
        return text
    starts = [m.start() for m in firsts if m.group(1).lower() == firsts[0].group(1).lower()]
    if len(starts) < 2:
        return text
    heads = [m.start() for m in HEAD.finditer(text) if m.start() < starts[-1]]
    return text[heads[-1] if heads and heads[-1] > starts[-2] else starts[-1] :]


def _parse_labels(text: str) -> Parsed:
    builder = _Builder()
    found = list(LABEL.finditer(text))
    builder.parsed.preamble = text[: found[0].start()].strip() if found else text.strip()
    ends = [m.start() for m in found[1:]] + [len(text)]
    for match, end in zip(found, ends, strict=True):
        label, said = match.group(1).lower().replace(" ", ""), text[match.end() : end]
        if label in ("thought", "think"):
            builder.think(said)
        elif label == "actionpath":
            builder.path = said.strip()
        elif label in ("action", "act"):
            builder.act(said)
        else:
            builder.observe(said)
    return builder.done()


def task_in(preamble: str) -> tuple[str, str]:
    """Return (task, the rest of the preamble): "Your task is to: ...", "Question: ...", or all."""
    line = TASK_LINE.search(preamble)
    if line:
        return line.group(1), (preamble[: line.start()] + preamble[line.end() :]).strip()
    heads = list(HEAD.finditer(preamble))
    if heads:
        return preamble[heads[-1].end() :].strip(), ""
    return preamble, ""
