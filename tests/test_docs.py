"""The pages are readable as text: their prose is wrapped at 100 characters."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
WIDTH = 100


def long_lines(text: str) -> list[str]:
    """Lines over WIDTH characters, but for code, tables, headings and links."""
    found, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and len(line) > WIDTH and line.lstrip()[:1] not in "|#":
            # A code span or a link is one word: it stands on a line of its own where it is long.
            words = re.sub(r"`[^`]*`|\]\([^)]*\)", "-", line.strip().lstrip("-*0123456789. "))
            if " " in words:
                found.append(line)
    return found


def test_prose_is_wrapped() -> None:
    assert len(PAGES) > 20
    assert {page.name: lines for page in PAGES if (lines := long_lines(page.read_text()))} == {}


def test_what_counts_as_long() -> None:
    words, code = "word " * 30, "x" * 120
    assert long_lines(f"{words}\n") == [words]
    assert (
        long_lines(f"| {words} |\n```\n{words}\n```\n`{code} {code}`\n- ![a](https://{code})\n")
        == []
    )
