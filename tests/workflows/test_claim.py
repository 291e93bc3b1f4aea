"""A run's folder is told from another's by one value."""

from pathlib import Path

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.workflows.claim import claim


def test_the_same_again_is_fine_and_one_value_that_differs_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run" / "settings.json"
    asked = {"seed": 1, "rollout": {"client": "local", "api": {"tries": 12, "slots": 6}}}
    claim(file, "a run", asked)
    claim(file, "a run", asked)
    claim(file, "a run", {"seed": 1})  # what is not asked is not compared
    other = {**asked, "rollout": {"client": "local", "api": {"tries": 3, "slots": 6}}}
    with pytest.raises(PgvError) as told:
        claim(file, "a run", other)
    assert str(told.value) == (
        f"{tmp_path / 'run'} holds a run with rollout.api.tries = 12, and this one has 3; choose "
        "another --out, or remove that folder."
    )
    fewer = {**asked, "rollout": {"client": "local", "api": {"tries": 12}}}
    with pytest.raises(PgvError, match=r"rollout\.api\.slots = 6, and this one has None;"):
        claim(file, "a run", fewer)
