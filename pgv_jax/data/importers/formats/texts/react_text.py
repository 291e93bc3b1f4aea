"""Parsing ReAct text: ``Thought: / Action: / Observation:`` labels, or ``>`` lines.

``think[...]`` actions and ``> Think:`` lines are thoughts: they belong to the next real action,
and the "OK." that answers them is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from pgv_jax.data.importers.outcomes.record import Outcome, number, tristate

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
VERDICT = re.compile(
    r"^[ \t*]*(?:(?:final|total|episode|task|overall)[ _])?"
    r"(?:reward|score|result|outcome|success|correct|verdict|em|f1)[ \t*]*[:=][ \t*]*"
    r"(?:-?\d+(?:\.\d+)?%?|[a-z]+)[ \t*.!]*$"
    r"|^[ \t]*(?:task )?(?:succeeded|failed|success|failure|correct|incorrect)[.!]?[ \t]*$",
    re.M | re.I,
)
"""An outcome that a harness writes below an episode; only there is it taken for one."""
SCORE = re.compile(r"(?:Your score[^:\n]*:|reward\b[^=:\n]*[=:])[ \t]*(-?\d+(?:\.\d+)?)", re.I)
STATED = re.compile(r"[:=][ \t*]*(-?\d+(?:\.\d+)?%?|[a-z]+)[ \t*.!]*$", re.I)
SCENE = re.compile(
    r"^(?:You are in the middle of|-= ?Welcome|Welcome to|Here is (?:the|your) task)", re.M | re.I
)
ROOM = re.compile(r"^-= .* =-[ \t]*$", re.M)


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
        said = [line.strip() for line in OUTCOME.findall(final)]
        final, below = _without_verdict(OUTCOME.sub("", final).strip())
        if not final and not said and not below and self.parsed.rows:
            seen, thought, action, path = self.parsed.rows[-1]
            action, below = _without_verdict(action)
            self.parsed.rows[-1] = (seen, thought, action, path)
        self.parsed.outcome = "\n".join([*said, *below])
        self.parsed.final = final
        return self.parsed


def _without_verdict(text: str) -> tuple[str, list[str]]:
    """Take the lines that state an outcome from the end of a text."""
    lines, said = text.split("\n"), []
    while lines and (not lines[-1].strip() or _states_outcome(lines[-1])):
        line = lines.pop().strip()
        said += [line] if line else []
    return ("\n".join(lines).strip(), said[::-1]) if said else (text, [])


def _states_outcome(line: str) -> bool:
    return bool(OUTCOME.match(line) or VERDICT.match(line))


def outcome_in(said: str) -> Outcome:
    """What the lines below an episode say of its end."""
    outcome = Outcome()
    for line in said.split("\n"):
        score = SCORE.search(line)
        stated = STATED.search(line)
        if score:
            outcome = replace(outcome, reward=float(score.group(1)))
            continue
        word = stated.group(1) if stated else line.rsplit(" ", 1)[-1].rstrip(".!")
        truth = tristate(word)
        if outcome.success is None and truth is not None:
            outcome = replace(outcome, success=truth)
        elif outcome.reward is None and number(word) is not None:
            outcome = replace(outcome, reward=number(word))
    return outcome


def is_react(text: str, surely: bool = True) -> bool:
    """True for a text with labels of actions and another kind, or with commands after ``>``.

    Quotations in mails and manuals begin with ``>`` too, so that commands alone do not count
    without ``surely``: a task, a thought or a room must stand among them.
    """
    labels = {m.group(1).lower() for m in LABEL.finditer(text)}
    if labels & {"action", "act"} and len(labels) > 1:
        return True
    if not is_arrow(text) or text.count("\n>") < 1:
        return False
    lines = (ARROW.sub("", line) for line in text.splitlines() if ARROW.match(line))
    thinks = any(THINK_LINE.match(line) or PATH_LINE.match(line) for line in lines)
    return surely or thinks or bool(TASK_LINE.search(text) or ROOM.search(text))


def episodes_in(text: str) -> list[tuple[int, str]]:
    """The episodes of a text as (where it begins, its text).

    One begins where the numbering restarts at 1, where a question or a task is named again, and
    behind a line that states an outcome.
    """
    cuts = sorted({0, *_restarts(text), *_headings(text), *_scenes(text), *_behind(text)})
    out: list[tuple[int, str]] = []
    for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        if out and not _acts(out[-1][1]):  # a head without a deed belongs to what follows
            start, before = out.pop()
            out.append((start, before + text[len(before) + start : end]))
        else:
            out.append((start, text[start:end]))
    if len(out) > 1 and not _acts(out[-1][1]):
        start, tail = out.pop()
        out[-1] = (out[-1][0], out[-1][1] + tail)
    return out


def _acts(text: str) -> bool:
    if any(m.group(1).lower() in ("action", "act") for m in LABEL.finditer(text)):
        return True
    return bool(re.search(r"^[ \t]*>[ \t]*\S", text, re.M))


def _restarts(text: str) -> list[int]:
    numbered = [m for m in LABEL.finditer(text) if m.group(2)]
    if not numbered:
        return []
    first = numbered[0].group(1).lower()
    return [m.start() for m in numbered if m.group(2) == "1" and m.group(1).lower() == first]


def _headings(text: str) -> list[int]:
    """Heads like the one that the text begins with, each after an empty line."""
    heads = list(HEAD.finditer(text))
    if not heads or text[: heads[0].start()].strip():
        return []
    name = heads[0].group(1).lower()
    return [
        m.start()
        for m in heads
        if m.group(1).lower() == name and re.search(r"(?:\A|\n[ \t]*\n)\s*\Z", text[: m.start()])
    ]


def _scenes(text: str) -> list[int]:
    """Where the description before a task line begins."""
    tasks = [m.start() for m in TASK_LINE.finditer(text)]
    out = []
    for before, task in zip([0, *tasks], tasks, strict=False):
        acted = [m.end() for m in re.finditer(r"^[ \t]*>.*$", text[before:task], re.M)]
        since = before + (acted[-1] if acted else 0)
        scenes = [m.start() for m in SCENE.finditer(text, since, task)]
        blank = [m.end() for m in re.finditer(r"\n[ \t]*\n", text[since:task])]
        line = text.rfind("\n", 0, task) + 1
        begin = scenes[-1] if scenes else since + blank[-1] if blank else line
        out.append(begin)
    return out


def _behind(text: str) -> list[int]:
    return [m.end() for m in OUTCOME.finditer(text)]


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
