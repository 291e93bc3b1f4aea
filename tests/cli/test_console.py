"""Progress where there is no terminal: how much is done, and how long the rest takes."""

from __future__ import annotations

import itertools

from pgv_jax.cli import console


def test_a_line_now_and_then_says_what_is_left(capsys, monkeypatch):
    clock = itertools.count(0, 20)  # each look at the clock is 20 seconds after the last
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.bar("embedding 100 texts", 100) as report:
        report(0)  # at 20 s
        report(10)  # at 40 s: a tenth in 40 s
        report(20)  # at 60 s, 20 s after the last line
        report(50)  # at 80 s: half
    assert capsys.readouterr().err.splitlines() == [
        "embedding 100 texts ...",
        "embedding 100 texts: 10 of 100, about 6 min 00 s left",
        "embedding 100 texts: 50 of 100, about 80 s left",
    ]


def test_a_pipe_shows_no_bars_also_where_colours_are_forced(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a notebook
    assert not console.on_stderr().is_terminal
    console.on_stderr().print("[bold]importing")
    assert capsys.readouterr().err == "importing\n"
