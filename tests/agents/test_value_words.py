import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.agents.imagined_goals import Goal
from pgv_jax.agents.value_words import (
    SCORES,
    deal,
    in_words,
    number_words,
    parse_guess,
    parse_refinement,
    scalar_in_words,
)
from pgv_jax.errors import PgvError

GOALS = (Goal("A is so.", True), Goal("B is so.", False))
THOUGHT = "I open the fridge."


def test_raw_numbers() -> None:
    assert in_words(GOALS, np.array([0.731, 0.2])) == (
        '- Good outcome: "A is so." 0.73\n- Bad outcome: "B is so." 0.20'
    )


def test_goals_without_numbers() -> None:
    shown = in_words(GOALS, deal(np.array([0.7, 0.2]), "none", 0))
    assert shown == '- Good outcome: "A is so."\n- Bad outcome: "B is so."'


def test_calibrated_numbers_are_percent_of_the_calibration() -> None:
    halve = lambda score_G: score_G / 2  # noqa: E731
    assert number_words(np.array([0.5, 1.0, np.nan]), "calibrated", halve) == ["25 %", "50 %", ""]
    with pytest.raises(PgvError, match="need a calibration"):
        number_words(np.array([0.5]), "calibrated")


def test_ranks_need_no_scale() -> None:
    words = ["number 2 of 4 in likelihood", "most likely of these", "least likely of these"]
    scores = np.array([0.2, 0.3, 0.1, 0.2])
    assert number_words(scores, "rank") == [*words, words[0]]
    assert number_words(scores * 3, "rank") == number_words(scores, "rank")
    assert number_words(np.array([0.5, 0.5]), "rank") == ["equally likely"] * 2
    assert scalar_in_words(0.25, "rank") == "- The task will succeed: 0.25"


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    source=st.sampled_from(SCORES),
    seed=st.integers(0, 99),
)
def test_controls(scores: list[float], source: str, seed: int) -> None:
    dealt = deal(np.array(scores), source, seed)
    assert dealt.shape == (len(scores),)
    np.testing.assert_array_equal(dealt, deal(np.array(scores), source, seed))
    if source == "permuted":
        assert sorted(dealt) == sorted(scores)
    elif source == "constant":
        assert set(dealt) == {0.5}
    elif source == "none":
        assert np.isnan(dealt).all()
    else:
        np.testing.assert_array_equal(dealt, scores)


def test_permuting_moves_each_score_everywhere_alike() -> None:
    places = [int(np.argmax(deal(np.array([1.0, 0, 0, 0]), "permuted", s))) for s in range(400)]
    assert all(60 < places.count(place) < 140 for place in range(4))


@pytest.mark.parametrize(
    "text",
    [
        '{"probabilities": [0.2, 0.75]}',
        '```\n{"probabilities": ["20%", "75%"]}\n```',
        "[0.2, 0.75]",
        "A is so: 0.2\nB is so: 0.75",
        '{"probabilities": {"A is so.": 20, "B is so.": 75}}',
    ],
)
def test_guesses_are_read(text: str) -> None:
    guess = parse_guess(text, 2)
    assert guess is not None and guess.tolist() == pytest.approx([0.2, 0.75])


@pytest.mark.parametrize(
    "text",
    ["", "likely", "[0.2]", '{"probabilities": [0.2, 0.3, 0.4]}', "[0.2, true]", "[0.2, -1]"],
)
def test_guesses_of_another_form_are_malformed(text: str) -> None:
    assert parse_guess(text, 2) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"decision": "keep", "thought": "whatever"}',
        "Decision: keep",
        "KEEP.",
        '{"decision": "rewrite", "thought": "i open the fridge"}',
    ],
)
def test_keeping(text: str) -> None:
    assert parse_refinement(text, THOUGHT) == (True, THOUGHT)


@pytest.mark.parametrize(
    "text",
    [
        '{"decision": "rewrite", "thought": "I go  north."}',
        '{"thought": "I go north."}',
        "**Decision:** rewrite\n**Thought:** I go north.",
        "```json\n{'decision': 'Rewrite', 'thought': 'I go north.'}\n```",
    ],
)
def test_rewriting(text: str) -> None:
    assert parse_refinement(text, THOUGHT) == (False, "I go north.")


@pytest.mark.parametrize(
    "text",
    ["", "Hm.", '{"decision": "rewrite"}', '{"decision": "maybe", "thought": "x"}', "rewrite it"],
)
def test_neither_is_malformed(text: str) -> None:
    assert parse_refinement(text, THOUGHT) is None


@given(st.text(), st.integers(1, 4))
def test_no_answer_breaks_the_parsers(text: str, count: int) -> None:
    guess = parse_guess(text, count)
    assert guess is None or (guess.shape == (count,) and ((guess >= 0) & (guess <= 1)).all())
    parse_refinement(text, THOUGHT)
