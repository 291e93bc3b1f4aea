"""What an import counts while it reads, so that nothing is left out or changed without a word."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts by kind, and where reading stands.

    ``unread``: parts of a kind that no importer knows, whose JSON text stands for them, and parts
    that nobody can read (encrypted reasoning). ``placeholders``: images and sounds.
    ``converted``: values that JSON has no type for.
    """

    unread: Counter[str] = field(default_factory=Counter)
    placeholders: Counter[str] = field(default_factory=Counter)
    converted: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    """Sentences on how the log was read, and how often that was so."""
    path: str = ""
    line: int = 0
    first: dict[str, str] = field(default_factory=dict)

    def leave(self, kind: str) -> None:
        """Count a part that was not read, and remember where the first of its kind stands."""
        self.unread[kind] += 1
        self.first.setdefault(kind, f"{self.path}:{self.line}" if self.path else "")
