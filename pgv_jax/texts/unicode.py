"""Text that can be written and sent on: without half characters."""

from __future__ import annotations


def clean(text: str) -> str:
    """Replace lone surrogates by U+FFFD: UTF-8 and tokenizers hold scalar values only."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def visible(text: str) -> str:
    """``text`` on one line; what a terminal may obey, or show in another order, is spelled out."""
    line = " ".join(clean(text).split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
