"""Files of WebShop's formats: products, goals, click logs; and the search engine."""

import gzip
import json
import random

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.tasks.webshop.catalogue import load_catalogue, small_catalogue
from pgv_jax.tasks.webshop.env import WebShopEnv, open_shop
from pgv_jax.tasks.webshop.instructions import NO_LIMIT, make_goals
from pgv_jax.tasks.webshop.replay import read_click_log, replay, shop_of
from pgv_jax.tasks.webshop.search_engine import RESULTS, SearchEngine


def raw(number: int, **fields) -> dict:
    """A product as WebShop's ``items_shuffle.json`` has it."""
    return {
        "asin": f"B00000000{number}",
        "name": f"Lamp {number}",
        "full_description": "A lamp.",
        "small_description": ["Stands.", "Shines."],
        "pricing": "$1,010.00",
        "category": "garden",
        "query": " Floor Lamps ",
        "product_category": "Home \u203a Lamps",
        "customization_options": {
            "Color": [{"value": " Black/Gold ", "image": None}, {"value": "White"}],
            "Size": None,
        },
        "images": ["x"],
        **fields,
    }


@pytest.fixture
def folder(tmp_path):
    products = [
        raw(1),
        raw(2, pricing="$10.00$20.00", customization_options=None, small_description="One."),
        raw(3, pricing=""),
        raw(3, name="twice"),
        raw(4, asin="nan"),
        raw(5, asin="B0000000000LONG"),
    ]
    (tmp_path / "items_shuffle.json").write_text(json.dumps(products))
    said = {"instruction": "Find me lamps", "instruction_attributes": ["easy assemble"]}
    attributes = {
        "B000000001": {"attributes": ["easy assemble", "wood"], **said},
        "B000000002": {"attributes": [], **said},
    }
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(attributes))
    human = {
        f"B00000000{n}": [
            {"instruction": f"lamp {n}{k}.", "instruction_attributes": ["wood"] * (k != "c"),
             "instruction_options": ["white"]}
            for k in "abc"
        ]
        for n in (1, 2, 9)
    }  # fmt: skip
    (tmp_path / "items_human_ins.json").write_text(json.dumps(human))
    told = [{"title": "Fine", "stars": "4.0", "review": "It shines."}]
    reviews = [{"asin": "B000000003", "average_rating": 4.5, "reviews": told}]
    (tmp_path / "reviews.json").write_text(json.dumps(reviews))
    return tmp_path


def test_products_are_read_as_webshop_reads_them(folder):
    first, second, third = load_catalogue(folder).products
    assert first.options == {"color": ("black | gold", "white")}
    assert (first.price, first.price_tag, first.query) == (1010.0, "$1010.0", "floor lamps")
    assert first.attributes == ("easy assemble", "wood") and first.features == (
        "Stands.",
        "Shines.",
    )
    assert 10 <= second.price <= 20 and second.price_tag == "$10.0 to $20.0"
    assert second.shown_prices == (10.0, 20.0) and second.features == ("One.",)
    assert (third.price, third.price_tag, third.title) == (100.0, "$100.0", "Lamp 3")
    assert third.attributes == ("DUMMY_ATTR",) and third.rating == "4.5"
    assert (third.reviews[0].score, third.reviews[0].body) == ("4.0", "It shines.")
    document = load_catalogue(folder).document(0)
    assert document == "lamp 1 a lamp. stands. color: black | gold, white"


def test_processed_products_as_json_lines(tmp_path):
    record = raw(1, Title="Lamp", Description="D", BulletPoints=[], pricing=[5.0, 7.0],
                 Price="$5.0 to $7.0", options={"size": ["s"]}, Attributes=["wood"])  # fmt: skip
    path = tmp_path / "products_1k.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps(record) + "\n\n")
    (product,) = load_catalogue(path).products
    assert product == load_catalogue(tmp_path).products[0]
    assert (product.title, product.options, product.attributes) == (
        "Lamp",
        {"size": ("s",)},
        ("wood",),
    )


def test_files_that_do_not_fit_are_sentences(tmp_path, folder):
    with pytest.raises(PgvError, match=r"holds no products; a file like items_shuffle"):
        load_catalogue(tmp_path / "nowhere")
    (folder / "products.jsonl").write_text("{}\n")
    with pytest.raises(PgvError, match=r"several files of products .*; name one"):
        load_catalogue(folder)
    with pytest.raises(PgvError, match="no product of WebShop"):
        load_catalogue(folder / "products.jsonl")
    (folder / "products.jsonl").write_text("{\n")
    with pytest.raises(PgvError, match=r"products.jsonl:1: not JSON"):
        load_catalogue(folder / "products.jsonl")


def test_the_companion_of_the_same_size_is_read(folder):
    (folder / "items_ins_v2_1000.json").write_text(
        json.dumps({"B000000001": {"attributes": ["small"]}})
    )
    assert load_catalogue(folder).products[0].attributes == ("easy assemble", "wood")
    (folder / "items_shuffle.json").rename(folder / "items_shuffle_1000.json")
    assert load_catalogue(folder).products[0].attributes == ("small",)


def test_human_goals_are_in_webshop_s_order(folder):
    catalogue = load_catalogue(folder)
    goals = make_goals(catalogue, "human")
    ordered = sorted(goals["test"] + goals["train"], key=lambda g: int(g.goal_id[6:]))
    expected = ["lamp 1a", "lamp 1b", "lamp 2a", "lamp 2b"]
    random.Random(233).shuffle(expected)
    assert [goal.instruction.partition(",")[0] for goal in ordered] == expected
    assert goals["test"] == ordered[:1] and ordered[0].options == ("white",)
    env = WebShopEnv(folder, goals="human")
    assert env.task_ids("test") == ("human-0",)


def test_limits_are_among_the_next_four_tens_and_said(folder):
    goals = make_goals(load_catalogue(folder), "human")
    for goal in goals["train"] + goals["test"]:
        if goal.product.price > 1000:
            assert goal.price_limit == NO_LIMIT and "price" not in goal.instruction
        else:
            above = goal.price_limit - goal.product.price
            assert goal.price_limit % 10 == 0 and 10 < above <= 40
            assert goal.instruction.endswith(
                f", and price lower than {goal.price_limit:.2f} dollars"
            )


def test_synthetic_goals_name_one_value_of_each_option(folder):
    catalogue = load_catalogue(folder)
    one = make_goals(catalogue, "synthetic")
    every = make_goals(catalogue, "synthetic", combinations=0)
    assert sum(map(len, one.values())) == 2 and sum(map(len, every.values())) == 3
    said = {goal.instruction for part in every.values() for goal in part}
    assert "Find me lamps with color: white" in said
    assert "Find me lamps with color: black | gold" in said


def test_no_product_is_in_two_splits():
    goals = make_goals(small_catalogue(), "synthetic", combinations=0)
    train, test = ({goal.product.asin for goal in goals[split]} for split in ("train", "test"))
    assert not train & test and len(test) == 32 and len(train) == 128
    ids = [goal.goal_id for part in goals.values() for goal in part]
    assert len(ids) == len(set(ids)) > 600


def test_our_own_catalogue_is_well_formed():
    products = small_catalogue().products
    assert len({product.asin for product in products}) == len(products) == 160
    assert products == small_catalogue().products
    for product in products:
        assert len(product.asin) == 10 and product.asin.isupper() and product.options
        assert set(product.instruction_attributes) <= set(product.attributes)


def test_the_search_engine_ranks_stems_and_survives_signs():
    engine = SearchEngine(["red lamp", "lamps and more lamps", "blue rug", "red rug", "red rug"])
    assert engine.search("LAMP") == (1, 0)
    assert engine.search("rugs") == (2, 3, 4)  # equal scores: in their order
    assert engine.search("red lamp")[0] == 0
    for query in ("", "!?", "AND OR NOT", 'title:"x', "[a TO b]", "+-~*^", "zzz", "\x00"):
        assert set(engine.search(query)) <= set(range(5))
    assert engine.search("zzz") == ()
    many = SearchEngine(["lamp"] * 80)
    assert many.search("lamp") == tuple(range(RESULTS)) and RESULTS == 50
    assert engine.search("lamp " * 5000) == (1, 0)


def written(path, shop, actions, goal):
    """A click log of a walk through a shop, in WebShop's own format."""
    from pgv_jax.tasks.webshop.pages import Place, parse_action

    told = {
        "asin": goal.product.asin, "category": goal.product.category, "query": goal.product.query,
        "name": goal.product.title, "product_category": goal.product.product_category,
        "instruction_text": goal.instruction, "attributes": list(goal.attributes),
        "price_upper": goal.price_limit, "goal_options": list(goal.options),
    }  # fmt: skip
    names = {"search": "index", "results": "search_results", "item": "item_page",
             "sub": "item_sub_page", "end": "done"}  # fmt: skip
    place, lines = Place(), []
    for action in ("", *actions):
        place = shop.follow(place, parse_action(action)) if action else place
        page, content = names[place.page], {}
        if place.page not in ("search", "end"):
            content |= {"keywords": place.query.split(), "page": place.number}
        if place.page == "results":
            content["search_result_asins"] = [shop.catalogue.products[r].asin for r in place.shown]
        elif place.page != "search":
            product = shop.product(place)
            content |= {"asin": product.asin, "options": place.chosen}
            content |= {"price": product.price} if place.page == "end" else {}
        url = f"http://host/{page}/s/x/{place.sub}/%7B%7D"
        lines.append({"page": page, "url": url, "goal": told, "content": content})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_click_log_replays_to_the_actions_that_made_it(tmp_path):
    shop = open_shop(small_catalogue())
    goal = make_goals(small_catalogue(), "synthetic")["test"][0]
    hits = shop.engine.search("living room")
    asins = [shop.catalogue.products[row].asin for row in hits]
    lamp = shop.catalogue.products[hits[11]]
    value = lamp.options["color"][-1]
    actions = [
        "search[red shoes]", "click[Back to Search]", "search[living room]", f"click[{asins[0]}]",
        "click[Features]", "click[< Prev]", "click[< Prev]", "click[Next >]",
        f"click[{lamp.asin}]", f"click[{value}]", "click[Buy Now]",
    ]  # fmt: skip
    path = tmp_path / "log.jsonl"
    written(path, shop, actions, goal)
    log = read_click_log(path)
    assert [action for action, _ in replay(shop_of(log), log)] == actions
    assert [action for action, _ in replay(shop, log)] == actions
    last = list(replay(shop_of(log), log))[-1][1]
    assert last.chosen == {"color": value} and shop_of(log).product(last).price == lamp.price
    path.write_text(path.read_text().replace(value, "a colour that nobody sells"))
    with pytest.raises(PgvError, match=r"Page view 11: 'click\[a colour .* is not understood"):
        list(replay(shop, read_click_log(path)))


def test_a_damaged_click_log_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"page": "index"}\n')
    with pytest.raises(PgvError, match=r"log.jsonl:1: no page view"):
        read_click_log(path)
    path.write_text("\n")
    with pytest.raises(PgvError, match="holds no page views"):
        read_click_log(path)
