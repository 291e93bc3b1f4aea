"""The shipped configurations of the iterations are read as they stand."""

from pathlib import Path

import pytest

from pgv_jax.config import load_config
from pgv_jax.iterate import METHODS, IterateConfig

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = {"agent_prm": "agent_prm", "inverse_prm": "inverse_prm", "lookahead": "stl"}


@pytest.mark.parametrize("task", ["textworld", "game24"])
@pytest.mark.parametrize("method", METHODS)
def test_each_task_has_a_config_for_each_method(task, method):
    path = CONFIGS / task / f"{FILES[method]}.yaml"
    settings = load_config(path, [], IterateConfig)
    assert settings.learn.objective.name == method
    assert settings.rollout.task.name == task
