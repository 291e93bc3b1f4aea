"""TD's trials: held-out tasks only, and never done twice."""

from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.config import load_config
from pgv_jax.data.layout import build_table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.errors import PgvError
from pgv_jax.recipe import residual, trial
from pgv_jax.recipe.selection import choose, updates
from tests.recipe.test_selection import episodes

ENCODER = HashEncoder(16)
SETTINGS = (
    "texts.history=0",
    "critic.hidden=[8]",
    "critic.recipe=auto",
    "mesh.shards=4",
    "train.batch=32",
    "train.steps=20",
    "train.log_every=5",
    "train.eval_every=10",
)


def table_of(kept, folder):
    return build_table(
        folder,
        kept,
        ENCODER.encode,
        split="train",
        shards=4,
        history=0,
        encoder={"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        data_fingerprint="d",
    )


def test_a_trial_is_told_as_progress_kept_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(residual, "UPDATES", 0)
    config = load_config(None, list(SETTINGS))
    table = table_of(episodes(), tmp_path / "table")
    given = (config, {"train": episodes()}, (table, None), ENCODER.encode, tmp_path / "recipe")
    told: list[int] = []
    first = choose(*given, told.append)
    assert told == sorted(told) and 0 < told[-1] <= updates(config) == 30
    assert set(first.record["gains"]) == {"probe", "network", "td"}
    kept = sorted(path.name for path in (tmp_path / "recipe").iterdir())
    assert kept and all(name.startswith("fold-") and "." in name for name in kept)
    assert np.isfinite(np.load(tmp_path / "recipe" / "fold-0.npy")).all()

    def refuse(*args, **options):
        raise PgvError("Trained again.")

    monkeypatch.setattr(trial, "train", refuse)
    assert choose(*given).record == first.record
    other = load_config(None, [*SETTINGS, "train.lr=1e-2"])
    with pytest.raises(PgvError, match="Trained again"):
        choose(other, *given[1:])


def test_folds_without_training_tasks_on_both_sides_try_no_td(tmp_path, monkeypatch):
    monkeypatch.setattr(residual, "UPDATES", 0)
    monkeypatch.setattr(trial, "train", lambda *args, **options: pytest.fail("TD was tried"))
    own = [e for e in episodes() if e.task_id == "t0"]
    table = table_of(own, tmp_path / "table")
    splits = {"train": own, "val": [e for e in episodes() if e.task_id != "t0"]}
    config = load_config(None, list(SETTINGS))
    choice = choose(config, splits, (table, None), ENCODER.encode, tmp_path / "recipe")
    assert set(choice.record["gains"]) == {"probe", "network"}
