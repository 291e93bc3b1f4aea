from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from pgv_jax.report.pages.quickstart import (
    KEYS,
    build_report,
    caveats,
    finite,
    headline,
    terminal_table,
)
from tests.report.page_checks import check_page


def pages(data, folder):
    report = build_report(data, folder)
    text = (folder / "report.html").read_text("utf-8")
    return report, check_page(text), text


def test_the_report_has_the_shape_that_stays(data, tmp_path):
    report, _, _ = pages(data, tmp_path)
    read = json.loads(
        (tmp_path / "report.json").read_text("utf-8"),
        parse_constant=lambda name: pytest.fail(f"{name} in JSON"),
    )
    assert read == report
    assert set(KEYS) <= set(read)
    assert list(read["arms"]) == [
        "first",
        "critic",
        "success_only",
        "monte_carlo",
        "shuffled",
        "oracle",
    ]
    for arm in read["arms"].values():
        assert {"success", "ci95", "episodes", "mean_steps"} <= set(arm)
        low, high = arm["ci95"]
        assert low <= arm["success"] <= high
    assert read["torch_parity"] is None
    assert not list(tmp_path.glob(".*"))


@pytest.mark.part("report")
def test_the_page_tells_everything_and_loads_nothing(data, tmp_path):
    _, page, text = pages(data, tmp_path)
    for section in ("arms", "goals", "offline", "learning", "story", "next", "run"):
        assert section in page.ids
    assert text.count("<svg ") == 5
    for words in (
        "Read this first.",
        "The proposer is a script, not a language model",
        "Simulator's oracle",
        "pgv train gc_iql",
        "PyTorch is not installed here",
        "all-MiniLM-L6-v2",
        "5 min 17 s",
    ):
        assert words in page.text
    assert "chosen" in page.text
    assert "right" in page.text


def test_only_arms_that_were_played_are_explained(data, tmp_path):
    _, page, _ = pages(data, tmp_path)
    assert "minus success-only" in page.text and "The oracle is the ceiling" in page.text
    assert "Against direct Q" not in page.text  # these arms lack it

    arms = {name: data["arms"][name] for name in ("first", "critic")}
    report, page, _ = pages({**data, "arms": arms}, tmp_path / "two")
    assert list(report["arms"]) == ["first", "critic"]
    assert "Against first proposal" in page.text
    told = page.text.split("How to read it")[1].split("Judged offline")[0]
    for absent in ("success-only", "shuffled scores", "The oracle", "Monte-Carlo"):
        assert absent not in told


def test_a_real_model_and_its_log_are_told(data, tmp_path):
    settings = {**data["settings"], "proposer": "SmolLM2"}
    log = {"episodes": 200, "tasks": 40, "outcomes": {"success": 37}}
    more = {"log": log, "settings": settings, "judged": "the log's games", "caveats": ("Few.",)}
    report, page, _ = pages({**data, **more}, tmp_path)
    assert headline(report)[0] == (
        "The critic learned from 200 episodes of 40 games that SmolLM2 itself had played; it had "
        "won 37 of them."
    )
    for words in (
        "described in log.html",
        "On the log's games.",
        "Few.",
        "The model was told the goal",
    ):
        assert words in page.text
    for scripted in ("The proposer is a script", "random commands", "before any episode is played"):
        assert scripted not in page.text


def test_a_page_can_be_used_with_the_keyboard_and_read_aloud(data, tmp_path):
    _, page, _ = pages(data, tmp_path)
    assert ("a", {"class": "skip", "href": "#content"}) in page.tags
    assert [tag for tag, _ in page.tags].count("h1") == 1
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in {"row", "col"}
    assert page.tags[0] == ("html", {"lang": "en"})


@pytest.mark.parametrize("missing", [*KEYS, "metrics", "story", "settings", "best_step"])
def test_a_missing_stage_leaves_the_rest(data, tmp_path, missing):
    kept = {key: value for key, value in data.items() if key != missing}
    report, _, _ = pages(kept, tmp_path)
    assert set(KEYS) <= set(report)
    terminal_table(report)


def test_nothing_at_all_is_still_a_page(tmp_path):
    _, page, _ = pages({}, tmp_path)
    assert "there is no result to tell yet" in page.text


def test_texts_from_episodes_are_text_and_not_markup(data, tmp_path):
    evil = '<script>alert(1)</script><img src="http://x.invalid/a.png">'
    story = data["story"]
    step = replace(story.steps[0], observation=evil, thought=evil, action=evil)
    told = replace(story, task=evil, steps=(step, *story.steps[1:]), final_observation=evil)
    changed = {
        **data,
        "story": told,
        "settings": {"encoder": evil},
        "versions": {evil: evil},
        "next_steps": ((evil, evil),),
    }
    _, page, _ = pages(changed, tmp_path)
    assert page.text.count(evil) >= 5


def test_parity_is_said_as_it_was_measured(data, tmp_path):
    _, page, _ = pages({**data, "torch_parity": 2.4e-7}, tmp_path)
    assert "2.4e-07" in page.text


def test_the_headline_says_the_figures_of_the_report(data, tmp_path):
    report, _, _ = pages(data, tmp_path)
    first, second = headline(report)
    assert "On 12 games" in first
    assert f"{100 * report['arms']['critic']['success']:.0f} % of 48 episodes" in first
    assert "166 goals that were never the task" in second
    assert headline({"arms": {}, "goals": {}}) == [
        "No guided episode was played, so there is no result to tell yet."
    ]


def compared(difference, low, high):
    return {"difference": difference, "ci95": [low, high]}


def test_the_caveats_follow_the_figures():
    def said(**minus):
        report = {"arms": {"critic": {"minus": minus}}, "settings": {"proposer": "gpt"}}
        return " ".join(caveats(report))

    assert said(first=compared(0.5, 0.3, 0.7)) == ""
    assert "does not show that the critic beats 'first proposal'" in said(
        first=compared(0.1, -0.1, 0.3)
    )
    assert "beats 'shuffled scores'" in said(shuffled=compared(0.1, None, None))
    assert "the success-only critic does about as well" in said(
        success_only=compared(0.0, -0.1, 0.1)
    )
    assert "better than the critic" in said(success_only=compared(-0.2, -0.3, -0.1))
    assert said(success_only=compared(0.3, 0.1, 0.4)) == ""


def test_a_scripted_proposer_and_a_quick_run_are_said():
    settings = {"candidates": 6, "expert_in_candidates": 0.9, "quick": True}
    said = caveats({"arms": {}, "settings": settings})
    assert "6 proposals with probability 0.9" in said[0]
    assert "quick run" in said[-1]


def test_the_terminal_shows_arms_goals_and_verdict(data, tmp_path):
    report, _, _ = pages(data, tmp_path)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_table(report))
    text = console.export_text()
    for words in ("Success-only critic", "cook", "All goals", "Offline, on held-out tasks"):
        assert words in text


def test_json_never_holds_what_json_cannot():
    assert finite({"a": [float("nan"), float("inf"), 1.0], 2: (True, None)}) == {
        "a": [None, None, 1.0],
        "2": [True, None],
    }
