"""WebShop's public files, where they are: ``PGV_TEST_DATA``, or ``shared/data`` beside the project.

Written by others and never part of the project; without them these tests are skipped.
"""

import json
import os
import re
from pathlib import Path

import pytest

from pgv_jax.tasks.webshop.env import WebShopEnv
from pgv_jax.tasks.webshop.pages import parse_action
from pgv_jax.tasks.webshop.replay import read_click_log, replay, shop_of
from pgv_jax.tasks.webshop.reward import reward, title_score
from pgv_jax.tasks.webshop.words import read_wish, suggested_queries

DATA = Path(os.environ.get("PGV_TEST_DATA") or Path(__file__).parents[4] / "shared" / "data")
LOGS = sorted((DATA / "webshop" / "human_trajs").glob("*.jsonl"))
NOTEBOOK = DATA / "react-webshop" / "WebShop.ipynb"

needs_products = pytest.mark.skipif(
    not (DATA / "webshop" / "products_1k.jsonl.gz").exists(), reason="no WebShop products here"
)
needs_logs = pytest.mark.skipif(not LOGS, reason="no click logs of WebShop here")
needs_notebook = pytest.mark.skipif(not NOTEBOOK.exists(), reason="no notebook of ReAct here")


@pytest.fixture(scope="module")
def env() -> WebShopEnv:
    return WebShopEnv(DATA / "webshop")


@needs_products
def test_the_goal_s_product_is_found_by_its_own_query(env):
    rows = {product.asin: row for row, product in enumerate(env.shop.catalogue.products)}
    goals = [env._goals[task] for task in env.task_ids()]

    def found(query_of) -> float:
        hits = [rows[g.product.asin] in env.shop.engine.search(query_of(g)) for g in goals]
        return sum(hits) / len(hits)

    assert len(rows) == 1000 and len(goals) == 415
    assert found(lambda goal: goal.product.query) >= 0.8
    assert found(lambda goal: goal.instruction) >= 0.8
    assert found(lambda goal: suggested_queries(read_wish(goal.instruction))[0]) >= 0.8


@needs_products
def test_the_expert_earns_nearly_everything(env):
    scores = []
    for task in env.task_ids("test"):
        info = env.reset(options={"task": task})[1]
        ended = False
        while not ended and (action := env.expert_action()) is not None:
            _, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        scores.append(info["score"])
    assert sum(scores) / len(scores) > 0.97


@needs_products
def test_every_page_is_within_the_observation_space(env):
    env.reset(options={"task": env.task_ids()[0]})
    for product in env.shop.catalogue.products[:300]:
        text = env.step(f"search[{product.title}]")[0]
        assert text in env.observation_space
        env._moment = type(env._moment)(env._moment.goal, env._moment.place)  # no step limit
        if f"click[{product.asin}]" in env.admissible_actions():
            here = env.snapshot()
            for action in ("", "click[Description]", "click[Features]", "click[Reviews]"):
                env.step(f"click[{product.asin}]")
                text = env.step(action)[0] if action else text
                assert text in env.observation_space
                env.restore(here)


@needs_logs
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_human_click_logs_replay_and_pay_what_they_paid(path):
    log = read_click_log(path)
    shop = shop_of(log)
    actions = list(replay(shop, log))
    assert actions[-1][0] == "click[Buy Now]" and actions[0][0].startswith("search[")
    # the published parts, put together by the formula, are the published reward
    parts, wanted = log.parts, log.goal.wanted
    attributes, options = len(wanted.attributes), len(wanted.options)
    matched = parts["r_att"] * attributes + parts.get("r_option", 0.0) * options + parts["r_price"]
    assert log.reward == pytest.approx(parts["r_type"] * matched / (attributes + options + 1))
    place = actions[-1][1]
    bought = shop.product(place)
    assert (bought.price <= wanted.price_limit) == parts["r_price"]
    if bought.asin == wanted.product.asin:  # the one product of which a log tells enough
        found = reward(bought, wanted, place.chosen)
        assert found.total == pytest.approx(log.reward) and found.type == parts["r_type"]
        assert title_score(bought.title, bought.title) == pytest.approx(
            parts["title_score"], abs=0.05
        )


@needs_notebook
def test_every_action_of_the_react_notebook_is_understood():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    text = "".join("".join(output.get("text", ())) for output in outputs)
    actions = re.findall(r"^Action: ?(.*)$", text, re.MULTILINE)
    parsed = [parse_action(action) for action in actions]
    assert len(actions) == 3937 and None not in parsed
    for action, said in zip(parsed, actions, strict=True):
        verb, bracket, rest = said.partition("[")
        assert action.verb == verb
        if bracket and rest.endswith("]"):
            assert action.argument == " ".join(rest[:-1].split())
