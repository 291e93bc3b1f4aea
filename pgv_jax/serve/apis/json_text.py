"""JSON text edited in place: what is not touched stays as it was written, byte for byte.

A parsed and re-written body may differ in spaces, escapes and numbers. Here the places of values
are found by the standard decoder, and only those that change are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_DECODER = json.JSONDecoder()
SPACE = " \t\n\r"
DROP: Any = object()
"""The new value of a key that goes."""


class Raw(str):
    """JSON text that takes the place of a value as it is."""


class Member(NamedTuple):
    """A key of an object, where the pair begins, where its value begins and ends, the value."""

    key: str
    start: int
    value_start: int
    end: int
    value: Any


def members(text: str, start: int = 0) -> list[Member]:
    """The members of the object that begins at ``start``; ValueError where there is none."""
    at = _skip(text, _past(text, start, "{"))
    out: list[Member] = []
    while text[at] != "}":
        key, after = _DECODER.raw_decode(text, at)
        value_start = _skip(text, _past(text, after, ":"))
        value, end = _DECODER.raw_decode(text, value_start)
        out.append(Member(key, at, value_start, end, value))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return out


def elements(text: str, start: int = 0) -> list[tuple[int, int]]:
    """Where the elements of the list that begins at ``start`` begin and end."""
    at = _skip(text, _past(text, start, "["))
    out: list[tuple[int, int]] = []
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        out.append((at, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return out


def edited(text: str, changes: Mapping[str, Any], known: Sequence[Member] | None = None) -> str:
    """An object's text with some members replaced, dropped (``DROP``) or added at its end.

    ``text`` is a whole valid object, and ``known`` its members where they were read before; a
    ``Raw`` stands as it is.
    """
    found = members(text) if known is None else known
    left = dict(changes)
    pieces: list[str] = []
    for member in found:
        if member.key not in changes:
            pieces.append(text[member.start : member.end])
            continue
        new = left.pop(member.key, DROP)  # a key that stands twice is written once
        if new is not DROP:
            pieces.append(text[member.start : member.value_start] + _written(new))
    pieces += [f"{json.dumps(key)}:{_written(new)}" for key, new in left.items() if new is not DROP]
    if not found or len(pieces) != len(found) or left:
        return "{" + ",".join(pieces) + "}"
    out, at = [], 0
    for member, piece in zip(found, pieces, strict=True):
        out += [text[at : member.start], piece]
        at = member.end
    return "".join([*out, text[at:]])


def _written(value: Any) -> str:
    return value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=False)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _past(text: str, at: int, mark: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"{mark} was expected at character {at}")
    return at + 1


def parsed_object(text: str) -> tuple[str, dict[str, Any]]:
    """A JSON object's text and the object; ValueError for anything else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it holds no object")
    return text, value
