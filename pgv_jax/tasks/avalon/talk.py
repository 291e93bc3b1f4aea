"""What is said at a table of Avalon."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """What was said: for or against somebody, or nothing in particular (``about`` -1)."""

    speaker: int
    about: int = -1
    against: bool = False
    words: str = ""
    """The very words, where they are kept."""
