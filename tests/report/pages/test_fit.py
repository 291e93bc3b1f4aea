"""The page of ``pgv fit``: the four answers in their order, and nothing of a log is alive in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgv_jax.report.alternatives import ATTEMPT, DONE, Comparison, Option, Reconsidered
from pgv_jax.report.answers import Answers
from pgv_jax.report.description import describe
from pgv_jax.report.pages.fit import write_fit
from pgv_jax.types import Episode, Step

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def page(tmp_path):
    def write(
        level: str = "trust",
        tasks: int | None = None,
        compared: bool = True,
        ends: tuple[bool | None, ...] = (False,),
        done: float = 0.25,
    ) -> str:
        steps = (Step(EVIL, f"bad {EVIL}", "x"), Step("hall", "fair", "y"))
        episode = Episode("e 1", "t", EVIL, steps, "The end.", success=False)
        options = (Option("good", ATTEMPT, 0.75, True), Option(f"bad {EVIL}", DONE, done, False))
        decision = Reconsidered(episode, 0, options)
        write_fit(
            tmp_path / "report.html",
            answers=Answers(level, "Probably: so.", ["A line."], "Nothing.", tasks, ["Much."]),
            compared=Comparison((decision,), 12, 3, 8, 5, 4.0) if compared else None,
            said=describe(replace(episode, success=end) for end in ends),
            health=None,
            artifact=Path("out/critic/artifact"),
            history=0,
            command="pgv fit log.jsonl --out out",
            warnings=["Unknown tokens."],
            seconds={"importing": 1.0},
        )
        return (tmp_path / "report.html").read_text("utf-8")

    return write


def test_four_questions_are_answered_in_their_order(page):
    head, text = page().split("<main")
    assert "Probably: so." in head
    parts = (
        "A line.",
        "What would change that",
        "Nothing.",
        "In 3 of 12 decisions",
        "It takes the thought of a success in 5 of them; a random choice does in 4",
        "0.75",
        "0.25",
        "Much.",
        "Unknown tokens.",
        "What to do next</h2>",
        "ValueFunction.load",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "that attempt succeeded" in text and "this episode failed" in text


def test_a_log_is_inert(page):
    text = page()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "default-src 'none'" in text


def test_what_comes_next_follows_from_the_verdict(page):
    def first(text: str) -> str:
        return text[text.index("What to do next</h2>") :].split("<code>")[1].split("</code>")[0]

    assert first(page("trust")).startswith("from pgv_jax import ValueFunction")
    assert first(page("do not use", tasks=40)) == "pgv fit log.jsonl --out out"
    assert first(page("do not use")) == (
        "pgv show out/dataset --episode &#39;e 1&#39; --artifact out/critic/artifact "
        "--out out/episode.html"
    )
    assert first(page("cannot be known")) == "pgv fit log.jsonl --out out"


def test_without_outcomes_the_next_step_is_to_join_them_and_the_goal_is_no_success(page):
    text = page("cannot be known", compared=False, ends=(None,))
    after = text[text.index("What to do next</h2>") :]
    assert "pgv fit log.jsonl --out out --rewards outcomes.csv</code>" in after
    assert "When there are more logs" not in after and "The task is done." not in after


def test_without_outcomes_no_choice_is_called_better(page):
    text = page(compared=False)
    assert "No choice can be called better" in text and "0.75" not in text


def test_without_a_held_out_task_no_choice_is_shown(page):
    text = page(compared=False, ends=(True, False))
    assert "No task is held out" in text and "0.75" not in text


def test_values_that_hardly_differ_are_said_to(page):
    said = "The widest difference is below 0.01: it hardly tells these thoughts apart."
    assert f"{said} In 8 decisions" in page(done=0.7481)
    assert said not in page(done=0.739)
