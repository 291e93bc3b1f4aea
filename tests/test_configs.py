"""The shipped configurations of the iterations are read as they stand."""

import pytest

from pgv_jax.config import SHIPPED, load_config
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.workflows.iterate import IterateConfig

FILES = {"agent_prm": "agent_prm", "inverse_prm": "inverse_prm", "lookahead": "stl"}


ALL = ("textworld", "game24", "webshop", "alfworld")
"""Tasks with a configuration for each method; a talk and a game of roles have no other expert."""


@pytest.mark.parametrize(
    ("task", "method"),
    [
        *((task, method) for task in ALL for method in FILES),
        ("avalon", "agent_prm"),
        ("persuasion", "agent_prm"),
    ],
)
def test_each_task_has_a_config_for_each_method(task, method):
    path = SHIPPED / task / f"{FILES[method]}.yaml"
    settings = load_config(path, [], IterateConfig)
    assert settings.learn.objective.name == method
    assert settings.rollout.task.name == task


def test_the_papers_setting_is_read_as_it_stands():
    settings = load_config(SHIPPED / "pnlc.yaml")
    objective, goals = settings.objective, settings.goals
    assert (objective.name, objective.expectile, objective.head) == ("gc_iql", 0.8, "linear")
    assert (goals.form, goals.outcome, settings.critic.recipe) == ("note", 0.0, "td")
    assert settings.critic.hidden == (128, 128) and 1e-4 <= settings.train.lr <= 8e-4
    refine = RolloutConfig().refine
    assert (refine.goals, refine.rounds) == (2, 2)  # as many bad goals as good ones
