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


def test_a_form_that_all_texts_share_does_not_make_them_alike() -> None:
    form = "Answer the given question. Think first, call the search engine, then answer: "
    asked = [f"who painted the {thing} in {place}" for thing in ("ship", "tree", "king", "moon")
             for place in ("Rome", "Oslo", "Cairo")]  # fmt: skip
    texts = {question: form + question for question in asked}
    texts["again"] = form + "please, who painted the ship in Rome"
    found = near_duplicates(texts)
    assert found["again"] == "who painted the ship in Rome"
    assert len(set(found.values())) == len(asked)
