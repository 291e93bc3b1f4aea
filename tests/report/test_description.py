"""What the survey counts, and when it warns."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from pgv_jax.report.description import describe, estimate_tokens
from pgv_jax.report.health.leaks import action_head, binomial_tail, find_leaks
from pgv_jax.report.pages.dataset import to_html, to_text
from pgv_jax.types import Episode, Step
from tests.data import strategies


def make(i: int, success: bool | None, final: str = "end", steps: Any = None) -> Episode:
    own = steps or (Step(f"room {i}", "I look.", "look"), Step(f"hall {i}", "go", "go"))
    return Episode(f"e{i}", f"t{i}", "task", own, final, success, is_terminal=success is not None)


def test_counts() -> None:
    found = describe([make(0, True), make(1, False), make(2, None), make(1, False)])
    facts = found.facts
    assert (facts["episodes"], facts["steps"], facts["tasks"]) == (4, 8, 3)
    assert facts["outcomes"] == {"success": 1, "failure": 2, "unknown": 1}
    assert (facts["duplicate_episodes"], facts["distinct_observations"]) == (1, 6)
    assert facts["length"] == {"min": 2, "median": 2, "mean": 2, "p90": 2, "max": 2}
    assert [e.episode_id for e in found.samples] == ["e0", "e1", "e2"]
    assert any("1 of 4 episodes have no outcome" in p for p in found.problems)
    assert any("are exact repetitions" in p for p in found.problems)


def test_a_label_that_leaks_through_an_action_or_the_end_is_found() -> None:
    transfer = (Step("o", "h", "transfer(x)"),)
    told = [make(i, False, "They gave up.", transfer) for i in range(40)]
    told += [make(100 + i, True, "Fine.") for i in range(40)]
    told += [make(200 + i, False) for i in range(40)]
    leaks = describe(told).facts["leaks"]
    assert leaks["action"] == [
        {"text": "transfer", "outcome": "failure", "episodes": 40, "share": 1.0}
    ]
    assert {leak["text"] for leak in leaks["final"]} == {"They gave up.", "Fine.", "end"}


def test_chance_is_not_called_a_leak() -> None:
    base = {"success": 0.5, "failure": 0.5}
    one = Counter({("but", "failure"): 10, ("but", "success"): 1})
    assert find_leaks(one, base) != []
    for i in range(200):  # the same among many tried words is chance
        one[f"word {i}", "failure"] = one[f"word {i}", "success"] = 6
    assert find_leaks(one, base) == []
    assert find_leaks(Counter({("rare", "failure"): 9}), base) == []


def test_binomial_tail() -> None:
    assert binomial_tail(0, 5, 0.3) == pytest.approx(1)
    assert binomial_tail(3, 3, 0.5) == pytest.approx(0.125)
    assert binomial_tail(2, 3, 0.5) == pytest.approx(0.5)


def test_named_outcomes_and_missing_thoughts() -> None:
    steps = (Step("Your score: 1.0", "go", "go", metadata={"thought_from": "action"}),)
    found = describe([make(0, True, "Answer is CORRECT", steps)])
    assert found.facts["observations_name_outcome"] == 1
    assert found.facts["finals_name_outcome"] == 1
    assert found.facts["share_with_own_thought"] == 0
    assert any("knows the answer" in p for p in found.problems)
    assert any("no reasoning of their own" in p for p in found.problems)


def test_tokens() -> None:
    assert estimate_tokens("You take the egg.") == 2 + 5
    assert estimate_tokens("countertop") == 2 + 2
    long = make(0, True, steps=(Step("word " * 300, "h", "a"),))
    facts = describe([long]).facts
    assert facts["tokens"]["share_over_limit"]["observation"] == 1
    exact = describe([long], count_tokens=len).facts
    assert not exact["tokens"]["estimated"] and exact["tokens"]["observation"]["max"] == 1500


@pytest.mark.parametrize(
    ("action", "head"),
    [
        ("search[x]", "search"),
        ('f({"a": 1})', "f"),
        ("go to shelf 1", "go"),
        ("", ""),
        ("[x]", "[x]"),
    ],
)
def test_action_head(action: str, head: str) -> None:
    assert action_head(action) == head


@given(strategies.episodes)
def test_anything_can_be_described(episode: Episode) -> None:
    found = describe([episode])
    assert to_text(found, "x").startswith("x\n")


def test_the_page_is_escaped_and_deterministic() -> None:
    found = describe([make(0, True, "<script>alert(1)</script>")])
    page = to_html(found, "A <b>title</b>")
    assert "<script>" not in page and "<b>" not in page
    assert page == to_html(describe([make(0, True, "<script>alert(1)</script>")]), "A <b>title</b>")


def test_nothing_at_all() -> None:
    found = describe([])
    assert found.facts["episodes"] == 0
    assert "No episode has an outcome" in to_text(found, "x")
    assert "<svg" not in to_html(found, "x")
