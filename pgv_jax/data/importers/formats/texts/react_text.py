"""Parsing ReAct text: ``Thought: / Action: / Observation:`` labels, or ``>`` lines.

``think[...]`` actions and ``> Think:`` lines are thoughts: they belong to the next real action,
and the "OK." that answers them is dropped.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from dataclasses import dataclass, field

from pgv_jax.data.importers.formats.texts.verdicts import (
    AROUND,
    OUTCOME,
    states_outcome,
    without_verdict,
)

LABEL = re.compile(
    r"^[ \t]*(Thought|Think|ActionPath|Action Path|Action|Act|Observation|Obs)"
    r"[ \t]*(\d*)[ \t]*:[ \t]?",
    re.M | re.I,
)
RULE = re.compile(r"^[-=]{5,}[ \t]*$", re.M)
RULES_BELOW = re.compile(r"(?:\A|\n)[ \t]*([-=*_~#])\1{2,}[ \t]*\s*\Z")
RESET = re.compile(r"^Action:[ \t]*reset[ \t]*\nObservation:", re.M)
FINAL = re.compile(r"^[ \t]*Final Answer[ \t]*:", re.M | re.I)
"""What stands in place of the last action in LangChain's ReAct texts."""
HEAD = re.compile(r"^[ \t]*(Question|Task|Instruction|Goal)[ \t]*#?\d*[ \t]*:[ \t]*", re.M | re.I)
TASK_LINE = re.compile(r"^[ \t]*Your task is to:?[ \t]*(.+?)[ \t]*$", re.M | re.I)
THINK_ACTION = re.compile(r"^think[ \t]*\[(.*?)\]?[ \t]*$", re.S | re.I)
THINK_LINE = re.compile(r"^think\b[ \t]*:?[ \t]*", re.I)
PATH_LINE = re.compile(r"^action ?path\b[ \t]*:?[ \t]*", re.I)
ARROW = re.compile(r"^[ \t]*(?:>[ \t]*)+")
ARROW_LINE = re.compile(r"^[ \t]*(?:>[ \t]*)+(?=\S)", re.M)
ACKNOWLEDGED = ("OK.", "OK")
REWARD = re.compile(
    r"^[ \t]*(?:step[ \t]*)?reward[ \t]*\d*[ \t]*:[ \t]*([-+]?\d+(?:\.\d+)?)[ \t]*(?:\n|\Z)",
    re.M | re.I,
)
"""A step's reward, if all steps have one; a single one is the episode's (``verdicts``)."""
DIVIDER = re.compile(
    rf"^{AROUND}(?P<word>episode|trial|trajectory|rollout|run|game|attempt|example|sample|task"
    rf"|instance|problem)[ \t#_:-]*(?P<number>\d+)(?:[ \t]*(?:/|of)[ \t]*\d+)?{AROUND}\n",
    re.M | re.I,
)
"""A line that says which episode begins: ``=== Episode 2 ===``."""
ABOVE = re.compile(r"(?:\A|\n[ \t]*\n|\n[ \t]*[-=*_~#]{3,}[ \t]*\n)\s*\Z")
"""What stands above a head that begins an episode: nothing, an empty line or a rule."""
SCENE = re.compile(
    r"^(?:You are in the middle of|-= ?Welcome|Welcome to|Here is (?:the|your) task)", re.M | re.I
)
ROOM = re.compile(r"^-= .* =-[ \t]*$", re.M)


@dataclass
class Parsed:
    """A ReAct text taken apart. ``rows`` are (observation, thought, action, action path).

    ``rewards`` are those of the rows, where the text has one for each, or for all but the last.
    """

    preamble: str = ""
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    rewards: dict[int, float] = field(default_factory=dict)
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
        final = RULES_BELOW.sub("", "\n".join(self.observation))
        said = [line.strip() for line in OUTCOME.findall(final)]
        final, below = without_verdict(OUTCOME.sub("", final).strip())
        if not final and not said and not below and self.parsed.rows:
            seen, thought, action, path = self.parsed.rows[-1]
            action, below = without_verdict(action, counts=True)
            self.parsed.rows[-1] = (seen, thought, action, path)
        self.parsed.outcome = "\n".join([*said, *below])
        self.parsed.final = RULES_BELOW.sub("", final)
        return self.parsed


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


def parts_of(text: str) -> list[tuple[int, str]]:
    """The parts of a text between rules (``-----``), as (where it begins, its text).

    Where some part begins like an episode, with a task or a number, a rule before one that does
    not stands within an episode: between steps, or in what the agent saw.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for rule in [*RULE.finditer(text), None]:
        spans.append((start, rule.start() if rule else len(text)))
        start = rule.end() if rule else len(text)
    if RESET.search(text):
        return [(begin, text[begin:end]) for begin, end in spans]
    opens = [_opens(text[begin:end]) for begin, end in spans]
    out: list[tuple[int, int]] = []
    for (begin, end), opening in zip(spans, opens, strict=True):
        piece = text[begin:end]
        told = bool(out) and _acts(text[slice(*out[-1])])
        if told and not _acts(piece):  # an outcome belongs to what is above it
            within = states_outcome(piece)
        elif told:
            within = any(opens) and not opening
        else:
            within = bool(out) and not opening
        if within:
            out[-1] = (out[-1][0], end)
        else:
            out.append((begin, end))
    return [(begin, text[begin:end]) for begin, end in out]


def _opens(part: str) -> bool:
    """Whether a part begins like an episode: a task, a scene or a number before its first deed."""
    marks = [m for m in (LABEL.search(part), re.search(r"^[ \t]*>", part, re.M)) if m]
    first = LABEL.search(part)
    head = part[: min((m.start() for m in marks), default=len(part))] + "\n"
    known = any(sign.search(head) for sign in (HEAD, TASK_LINE, DIVIDER, SCENE))
    return known or bool(first and first.group(2) == "1")


def without_marks(text: str) -> str:
    """A text between episodes without its rules and the lines that number episodes."""
    return re.sub(r"^[\s=*_~#-]*$", "", DIVIDER.sub("", text), flags=re.M).strip()


def episodes_in(text: str) -> list[tuple[int, str]]:
    """The episodes of a text as (where it begins, its text).

    One begins where the numbering restarts at 1, where a question or a task is named again, and
    behind a line that states an outcome.
    """
    apart = _divided(text)
    if apart:
        return apart
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


def _divided(text: str) -> list[tuple[int, str]]:
    """Episodes between lines that number them, if nothing was done above the first; else none."""
    marks = list(DIVIDER.finditer(text))
    if not marks or _acts(text[: marks[0].start()]):
        return []
    word = marks[0].group("word").lower()
    marks = [mark for mark in marks if mark.group("word").lower() == word]
    numbers = [int(mark.group("number")) for mark in marks]
    if any(after <= before for before, after in itertools.pairwise(numbers)):
        return []
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found = [(m.end(), text[m.end() : end]) for m, end in zip(marks, ends, strict=True)]
    return [(start, piece) for start, piece in found if _acts(piece)]


def _acts(text: str) -> bool:
    if any(m.group(1).lower() in ("action", "act") for m in LABEL.finditer(text)):
        return True
    return bool(re.search(r"^[ \t]*>[ \t]*\S", text, re.M))


def _restarts(text: str) -> list[int]:
    numbered = [m for m in LABEL.finditer(text) if m.group(2)]
    if not numbered:
        return []
    first = numbered[0].group(1).lower()
    starts = [m.start() for m in numbered if m.group(2) == "1" and m.group(1).lower() == first]
    return [_with_head(text, start) for start in starts]


def _with_head(text: str, start: int) -> int:
    """Where the question stands that a numbering belongs to: right before, no label between."""
    labels = [m.end() for m in LABEL.finditer(text, 0, start)]
    heads = [m.start() for m in HEAD.finditer(text, labels[-1] if labels else 0, start)]
    return heads[0] if heads else start


def _headings(text: str) -> list[int]:
    """Heads like the first one: after an empty line or a rule, or right before a label.

    Where steps are numbered, only what stands before a first step is a head.
    """
    heads = list(HEAD.finditer(text))
    if not heads or text[: heads[0].start()].strip():
        return []
    name = heads[0].group(1).lower()
    return [
        m.start()
        for m in heads
        if m.group(1).lower() == name
        and _is_first(LABEL.search(text, m.end()))
        and (re.search(ABOVE, text[: m.start()]) or LABEL.match(text, _line_after(text, m.end())))
    ]


def _is_first(label: re.Match[str] | None) -> bool:
    return label is None or label.group(2) in ("", "1")


def _line_after(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


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
    arrows = is_arrow(text)
    text, rewards = _without_rewards(text if arrows else _after_examples(text), arrows)
    parsed = _parse_arrows(text) if arrows else _parse_labels(text)
    parsed.rewards = rewards
    return parsed


def _without_rewards(text: str, arrows: bool) -> tuple[str, dict[int, float]]:
    """Take out the lines of rewards, if they are those of the steps: deed by deed, one each."""
    lines = list(REWARD.finditer(text))
    deeds = _deeds(text, arrows)
    of = [bisect_left(deeds, line.start()) - 1 for line in lines]
    whole = list(range(len(deeds)))
    if len(lines) < 2 or of not in (whole, whole[:-1]):
        return text, {}
    return REWARD.sub("", text), {t: float(m.group(1)) for t, m in zip(of, lines, strict=True)}


def _deeds(text: str, arrows: bool) -> list[int]:
    """Where the deeds begin that become rows."""
    if arrows:
        said = [(m.start(), text[m.end() : m.end() + 20]) for m in ARROW_LINE.finditer(text)]
        return [at for at, word in said if not (THINK_LINE.match(word) or PATH_LINE.match(word))]
    found = list(LABEL.finditer(text))
    ends = [m.start() for m in found[1:]] + [len(text)]
    return [
        m.start()
        for m, end in zip(found, ends, strict=True)
        if m.group(1).lower() in ("action", "act")
        and not THINK_ACTION.match(text[m.end() : end].strip())
    ]


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
            answer = FINAL.search(said)
            builder.think(said[: answer.start()] if answer else said)
            if answer:
                builder.act(said[answer.start() :])
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
        return RULES_BELOW.sub("", preamble[heads[-1].end() :]).strip(), ""
    return preamble, ""
