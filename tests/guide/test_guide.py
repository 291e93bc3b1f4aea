"""The guide: a conversation in, a choice out; equal to the critic asked directly."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pgv_jax
from pgv_jax.agents.imagined_goals import Goal
from pgv_jax.critic.support import Support
from pgv_jax.errors import PgvError
from pgv_jax.guide.guide import Guide
from pgv_jax.texts.templates import observation_text
from pgv_jax.types import Episode, Step
from tests.critic.toy import HISTORY
from tests.guide.toy import WordCritic

MESSAGES = [
    {"role": "user", "content": "Go home."},
    {"role": "assistant", "content": "I stand up."},
    {"role": "user", "content": "You stand."},
]
CANDIDATES = ["walk 0.2", {"role": "assistant", "content": "run 0.7"}]


def test_a_choice_says_which_and_why():
    choice = Guide(WordCritic(0.1)).choose(MESSAGES, CANDIDATES, goals=["g", "h"])
    assert (choice.index, choice.candidate) == (1, CANDIDATES[1])
    np.testing.assert_allclose(choice.values, [[0.2, 0.2], [0.7, 0.7]])
    assert choice.likelihoods.shape == (2, 2)
    assert np.isnan(choice.likelihoods).all()
    assert choice.order == [1, 0]
    assert choice.doubt.disagreement == pytest.approx(0.1)
    assert choice.doubt.distance is None


def test_weights_turn_a_goal_into_something_to_avoid():
    guide = Guide(WordCritic(), goals=["g", "h"], weights=[0.5, -1])
    choice = guide.choose(MESSAGES, CANDIDATES)
    assert choice.index == 0
    np.testing.assert_allclose(choice.utility, [-0.1, -0.35])


def test_thoughts_may_be_given_themselves():
    guide = Guide(WordCritic())
    choice = guide.choose(task="T", observation="Hall.", thoughts=["a 0.1", "b 0.9"])
    assert (choice.index, choice.candidate) == (1, "b 0.9")
    assert guide.critic.asked[-1] == ("T", "Hall.", ["a 0.1", "b 0.9"], ["The task is done."])


def test_value_and_critique():
    guide = Guide(WordCritic())
    assert guide.value([{"role": "user", "content": "Half 0.5 way."}]).tolist() == [0.5]
    words = guide.critique(MESSAGES, "run 0.7", ["Home.", Goal("Lost.", False)])
    assert words == '- Good outcome: "Home." 0.70\n- Bad outcome: "Lost." 0.70'
    with pytest.raises(PgvError, match="no calibration"):
        guide.critique(MESSAGES, "run 0.7", numbers="calibrated")


def test_distance_from_the_training_data():
    support = Support(np.array([[1.0, 0.0]], np.float32), usual=0.5)
    guide = Guide(WordCritic(), support=support)
    near = guide.choose(task="", observation="here", thoughts=["a"]).doubt
    far = guide.choose(task="", observation="far", thoughts=["a"]).doubt
    assert (near.distance, far.distance) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"messages": MESSAGES, "candidates": []}, "There is no candidate"),
        ({"messages": MESSAGES}, "There is no candidate"),
        ({"observation": "o"}, "Give either messages and candidates, or observation"),
        ({"observation": "o", "thoughts": "text"}, "put it in brackets"),
        ({"messages": MESSAGES, "candidates": ["a"], "goals": "g"}, "use brackets"),
        ({"messages": MESSAGES, "candidates": ["a"], "goals": []}, "There is no goal"),
        ({"messages": MESSAGES, "candidates": ["a"], "weights": [1, 2]}, "2 weights for 1 goals"),
        ({"messages": [{"role": "x"}], "candidates": ["a"]}, r"messages\[0\].role"),
        ({"messages": MESSAGES, "candidates": [3]}, "no answer of a model was found in 3"),
    ],
)
def test_a_mistake_is_one_sentence(asked, why):
    with pytest.raises(PgvError, match=why):
        Guide(WordCritic()).choose(**asked)


def test_coroutines_and_threads_share_a_guide():
    guide = Guide(WordCritic())
    thoughts = [[f"a 0.{i}", "b 0.5"] for i in range(10)]

    async def work() -> list[int]:
        asked = (guide.achoose(task="", observation="o", thoughts=t) for t in thoughts)
        found = await asyncio.gather(*asked)
        assert await guide.acritique(MESSAGES, "a 0.3")
        assert (await guide.avalue(MESSAGES)).shape == (1,)
        return [choice.index for choice in found]

    expected = [1] * 5 + [0] * 5
    assert asyncio.run(work()) == expected
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda t: guide.choose(task="", observation="o", thoughts=t), thoughts)
        assert [choice.index for choice in found] == expected


@pytest.fixture(scope="module")
def guide(toy_critic):
    return pgv_jax.Guide.load(toy_critic, goals=["The task is done.", "You are home."])


def test_an_artifact_is_asked_in_its_own_wording(guide, toy_critic):
    from pgv_jax import ValueFunction

    critic = ValueFunction.load(toy_critic)
    choice = guide.choose(MESSAGES, CANDIDATES)
    step = Step("Go home.", "I stand up.", "I stand up.")
    episode = Episode("e", "t", "Go home.", (step,), "You stand.")
    fields = observation_text(episode, 1, HISTORY)
    expected = critic.q("Go home.", fields, ["walk 0.2", "run 0.7"], list(guide.goals))
    np.testing.assert_array_equal(choice.values, expected)
    assert choice.doubt.disagreement > 0
    np.testing.assert_array_equal(
        guide.value(MESSAGES), critic.v("Go home.", fields, list(guide.goals))
    )


def test_what_is_no_critic_is_named(tmp_path):
    with pytest.raises(PgvError, match="neither an artifact"):
        Guide.load(tmp_path)
    with pytest.raises(PgvError, match="neither an artifact"):
        Guide.load(tmp_path / "missing")


EXPORTED = """
import sys
sys.modules["jax"] = None
import pgv_jax
guide = pgv_jax.Guide.load(sys.argv[1], goals=["The task is done.", "You are home."])
choice = guide.choose([{"role": "user", "content": "Go home."}], ["walk", "run", "fly"])
print([round(float(v), 5) for v in choice.values.ravel()])
print([round(float(v), 5) for v in guide.value([{"role": "user", "content": "Go home."}])])
assert choice.doubt.disagreement is None
"""


def test_an_exported_critic_needs_no_jax(toy_critic, guide, tmp_path, run_python):
    pytest.importorskip("torch", reason="PyTorch is not installed: exports are not tested")
    from pgv_jax.export.write import export_torch

    export_torch(toy_critic, tmp_path / "out")
    said = run_python(EXPORTED, args=(str(tmp_path / "out"),)).stdout.splitlines()
    messages = [{"role": "user", "content": "Go home."}]
    choice = guide.choose(messages, ["walk", "run", "fly"])
    for line, expected in zip(said, (choice.values.ravel(), guide.value(messages)), strict=True):
        found = [float(number) for number in line.strip("[]").split(",")]
        np.testing.assert_allclose(found, expected, atol=2e-5)
