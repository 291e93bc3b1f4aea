import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from pgv_jax.errors import PgvError
from pgv_jax.tasks.base import TASKS, make_env, register_all


def test_unknown_task_names_the_known_ones():
    with pytest.raises(PgvError, match=r"'textwrld' is unknown; use one of: .*textworld"):
        make_env("textwrld")


def test_every_task_is_registered_once_and_follows_gymnasium(env):
    register_all()
    register_all()
    assert {f"pgv_jax/{name}-v0" for name in TASKS} <= set(gymnasium.registry)
    check_env(env, skip_render_check=True)


def test_gymnasium_makes_the_same_environment(games):
    register_all()
    made = gymnasium.make("pgv_jax/textworld-v0", folder=games, train=1, test=0)
    direct = make_env("textworld", folder=games, train=1, test=0)
    assert made.reset(seed=3) == direct.reset(seed=3)
