"""Search strategies by configuration: what does not fit is said."""

import pytest

from pgv_jax.config import load_config
from pgv_jax.errors import PgvError
from pgv_jax.rollout.settings import RolloutConfig


@pytest.mark.parametrize("strategy", ["greedy-search", "bfs", "mcts"])
def test_a_search_needs_a_critic_and_takes_no_controls(strategy):
    settings = load_config(None, [f"strategy={strategy}"], RolloutConfig)
    assert settings.needs_critic and settings.arm == strategy
    with pytest.raises(PgvError, match="searches by scores=critic alone"):
        load_config(None, [f"strategy={strategy}", "scores=shuffled"], RolloutConfig)


def test_dollars_need_prices():
    with pytest.raises(PgvError, match="needs the table of prices"):
        load_config(None, ["strategy=bfs", "search.dollars=1"], RolloutConfig)
