import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgv_jax.agents.imagined_goals import (
    Goal,
    SentenceIndex,
    ground,
    parse_goals,
    read_object,
    training_sentences,
)
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

WANTED = [
    ("The fridge is open.", True),
    ("You have the carrot.", True),
    ("The carrot is burned.", False),
    ("You are in the garden.", False),
]

ANSWERS = {
    "json": '{"positive": ["The fridge is open.", "You have the carrot."],'
    ' "negative": ["The carrot is burned.", "You are in the garden."]}',
    "fenced, with words around": 'Sure!\n```json\n{"positive": ["The fridge is open", '
    '"You have the carrot"], "negative": ["The carrot is burned", "You are in the garden"],}\n```',
    "single quotes": "{'positive': ['the fridge is open.', 'you have the carrot.'], "
    "'negative': ['the carrot is burned.', 'you are in the garden.']}",
    "objects for strings": '{"Positive goals": [{"goal": "The fridge is open."}, '
    '{"goal": "You have the carrot."}], "Negative goals": [{"goal": "The carrot is burned."}, '
    '{"goal": "You are in the garden."}]}',
    "numbered lists": "**Positive outcomes:**\n1. The fridge is open.\n2) You have the carrot.\n\n"
    "**Negative outcomes:**\n- The carrot is burned.\n* You are in the garden.",
    "too many, some twice": '{"positive": ["The fridge is open.", "The fridge is open.", '
    '"You have the carrot.", "The stove is on."], "negative": ["The carrot is burned.", '
    '"You are in the garden.", "Nothing happens."]}',
}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS.keys())
def test_goals_are_read_from_what_models_write(text: str) -> None:
    goals = parse_goals(text, 2)
    assert goals is not None
    assert [(goal.text, goal.good) for goal in goals] == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot say.",
        '{"positive": ["The fridge is open."]}',
        '{"positive": [], "negative": ["It burns."]}',
        '{"positive": ["..."], "negative": ["It burns."]}',
        '{"positive": 3, "negative": null}',
        "Positive: The fridge is open.",
        "[1, 2]",
    ],
)
def test_what_has_no_two_sides_is_malformed(text: str) -> None:
    assert parse_goals(text, 2) is None


@example("{}")  # a set of a dictionary, which Python cannot make
@given(st.text())
def test_no_answer_breaks_the_parsers(text: str) -> None:
    parse_goals(text, 2)
    read_object("{" + text + "}")


@given(st.dictionaries(st.text(), st.lists(st.text()) | st.text() | st.integers()))
def test_goals_are_single_line_sentences(answer: dict[str, object]) -> None:
    goals = parse_goals(json.dumps(answer), 3) or ()
    assert all(g.text == " ".join(g.text.split()) and g.text[-1] in ".!?" for g in goals)
    assert all(sum(g.good is side for g in goals) <= 3 for side in (True, False))


def index() -> SentenceIndex:
    """Words as dimensions, so that nearness can be read off."""
    words = ["fridge", "open", "carrot", "burned", "closed"]

    def embed(texts: object) -> np.ndarray:
        return np.array([[float(w in t.lower()) for w in words] for t in texts])

    return SentenceIndex(["The fridge is open.", "The carrot is burned."], embed)


def test_grounding_reports_or_snaps() -> None:
    goals = (
        Goal("The fridge is wide open.", True),
        Goal("An open fridge.", True),
        Goal("Burned carrot, closed fridge.", False),
    )
    reported = ground(goals, index(), "report")
    assert [g.text for g in reported] == [g.text for g in goals]
    assert [g.nearest for g in reported] == [
        "The fridge is open.",
        "The fridge is open.",
        "The carrot is burned.",
    ]
    assert [g.similarity for g in reported] == pytest.approx([1.0, 1.0, 2 / np.sqrt(2 * 4)])
    snapped = ground(goals, index(), "snap")
    assert [(g.text, g.good, g.asked) for g in snapped] == [
        ("The fridge is open.", True, "The fridge is wide open."),
        ("The carrot is burned.", False, "Burned carrot, closed fridge."),
    ]
    assert snapped[0].to_json()["asked"] == "The fridge is wide open."


def test_a_known_sentence_is_its_own_nearest() -> None:
    texts = [f"Sentence {i}." for i in range(50)]
    nearest = SentenceIndex(texts, HashEncoder(32).encode).nearest(texts[::-1])
    assert [text for text, _ in nearest] == texts[::-1]
    assert all(similarity == pytest.approx(1.0, abs=1e-5) for _, similarity in nearest)


def test_training_sentences_are_those_of_all_notes() -> None:
    steps = (Step("A is so. B is so.", "t", "a"), Step("B is so. C is so.", "t", "a"))
    episode = Episode("e", "t", "do", steps, "D is so.")
    assert training_sentences([episode]) == ["A is so.", "B is so.", "C is so.", "D is so."]


def test_an_empty_index_is_told() -> None:
    with pytest.raises(PgvError, match="needs training sentences"):
        SentenceIndex([], HashEncoder(4).encode)
