"""The shop on invented products: pages, actions, notes, thoughts, the expert."""

import random
import re

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import NOT_UNDERSTOOD
from pgv_jax.tasks.webshop.env import WebShopEnv
from pgv_jax.tasks.webshop.pages import Action, parse_action
from pgv_jax.tasks.webshop.words import GRADES, read_wish, suggested_queries
from pgv_jax.texts.sentences import sentences

SEPARATED = WebShopEnv()
NOTED = WebShopEnv(observation="note")
CASE = next(t for t in SEPARATED.task_ids() if "phone cases" in SEPARATED._goals[t].instruction)


@pytest.fixture(params=[SEPARATED, NOTED], ids=["text", "note"])
def env(request) -> WebShopEnv:
    return request.param


def play(env, task, seed, skill=0.5):
    """Play with some skill and yield (observation, info) of every state that is not an end."""
    rng = random.Random(seed)
    text, info = env.reset(seed=seed, options={"task": task})
    ended = False
    while not ended:
        yield text, info
        expert = env.expert_action()
        action = expert if rng.random() < skill else rng.choice(info["admissible_actions"])
        text, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated


def test_gymnasium_finds_nothing_to_complain_about(env):
    check_env(env, skip_render_check=True)


def test_equal_seeds_and_actions_give_equal_episodes(env):
    def episode():
        env.reset(seed=7)
        seen = [env.reset()]
        for action in ("search[lamp]", "nonsense", "click[next >]", "click[< prev]", "click[x]"):
            seen.append(env.step(action))
        return seen

    assert episode() == episode()
    assert len({env.reset(seed=seed)[1]["task_id"] for seed in range(30)}) > 10
    assert WebShopEnv().task_ids() == SEPARATED.task_ids()


@given(st.text() | st.from_regex(r"(search|click|think|exit|reset)\[.{0,20}\]", fullmatch=True))
def test_any_action_is_survived_with_a_sentence(action):
    for env in (SEPARATED, NOTED):
        env.reset(options={"task": CASE})
        for start in ("", "search[case]", "click[b011015c9d]", "click[Features]"):
            here = env.snapshot()
            if start:
                env.step(start)
            text, reward, terminated, truncated, info = env.step(action)
            assert text in env.observation_space and text
            assert 0 <= reward <= 1 and (terminated or not truncated)
            assert env.thought_for(action).endswith(".")
            if parse_action(action) is None:
                assert text.endswith(NOT_UNDERSTOOD) and not terminated
            if terminated:
                assert info["admissible_actions"] == []
                break
            env.restore(here)
            env.step(start or "think[so]")


def test_the_pages_read_as_in_webshop():
    text, info = SEPARATED.reset(options={"task": CASE})
    assert text == f"WebShop [SEP] Instruction: [SEP] {info['task']} [SEP] Search"
    head = f"Instruction: [SEP] {info['task']} [SEP] Back to Search [SEP] "
    text = SEPARATED.step("search[phone case]")[0]
    assert text.startswith(f"{head}Page 1 (Total results: ")
    parts = text.removeprefix(head).split(" [SEP] ")
    assert parts[1] == "Next >" and (len(parts) - 2) % 3 == 0 and len(parts) == 2 + 3 * 10
    assert all(re.fullmatch(r"B\w{9}", asin) for asin in parts[2::3])
    assert all(re.fullmatch(r"\$\d+\.\d+", price) for price in parts[4::3])
    second = SEPARATED.step("click[Next >]")[0]
    assert second.removeprefix(head).startswith("Page 2 (") and ") [SEP] < Prev [SEP]" in second
    assert SEPARATED.step("click[< Prev]")[0] == text
    item = SEPARATED.step(f"click[{parts[2].lower()}]")[0]
    product = SEPARATED.shop.product(SEPARATED.place)
    options = [word for k, v in product.options.items() for word in (k, *v)]
    shown = ["< Prev", *options, product.title, f"Price: {product.price_tag}"]
    shown += [f"Rating: {product.rating}", "Description", "Features", "Reviews", "Buy Now"]
    assert item == head + " [SEP] ".join(shown)
    features = SEPARATED.step("click[features]")[0]
    assert features == head + " [SEP] ".join(["< Prev", *product.features])
    assert SEPARATED.step("click[< Prev]")[0] == item
    text, reward, terminated, _, info = SEPARATED.step("click[Buy Now]")
    assert terminated and text == "Thank you for shopping with us!"
    assert reward == info["score"] == SEPARATED.purchase().total


def test_options_are_chosen_and_forgotten_with_the_product():
    SEPARATED.reset(options={"task": CASE})
    SEPARATED.step("search[phone case]")
    asin = SEPARATED.shop.catalogue.products[SEPARATED.place.shown[0]].asin
    SEPARATED.step(f"click[{asin}]")
    product = SEPARATED.shop.product(SEPARATED.place)
    name, values = next(iter(product.options.items()))
    for value in values:
        SEPARATED.step(f"click[{value.upper()}]")
        assert SEPARATED.place.chosen[name] == value
    SEPARATED.step("click[Description]")
    SEPARATED.step("click[< Prev]")
    assert SEPARATED.place.chosen[name] == values[-1]
    SEPARATED.step("click[< Prev]")
    SEPARATED.step(f"click[{asin}]")
    assert SEPARATED.place.chosen == {}


def test_what_agents_write_besides_searches_and_clicks():
    text, _ = SEPARATED.reset(options={"task": CASE})
    results = SEPARATED.step("search[lamp]")[0]
    assert SEPARATED.step("think[Is this a lamp? [I wonder]]")[0] == results
    assert SEPARATED.step("click[Search]")[0].endswith(NOT_UNDERSTOOD)
    assert SEPARATED.step("search[]")[0].endswith(NOT_UNDERSTOOD)
    assert SEPARATED.step("reset")[0] == text
    _, reward, terminated, _, info = SEPARATED.step("exit[I give up]")
    assert terminated and reward == 0 and not info["success"]
    with pytest.raises(PgvError, match="over; call reset"):
        SEPARATED.step("search[lamp]")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("search[red  lamp]", Action("search", "red lamp")),
        (" Click[Buy Now] ", Action("click", "Buy Now")),
        ("click[Towels [ 20 Pieces ] + Bag]", Action("click", "Towels [ 20 Pieces ] + Bag")),
        ("think[cut off at the", Action("think", "cut off at the")),
        ("reset", Action("reset")),
        ("exit[quit]", Action("exit", "quit")),
        ("buy[lamp]", None),
        ("I click[x]", None),
        ("", None),
    ],
)
def test_parsing(text, parsed):
    assert parse_action(text) == parsed


@pytest.mark.parametrize("task", SEPARATED.task_ids())
def test_the_expert_buys_the_best_in_the_planned_number_of_actions(task):
    _, info = SEPARATED.reset(options={"task": task})
    for left in range(SEPARATED.distance(), 0, -1):
        assert SEPARATED.distance() == left
        action = SEPARATED.expert_action()
        assert action in info["admissible_actions"] and SEPARATED.correct(action)
        _, _, terminated, _, info = SEPARATED.step(action)
    assert terminated and info["success"] and SEPARATED.distance() == 0


def test_distances_fall_by_one_along_right_actions_alone():
    """The planner against the shop: no action shortens the way by more than one."""
    for number, task in enumerate(SEPARATED.task_ids()[:12]):
        for _, info in play(SEPARATED, task, seed=number):
            now, here = SEPARATED.distance(), SEPARATED.snapshot()
            actions = info["admissible_actions"]
            scores = SEPARATED.preferences(actions)
            assert actions == sorted(set(actions))
            for action, score in zip(actions, scores, strict=True):
                right = SEPARATED.correct(action)
                SEPARATED.step(action)
                later = SEPARATED.distance()
                assert later is None or later >= now - 1
                assert right == (later is not None and later < now)
                assert score == (0.0 if later is None else 1 / (1 + later))
                SEPARATED.restore(here)


def test_offered_actions_are_understood_and_the_step_limit_truncates():
    env = WebShopEnv(max_steps=2)
    for text, info in play(env, CASE, seed=5):
        here = env.snapshot()
        for action in info["admissible_actions"]:
            assert not env.step(action)[0].endswith(NOT_UNDERSTOOD)
            env.restore(here)
        assert text
    env.reset(options={"task": CASE})
    assert [env.step("think[x]")[2:4] for _ in range(2)] == [(False, False), (False, True)]
    with pytest.raises(PgvError, match="over; call reset"):
        env.step("think[x]")


def test_notes_are_distinct_sentences_about_the_page_and_tell_no_outcome():
    for number, task in enumerate(NOTED.task_ids()[:25]):
        for text, _ in play(NOTED, task, seed=number):
            lines = sentences(text)
            assert " ".join(lines) == text and len(set(lines)) == len(lines)
        last = NOTED._observe()
        assert " ".join(sentences(last)) == last
        assert not re.search(r"\b(score|reward|success|correct|right|wrong)\b", last)


def test_a_note_says_what_the_page_shows():
    NOTED.reset(options={"task": CASE})
    assert NOTED._observe() == "You are on the search page. You have not searched yet."
    text = NOTED.step("search[phone case]")[0]
    place, products = NOTED.place, NOTED.shop.catalogue.products
    wish = read_wish(NOTED.goal.instruction)
    assert f"You are on page 1 of {place.pages} of the results." in sentences(text)
    best = max(wish.grade(products[row].title) for row in place.shown)
    assert f"The best title on this page has {GRADES[best]} of the words of the task." in text
    for row in place.shown:
        assert f"The new product {products[row].asin} is called" in text
    row = place.shown[0]
    text = NOTED.step(f"click[{products[row].asin}]")[0]
    name, values = next(iter(products[row].options.items()))
    assert f"No {name} is chosen." in text
    text = NOTED.step(f"click[{values[0]}]")[0]
    assert f"The {name} {values[0]} is chosen." in sentences(text)
    named = "named" if wish.names(values[0]) else "not named"
    assert f"The chosen {name} is {named} in the task." in text
    NOTED.step("click[features]")
    text = NOTED.step("click[< prev]")[0]
    assert "You have read the features of the open product." in text
    text = NOTED.step("click[< prev]")[0]
    assert f"The known product {products[row].asin}" in text


def test_a_thought_is_one_sentence_and_follows_neither_goal_nor_expert():
    other = WebShopEnv()
    other._goals = {task: other._goals[other.task_ids()[0]] for task in other._goals}
    for number, task in enumerate(NOTED.task_ids()[:10]):
        for _, info in play(NOTED, task, seed=number):
            moment = NOTED.snapshot()
            blind = type(moment.goal)(
                "blind", moment.goal.instruction, other._goals[task].product, (), (), 0.0
            )
            other.restore(type(moment)(blind, moment.place))
            for action in info["admissible_actions"]:
                thought = NOTED.thought_for(action)
                assert thought == other.thought_for(action)
                assert sentences(thought) == [thought]
    plain = WebShopEnv(reasons=False)
    plain.reset(options={"task": CASE})
    assert plain.thought_for("search[a]") == "I should search[a]."


def test_a_wish_is_read_from_the_instruction_alone():
    wish = read_wish(
        "i'm looking for a red floor lamp for the living room, and price lower than 50.00 dollars"
    )
    assert wish.words == ("i'm", "red", "floor", "lamp", "living", "room") or wish.words == (
        "red", "floor", "lamp", "living", "room",
    )  # fmt: skip
    assert wish.limit == 50.0
    assert GRADES[wish.grade("Red Floor Lamps for Living Rooms")] in ("most", "all")
    assert GRADES[wish.grade("Garden hose")] == "none"
    assert wish.names("red") and not wish.names("blue") and not wish.names("!")
    assert read_wish("lamp").limit is None
    assert suggested_queries(read_wish("")) == ["product"]


def test_restoring_a_snapshot_repeats_the_future(env):
    env.reset(options={"task": CASE})
    env.step(env.expert_action())
    here = env.snapshot()

    def future():
        seen = []
        while env.expert_action() and env.distance():
            seen.append(env.step(env.expert_action()))
        return seen

    first = future()
    env.restore(here)
    assert future() == first and first[-1][2]


def test_wrong_settings_are_sentences():
    with pytest.raises(PgvError, match="'html' is unknown; use one of: text, note"):
        WebShopEnv(observation="html")
    with pytest.raises(PgvError, match=r"no human goals .* items_human_ins"):
        WebShopEnv(goals="human")
    with pytest.raises(PgvError, match="'model' are unknown; use one of: synthetic, human"):
        WebShopEnv(goals="model")
    with pytest.raises(PgvError, match="'val' has no goals"):
        SEPARATED.task_ids("val")
    with pytest.raises(PgvError, match="call reset first"):
        WebShopEnv().step("search[x]")
