from pathlib import Path

import pytest

from pgv_jax.tasks.textworld.env import TextWorldEnv


@pytest.fixture(scope="session")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that keeps generated games for the whole run (one costs about a second)."""
    return tmp_path_factory.mktemp("games")


@pytest.fixture
def env(games: Path) -> TextWorldEnv:
    """Three games, one of each shape."""
    return TextWorldEnv(games, train=3, test=0)
