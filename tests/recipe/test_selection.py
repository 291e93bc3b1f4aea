"""The choice: what is published answers as it was judged, and state goals keep their answers."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from pgv_jax.config import load_config
from pgv_jax.critic import artifact
from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.critic.value import ValueFunction
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.export.parity import PARITY_LIMIT
from pgv_jax.export.write import export_torch
from pgv_jax.learner.state import critic_spec
from pgv_jax.recipe import residual
from pgv_jax.recipe.selection import choose
from pgv_jax.texts.templates import FAILURE, SUCCESS
from pgv_jax.types import Episode, Step
from tests.recipe import logs

ENCODER = HashEncoder(16)
BASE = ("texts.history=0", "critic.hidden=[8]", "critic.recipe=anchored")


@pytest.fixture(scope="module", autouse=True)
def _network_stays_at_its_start():
    """So that the probe is what is chosen; test_residual.py has the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residual, "UPDATES", 0)
        yield


def episodes(count: int = 60) -> list[Episode]:
    """An attempt mostly succeeds where its only thought is the good one, and else mostly fails."""
    out = []
    for number in range(count):
        good = number % 2 == 0
        thought = "I look first." if good else "I guess."
        out.append(
            Episode(
                f"e{number}",
                task_id=f"t{number // 4}",
                task="Open the door.",
                steps=(Step("The door is closed.", thought, "go"),),
                final_observation="The door is open." if good else "The door is closed.",
                success=good != (number % 9 == 4) if number % 10 else None,
                is_terminal=True,
            )
        )
    return out


def chosen(tmp_path, *overrides: str):
    config = load_config(None, [*BASE, *overrides])
    return config, choose(config, {"train": episodes()}, None, ENCODER.encode, tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(configuration, choice, value function, folder) of a probe-anchored critic."""
    folder = tmp_path_factory.mktemp("anchored")
    config, choice = chosen(folder)
    spec = critic_spec(config.critic, config.objective, ENCODER.dim)
    params = nnx.to_pure_dict(nnx.state(Critic(spec, jax.random.key(0))))
    manifest = {
        "encoder": {"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        "texts": {"history": 0, "fingerprint": "t"},
        "objective": {"name": "gc_iql"},
        "heads": ["q", "v"],
    }
    plain = artifact.save(folder / "plain", params, {**manifest, "critic": spec.to_json()})
    spec, params = choice.attach(spec, params)
    where = artifact.save(folder / "artifact", params, {**manifest, "critic": spec.to_json()})
    return choice, ValueFunction.load(where), ValueFunction.load(plain), where


def test_the_probe_is_kept_and_says_so(published):
    choice = published[0]
    assert choice.record["chosen"] == "probe"
    assert choice.record["gamma"] == 1.0
    assert choice.record["gains"]["probe"]["low"] > 0
    assert "linear probe" in choice.record["words"][0]
    assert "no evidence" not in " ".join(choice.record["words"])


def test_success_is_ranked_and_failure_is_its_complement(published):
    value = published[1]
    asked = ("Open the door.", "The door is closed.", ["I look first.", "I guess."])
    q = value.q(*asked, [SUCCESS, FAILURE])
    assert q[0, 0] > 0.7 > 0.3 > q[1, 0]
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-6)
    v = value.v(*asked[:2], [SUCCESS, FAILURE])
    assert abs(v[0] - 0.5) < 0.2  # the thought decides, and V does not see it
    assert v.sum() == pytest.approx(1)


def test_state_goals_are_answered_as_before(published):
    _, value, plain, _ = published
    asked = ("Open the door.", "The door is closed.", ["I look first.", "I guess."])
    goals = ["The door is open.", "You are in the hall."]
    np.testing.assert_allclose(value.q(*asked, goals), plain.q(*asked, goals), atol=1e-6)
    np.testing.assert_allclose(value.v(*asked[:2], goals), plain.v(*asked[:2], goals), atol=1e-6)


def test_a_grid_is_its_pairs_over_both_kinds_of_goals(published):
    value = published[1]
    thoughts, goals = ["I look first.", "I guess."], [SUCCESS, "The door is open.", FAILURE]
    grid = value.q("Open the door.", "The door is closed.", thoughts, goals)
    pairs = [(thought, goal) for thought in thoughts for goal in goals]
    same = value.q_pairs(
        ["Open the door."] * 6,
        ["The door is closed."] * 6,
        [thought for thought, _ in pairs],
        [goal for _, goal in pairs],
    )
    np.testing.assert_allclose(grid.ravel(), same, atol=1e-6)


def test_it_is_exported_like_any_other(published, tmp_path):
    parity = export_torch(published[3], tmp_path / "out")
    assert parity is None or max(parity.values()) <= PARITY_LIMIT


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["critic.recipe=td"], "asked for"),
        (["objective.head=linear"], "linear heads"),
        (["objective.name=monte_carlo"], "monte_carlo"),
    ],
)
def test_td_answers_where_there_is_no_other_way(tmp_path, overrides, why):
    config, choice = chosen(tmp_path, *overrides)
    assert choice.experts is None
    assert why in choice.record["why"] and why in " ".join(choice.record["words"])
    assert choice.training(config.train) == config.train


def test_too_few_outcomes_leave_td(tmp_path):
    config = load_config(None, list(BASE))
    few = [e for e in episodes(8) if e.task_id == "t0"]
    choice = choose(config, {"train": few}, None, ENCODER.encode, tmp_path)
    assert choice.experts is None
    assert "too few tasks" in choice.record["why"]


def test_beside_an_expert_state_goals_alone_stop_td(published):
    config = load_config(None, list(BASE))
    assert published[0].training(config.train).select == "goals"


def test_outcomes_that_nothing_foretells_are_called_so(tmp_path):
    config = load_config(None, list(BASE))
    choice = choose(config, {"train": logs.log(logs.chance)}, None, logs.lookup, tmp_path)
    assert choice.record["chosen"] == "probe"
    assert "no evidence" in " ".join(choice.record["words"])


def test_a_critic_that_imagines_has_a_probe_where_it_is_asked_for(tmp_path):
    told = ("critic.q=imagined", "data.encoder=sentences:minilm")
    _, choice = chosen(tmp_path, *told)
    assert choice.record["chosen"] == "probe"
    spec, params = choice.attach(
        CriticSpec(16, (8,), 2, False, "gelu", "sigmoid", note_width=8),
        {"q": {"out": 1}, "v": {"out": 2}, "m": {"known": 3}},
    )
    assert (spec.outcome_members, spec.note_width) == (len(params["q"]["outcome"]["bias"]), 8)
    assert (params["q"]["out"], params["v"]["out"], params["m"]) == (1, 2, {"known": 3})

    _, choice = chosen(tmp_path, *told, "critic.recipe=td")
    assert (choice.record["chosen"], choice.experts) == ("td", None)
    assert "answered by imagined Q like all others" in choice.record["words"][0]
