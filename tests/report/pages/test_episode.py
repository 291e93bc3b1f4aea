"""One episode as a page: what it tells, and how it stays small and sound."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.critic.imagined import Expectation
from pgv_jax.report.pages import episode as viewer
from pgv_jax.report.pages.episode_values import in_words, recorded, scored
from pgv_jax.texts.templates import FAILURE, SUCCESS
from pgv_jax.types import Candidate, Episode, Step
from tests.report.demo import KnowingScorer, make_episode
from tests.report.page_checks import check_page, check_svg

REFINED = {
    "outcome": "rewritten",
    "reason": "",
    "rounds": [
        {
            "thought": "I go west to the kitchen.",
            "goals": [
                {"text": "You are in the kitchen.", "good": True, "score": 0.7},
                {"text": "You are lost.", "good": False, "score": 0.25},
            ],
            "shown": 'Good outcome: "You are in the kitchen." 0.70',
            "kept": False,
        },
        {"thought": "I go east to the kitchen.", "goals": [], "score": 0.4, "kept": True},
    ],
}


def tell(*steps: Step, **fields: object) -> Episode:
    whole = Episode("e/1", "t", "Cook.", steps, "It is cooked.", True, is_terminal=True)
    return replace(whole, **fields)


def page_of(episode: Episode) -> str:
    return viewer.episode_page(episode, recorded(episode), "runs/mine")


@given(st.text("ab c.\n", max_size=40), st.text("ab c.\n", max_size=40))
def test_a_diff_tells_both_texts_whole(old: str, new: str):
    parts = viewer.word_diff(old, new)
    assert "".join(words for kind, words in parts if kind != "new") == old
    assert "".join(words for kind, words in parts if kind != "gone") == new


def test_a_diff_goes_by_words():
    assert viewer.word_diff("I go west, then cook.", "I go east, then cook.") == (
        ("same", "I go"),
        ("gone", " west"),
        ("new", " east"),
        ("same", ", then cook."),
    )
    assert viewer.word_diff("Open it.", "I shall rather wait here") == (
        ("gone", "Open it."),
        ("new", "I shall rather wait here"),
    )


def test_recorded_values_are_the_chosen_thoughts():
    one = Candidate("a", "x", {SUCCESS: 0.2, FAILURE: 0.6})
    two = Candidate("b", "y", {SUCCESS: 0.5})
    episode = tell(
        Step("o", "b", "y", candidates=(one, two)),
        Step("o", "a", "x", candidates=(one,)),
        Step("o", "c", "z"),
    )
    values = recorded(episode)
    assert values.curves == {SUCCESS: [(1, 0.5), (2, 0.2)]}  # one point is no curve
    assert values.q[0] == [{SUCCESS: 0.2, FAILURE: 0.6}, {SUCCESS: 0.5}]
    assert values.q[2] == [{}]


def test_a_critic_is_asked_with_its_history_and_its_heads():
    class Asked:
        def q_pairs(self, tasks, observations, thoughts, goals):
            self.q = list(zip(tasks, observations, thoughts, goals, strict=True))
            return np.arange(len(tasks)) / 10

        def v_pairs(self, tasks, observations, goals):
            self.v = list(zip(tasks, observations, goals, strict=True))
            return np.arange(len(tasks)) / 10

    episode = tell(
        Step("o1", "t1", "a1"),
        Step("o2", "n", "n", candidates=(Candidate("m", "m"), Candidate("n", "n"))),
    )
    scorer = Asked()
    values = scored(episode, scorer, ["g"], history=1, heads=("q", "v"), name="c")
    past = "Observation: o1\nAction: a1\nObservation: o2"
    assert scorer.q == [("Cook.", "Observation: o1", "t1", "g")] + [
        ("Cook.", past, thought, "g") for thought in ("m", "n")
    ]
    assert [o for _, o, _ in scorer.v][:2] == ["Observation: o1", past]
    assert values.curves == {"g": [(1, 0.0), (2, 0.1), (3, 0.2)]}  # the end is one more
    assert values.letter == "V"
    assert values.q == [[{"g": 0.0}], [{"g": 0.1}, {"g": 0.2}]]

    only_q = scored(episode, scorer, ["g"], history=0, heads=("q",), name="c")
    assert (only_q.letter, only_q.curves) == ("Q", {"g": [(1, 0.0), (2, 0.2)]})


def test_the_page_tells_the_episode():
    scores = {SUCCESS: 0.9, FAILURE: 0.05}
    step = Step(
        "You are in the hall.",
        "I go east to the kitchen.",
        "go east",
        reward=1.0,
        candidates=(
            Candidate("I go west to the kitchen.", "go west", {SUCCESS: 0.3}, False),
            Candidate("I go east to the kitchen.", "go east", scores, True),
        ),
        metadata={
            "refinement": REFINED,
            "prompt_tokens": 1204,
            "dollars": 0.0125,
            "seconds": 2.5,
            "scorer_failed": "ValueError: gone",
        },
    )
    page = page_of(tell(step, Step("Here.", "done", "eat"), metadata={"arm": "critic"}))
    text = " ".join(check_page(page).text.split())
    for words in (
        "Episode e/1",
        "ended in success after 2 steps. From runs/mine.",
        "Step 1 go east",
        "You are in the hall.",
        "I go east to the kitchen. go east chosen rewritten right",
        f"{SUCCESS} 0.90",
        f"{FAILURE} 0.05",
        "good: You are in the kitchen. 0.70",
        "bad: You are lost. 0.25",
        "one number for success 0.40",
        "the model rewrote the thought",
        "reward 1 · 1,204 tokens read · $0.0125 · 2.50 s",
        "the critic failed: ValueError: gone",
        "It is cooked.",
        "arm critic",
        "1 rewritten",
    ):
        assert words in text, words
    assert "I go<del> west</del><ins> east</ins> to the kitchen." in page
    assert "width:90.0%" in page


def test_where_most_is_as_before_the_new_is_told_first():
    before = "You are in the hall. It is dark. The door is closed."
    after = "You are in the hall. It is dark. The door is open."
    page = page_of(tell(Step(before, "a", "a"), Step(after, "b", "b"), Step("Fog.", "c", "c")))
    assert re.search(r"New:</span>\s*The door is open\.</p>", page)
    assert page.count("All that it saw") == 1
    assert after in page


def test_an_action_is_in_the_heading_unless_it_is_long_or_the_thought_itself():
    long = "call(" + "x, " * 40 + ")"
    page = page_of(
        tell(Step("o", "t", "look"), Step("o", "Hello.", "Hello."), Step("o", "t", long))
    )
    check_page(page)
    assert "Step 1 <code>look</code></h3>" in page
    assert "Step 2</h3>" in page and page.count("Hello.") == 1
    assert "Step 3</h3>" in page and f"<pre>{long}</pre>" in page


def test_an_episode_without_values_has_no_curve_and_no_bars():
    page = page_of(tell(Step("o", "", "look"), success=None, final_observation=""))
    found = check_page(page)
    assert "svg" not in [tag for tag, _ in found.tags]
    assert 'class="track"' not in page
    assert "has no known outcome" in found.text
    assert "(nothing was logged)" in found.text


def test_what_the_log_says_is_shown_and_never_run():
    evil = "<script>alert(1)</script> $x_1$ & \x00 \u202e \u4e2d\u6587 {{ 1 }}"
    step = Step(evil, evil, evil, candidates=(Candidate(evil, evil, {evil: 0.4}),))
    refined = {"outcome": "fallback", "reason": evil, "rounds": [{"thought": evil}]}
    again = replace(step, metadata={"refinement": refined})
    page = page_of(
        tell(step, again, episode_id=evil, task=evil, final_observation=evil, metadata={"k": evil})
    )
    check_page(page)
    assert "<script" not in page


@pytest.mark.part("report")
def test_five_hundred_steps_stay_below_two_megabytes():
    episode = make_episode("game", 0, "critic", False, 500)
    long = tuple(
        replace(step, observation=f"{t} " + "x" * 20_000) for t, step in enumerate(episode.steps)
    )
    values = scored(
        episode, KnowingScorer([episode], 0.3), [SUCCESS, FAILURE], history=0, heads="qv", name="c"
    )
    page = viewer.episode_page(episode, values, "d")
    found = check_page(page)
    assert "Shortened" not in page
    for number in (1, 26, 476):
        assert f"step-{number}" in found.ids
        assert number == 1 or f'href="#step-{number}"' in page
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    check_svg(svg)

    cut = viewer.episode_page(replace(episode, steps=long), values, "d")
    check_page(cut)
    assert "Shortened" in cut and "more)" in cut
    assert [f"{t} xxx" in cut for t in (0, 499)] == [True, True]


def test_every_heading_and_place_is_reached_by_keys():
    found = check_page(page_of(make_episode("game", 0, "critic", True, 60)))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    places = {a["id"] for tag, a in found.tags if tag in ("h2", "h3") and "tabindex" in a}
    links = {a["href"][1:] for tag, a in found.tags if tag == "a" and "href" in a}
    assert {"steps", "end", "step-26", "step-51"} <= places & links


@pytest.mark.parametrize(
    ("wanted", "first"), [("game-1", "critic/game-1/0"), ("critic/gme-2/0", "critic/game-2/0")]
)
def test_near_ids(wanted: str, first: str):
    ids = [f"{arm}/game-{i}/0" for arm in ("first", "critic") for i in (2, 7, 3)]
    ids += ["critic/game-1/0"]
    assert viewer.near_ids(wanted, ids)[0] == first
    assert viewer.near_ids("zzz", ids) == ids[:5]


def test_what_a_critic_expects_is_told_in_words():
    told = Expectation(
        (("The door is closed.", 0.98), ("You are here.", 0.1)),
        (("The door is open.", 0.7),),
        {"goes on": 0.85, "success": 0.02, "failure": 0.12, "cut off": 0.01},
    )
    assert in_words(told) == (
        "goes: “The door is closed.” (0.98); appears: “The door is open.” (0.70); failure (0.12)"
    )
    nothing = Expectation((("You are here.", 0.1),), (), {"goes on": 1.0, "success": 0.0})
    assert in_words(nothing) == "nothing changes"


def test_a_page_tells_what_is_expected_of_each_candidate():
    episode = tell(Step("You see a <door>.", "I open it.", "open"))
    values = replace(recorded(episode), expected=[["goes: “You see a <door>.” (0.90)"]])
    page = viewer.episode_page(episode, values, "runs/mine")
    check_page(page)
    assert "Expected next: goes: “You see a &lt;door&gt;.” (0.90)" in page
    assert "Expected next" not in page_of(episode)
