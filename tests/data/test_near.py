"""Near duplicates: rewordings are found, other tasks and other numbers are not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.near import NEAR, near_duplicates, similarity


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Please put the mug on the desk.", "Could you put the mug on the desk?", 1.0),
        ("Fix the test in src/a.py", "Please fix this test in src/a.py!", 1.0),
        ("put a clean mug in cabinet", "put a hot mug in cabinet", 0.2),  # mug cabinet of five
        ("Buy lamp 1", "Buy lamp 2", 0.0),
        ("Use 4 4 4 8 to make 24", "Use 4 8 8 8 to make 24", 0.0),  # other numbers
        ("Use 4 4 4 8 to make 24", "Make 24: use 8 4 4 4", 1.0),  # the same in another order
        ("Fly on May 12 from Oslo to Rome", "From Oslo to Rome fly on May 12", 1.0),
        ("paint the wall red", "paint the wall red and red", 2 / 3),  # "red red" is one more
        ("the a", "the a", 1.0),
        ("", "", 1.0),
        ("", "cook", 0.0),
    ],
)
def test_similarity(one: str, other: str, expected: float) -> None:
    assert similarity(one, other) == pytest.approx(expected)


words = st.lists(
    st.sampled_from(["put", "take", "mug", "desk", "red", "blue", "1", "2", "the", "please"]),
    max_size=8,
)


@given(st.lists(words.map(" ".join), max_size=9), st.randoms(use_true_random=False))
def test_groups_are_closed_and_do_not_depend_on_the_order(
    told: list[str], shuffle: random.Random
) -> None:
    texts = {str(i): text for i, text in enumerate(told)}
    found = near_duplicates(texts)
    assert found.keys() == texts.keys() and all(found[name] == name for name in found.values())
    for one in texts:
        for other in texts:
            if similarity(texts[one], texts[other]) >= NEAR:
                assert found[one] == found[other]
    names = list(texts)
    shuffle.shuffle(names)
    again = near_duplicates({name: texts[name] for name in names})
    assert {frozenset(n for n in found if found[n] == r) for r in found.values()} == {
        frozenset(n for n in again if again[n] == r) for r in again.values()
    }


def test_another_order_of_words_is_the_same_task_and_brings_its_neighbours_along() -> None:
    texts = {
        "a": "cook the yellow potato, chop the green pepper, then eat the meal at the table",
        "b": "eat the meal at the table, then chop the green pepper, cook the yellow potato",
        "c": "eat the meal at the table, then chop the green pepper, cook the yellow potato slowly",
        "d": "eat the cold soup at the table",
    }
    # c has all eight shingles of b and one more; of a's eight it has the six within clauses.
    assert similarity(texts["a"], texts["b"]) == 1.0
    assert similarity(texts["b"], texts["c"]) == pytest.approx(8 / 9)
    assert similarity(texts["a"], texts["c"]) == pytest.approx(6 / 11)
    assert near_duplicates(texts) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_a_form_that_all_texts_share_does_not_make_them_alike() -> None:
    form = "Answer the given question. Think first, call the search engine, then answer: "
    asked = [f"who painted the {thing} in {place}" for thing in ("ship", "tree", "king", "moon")
             for place in ("Rome", "Oslo", "Cairo")]  # fmt: skip
    texts = {question: form + question for question in asked}
    texts["again"] = form + "please, who painted the ship in Rome"
    found = near_duplicates(texts)
    assert found["again"] == "who painted the ship in Rome"
    assert len(set(found.values())) == len(asked)
