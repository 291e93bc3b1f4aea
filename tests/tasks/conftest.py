from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pgv_jax.tasks.textworld.env import TextWorldEnv


@pytest.fixture(scope="session")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that keeps generated games for the whole run (one costs about a second)."""
    return tmp_path_factory.mktemp("games")


@pytest.fixture
def env(games: Path) -> TextWorldEnv:
    """Three games, one of each shape."""
    from pgv_jax.tasks.textworld.env import TextWorldEnv

    return TextWorldEnv(games, train=3, test=0)
