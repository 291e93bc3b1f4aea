"""Text that can be written and sent on: without half characters."""

from __future__ import annotations

from typing import Any


def clean(text: str) -> str:
    """Replace lone surrogates by U+FFFD: UTF-8 and tokenizers hold scalar values only."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def cleaned(value: Any) -> Any:
    """A JSON value whose texts and names are ``clean``: JSON itself may spell half a character."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(name): cleaned(item) for name, item in value.items()}
    return value


def visible(text: str) -> str:
    """``text`` on one line; what a terminal may obey, or show in another order, is spelled out."""
    line = " ".join(clean(text).split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
