"""WebShop's reward on cases that were worked out by hand from its published formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.tasks.webshop.catalogue import Product, small_catalogue
from pgv_jax.tasks.webshop.reward import (
    COLORS,
    Wanted,
    normalized_color,
    reward,
    similarity,
    title_nouns,
    title_score,
)

SHOE = Product(
    "B000000001",
    "Trailstar Running Shoe with Mesh",
    query="running shoes",
    product_category="Clothing \u203a Men \u203a Shoes \u203a Running",
    description="A light shoe for every day.",
    features=("Rubber sole", "Memory foam insole"),
    options={"color": ("fire red", "sky blue"), "size": ("8", "8.5")},
    attributes=("rubber sole", "day comfort"),
    price=42.0,
)
GOAL = Wanted(SHOE, ("rubber sole", "memory foam"), ("fire red", "8"), 50.0)
CHOSEN = {"color": "fire red", "size": "8"}


def changed(**fields) -> Product:
    kept = {name: getattr(SHOE, name) for name in SHOE.__dataclass_fields__}
    return Product(**{**kept, **fields})


@pytest.mark.parametrize(
    ("bought", "chosen", "parts", "total"),
    [
        # (attributes + options + price) / (2 + 2 + 1), times the type
        (SHOE, CHOSEN, (1.0, 1.0, 1.0, True), 1.0),
        (SHOE, {"color": "fire red"}, (1.0, 1.0, 0.5, True), 4 / 5),
        (SHOE, {}, (1.0, 1.0, 0.0, True), 3 / 5),
        (changed(price=50.01), CHOSEN, (1.0, 1.0, 1.0, False), 4 / 5),
        (changed(price=50.0), CHOSEN, (1.0, 1.0, 1.0, True), 1.0),
        # a size must be equal, a colour need only be of the same colour word
        (SHOE, {"color": "red", "size": "8.5"}, (1.0, 1.0, 0.5, True), 4 / 5),
        (SHOE, {"color": "sky blue", "size": "8"}, (1.0, 1.0, 0.5, True), 4 / 5),
        # "memory foam" stands in the features only, "rubber sole" in the attributes too
        (changed(features=()), CHOSEN, (1.0, 0.5, 1.0, True), 4 / 5),
        (changed(features=(), attributes=()), CHOSEN, (1.0, 0.0, 1.0, True), 3 / 5),
        (changed(features=(), attributes=("made of rubber",)), CHOSEN, (1, 0, 1, True), 0.6),
        # a chosen option that stands in the text of the product counts, wanted or not
        (changed(title="Trailstar Running Shoe, Sky Blue"), {"color": "sky blue", "size": "8"},
         (1.0, 1.0, 1.0, True), 1.0),
    ],
)  # fmt: skip
def test_the_published_formula_by_hand(bought, chosen, parts, total):
    found = reward(bought, GOAL, chosen)
    assert (found.type, found.attributes, found.options, found.price) == parts
    assert found.total == pytest.approx(total)


@pytest.mark.parametrize(
    ("title", "query", "path", "kind"),
    [
        # nouns of the goal's title: trailstar, running, shoe, mesh
        ("Trailstar Running Shoe", "x", "y", 1.0),  # 3/4 of the nouns: enough by itself
        ("Mesh Bag", "x", "y", 1.0),  # 1/4 > .2
        ("Mesh Bag", "running shoes", "y", 1.0),
        ("Garden Hose", "running shoes", SHOE.product_category, 0.0),  # none overrules the rest
    ],
)
def test_the_type_of_what_was_bought(title, query, path, kind):
    bought = changed(title=title, query=query, product_category=path)
    assert reward(bought, GOAL, CHOSEN).type == kind


def test_a_fifth_and_a_tenth_of_the_nouns_are_the_borders():
    names = [f"word{letter}" for letter in "abcdefghijkl"]

    def kind(shared: int, of: int, query: str, path: str = "Elsewhere") -> float:
        goal = Wanted(changed(title=" ".join(names[:of])), ("rubber sole",), (), 99.0)
        title = " ".join([*names[:shared], "other"])
        bought = changed(title=title, query=query, product_category=path)
        return reward(bought, goal, {}).type

    assert kind(2, 10, "other") == 0.5  # exactly a fifth is not more than a fifth
    assert kind(3, 12, "other") == 1.0
    assert kind(2, 10, "running shoes") == 1.0
    assert kind(2, 10, "other", SHOE.product_category) == 1.0
    assert kind(1, 10, "other") == 0.5  # exactly a tenth is not fewer than a tenth
    assert kind(1, 12, "running shoes") == 0.1


def test_a_goal_without_options_pays_for_attributes_and_price():
    goal = Wanted(SHOE, ("rubber sole", "cotton"), (), 10.0)
    found = reward(SHOE, goal, {"size": "8"})
    # choosing an option that nobody asked for neither counts nor costs
    assert found.options is None and found.total == pytest.approx(1 / 3)


def test_more_matching_options_than_wanted_do_not_pay_more_than_one():
    goal = Wanted(SHOE, ("rubber sole",), ("fire red",), 50.0)
    shoe = changed(title="Trailstar Running Shoe with Mesh 8")
    found = reward(shoe, goal, {"color": "fire red", "size": "8"})
    assert found.options == 2.0 and found.total == 1.0


def test_colours_are_reduced_to_the_first_word_of_the_list():
    assert normalized_color("light navy") == "light"  # by the list's order, not the value's
    assert normalized_color("bored") == "red"  # a part of a word counts: so does the original
    assert normalized_color("8") == "8"
    assert len(COLORS) == len(set(COLORS)) and list(COLORS).index("gray") + 2 == COLORS.index(
        "grey"
    )


def test_similarity_is_of_sets_of_words():
    assert similarity("sole of rubber", "RUBBER, sole!") == 100
    assert similarity("caf\u00e9", "caf") == 100  # letters of Latin-1's upper half are left out
    assert similarity("", "rubber") == 0
    # 'abcdefg' and 'abcdefx': 2 * 6 / 14 = 85.7, rounded 86; one letter less: 2 * 5 / 12 = 83.3
    assert similarity("abcdefg", "abcdefx") == 86
    assert similarity("abcdef", "abcdex") == 83


def test_nouns_count_as_often_as_the_wanted_title_has_them():
    assert title_nouns("A Lamp for the Lamp, 12.5 inch x3") == ["lamp", "lamp", "inch", "x3"]
    assert title_score("Lamp", "Lamp Lamp Shade") == pytest.approx(1 / 3)
    assert title_score("Lamp", "for the 3") == 0.2  # a title without nouns decides nothing
    assert title_score("Lamp", "Red Lamp", nouns=lambda title: ["lamp"]) == 1.0


PRODUCTS = small_catalogue().products
PAIRS = st.tuples(st.sampled_from(PRODUCTS), st.sampled_from(PRODUCTS))


@given(PAIRS, st.data())
def test_a_reward_is_within_0_and_1_and_its_own_product_earns_it_all(pair, data):
    bought, wanted = pair
    values = {k: data.draw(st.sampled_from(v)) for k, v in wanted.options.items()}
    goal = Wanted(wanted, wanted.instruction_attributes, tuple(values.values()), wanted.price)
    chosen = {k: data.draw(st.sampled_from(v)) for k, v in bought.options.items()}
    assert 0.0 <= reward(bought, goal, chosen).total <= 1.0
    assert reward(wanted, goal, values).total == 1.0
