"""Texts in parts: a prefix of an episode as a chain of segments, a window as its turns.

In episode mode a vector belongs to a *prefix*: the segments read so far, joined by ``SEPARATOR``.
That joined text is the key under which the embedding store keeps the vector, so the store, the
table and the artifact need not know about modes. ``texts.templates`` says what the segments are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SEPARATOR = "\x1e"
"""ASCII record separator; it is taken out of the texts themselves."""
OBSERVATION, ACTION = "Observation: ", "Action: "
"""What begins the parts of a window, each at the start of a line."""
_MARK = re.compile(rf"^(?:{OBSERVATION}|{ACTION})", re.MULTILINE)
_INNER = re.compile(rf"(?<=\n)(?= *(?:{OBSERVATION}|{ACTION}))")
_ESCAPED = re.compile(rf"(?<=\n) (?= *(?:{OBSERVATION}|{ACTION}))")


def join(segments: Iterable[str]) -> str:
    """Segments -> the text of their prefix."""
    return SEPARATOR.join(segment.replace(SEPARATOR, " ") for segment in segments)


def split(prefix: str) -> tuple[str, ...]:
    """The segments that ``join`` joined."""
    return tuple(prefix.split(SEPARATOR))


def window(texts: Sequence[str]) -> str:
    """Observation, action, ..., observation -> the text of a window; ``turns`` is its inverse.

    A line inside of a text that begins as a mark does (logs quote logs) gets a space before it;
    other texts stand as they are.
    """
    marks = (ACTION if i % 2 else OBSERVATION for i in range(len(texts)))
    return "\n".join(mark + _INNER.sub(" ", text) for mark, text in zip(marks, texts, strict=True))


def turns(window: str) -> list[str]:
    """The observations and actions of a window, without their marks; another text as it is."""
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(window):
        if mark.group() == (ACTION if len(marks) % 2 else OBSERVATION):
            marks.append(mark)
    if not marks or marks[0].start():
        return [window]
    if len(marks) % 2 == 0:  # a window ends with what is seen: that action is a quotation
        marks.pop()
    ends = [mark.start() - 1 for mark in marks[1:]] + [len(window)]
    parts = (window[mark.end() : end] for mark, end in zip(marks, ends, strict=True))
    return [_ESCAPED.sub("", part) for part in parts]


def chains(prefixes: Sequence[str]) -> list[list[str]]:
    """Group prefixes so that each group lies on one chain, shortest first; duplicates collapse.

    A prefix that several chains share goes to the first of them.
    """
    parts = {prefix: split(prefix) for prefix in prefixes}
    groups: list[list[str]] = []
    # Sorted as tuples, a chain's members are followed by their own extensions.
    for prefix in sorted(parts, key=parts.__getitem__):
        last = parts[groups[-1][-1]] if groups else None
        if last is not None and parts[prefix][: len(last)] == last:
            groups[-1].append(prefix)
        else:
            groups.append([prefix])
    return groups
