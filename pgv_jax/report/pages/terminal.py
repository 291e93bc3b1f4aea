"""The health report as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pgv_jax.report.columns import label
from pgv_jax.report.wording import interval, number


def health_table(report: Mapping[str, Any]) -> Group:
    """One line a scorer, the tests that have data as columns, the verdict below."""
    tests = [
        (title, report[test]["scorers"], key)
        for test, title, key in (
            ("auc", "AUC at fixed steps", "mean"),
            ("top1", "Top-1 of candidates", "top1"),
            ("same_state", "Same state", "better"),
        )
        if report[test]["testable"]
    ]
    said = [report["verdict"]["said"], *report["verdict"]["lines"]]
    verdict = Text("\n".join(said))
    verdict.stylize("bold", 0, len(said[0]))
    if not tests:
        return Group(verdict)
    data = report["data"]
    table = Table(
        title=f"{data['tasks']} tasks of split {data['split']}, {data['episodes']} episodes",
        title_justify="left",
    )
    table.add_column("Scorer")
    for title, _, _ in tests:
        table.add_column(title, justify="right")
    names = list(dict.fromkeys(name for _, scorers, _ in tests for name in scorers))
    for name in names:
        entries = [(scorers.get(name), key) for _, scorers, key in tests]
        cells = [
            f"{number(entry[key])} {interval(entry['ci95'])}" if entry else number(None)
            for entry, key in entries
        ]
        table.add_row(label(name), *cells, style="bold" if name == "critic" else None)
    return Group(table, verdict)
