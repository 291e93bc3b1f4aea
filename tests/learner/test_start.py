"""A run that starts from an artifact's parameters, on embeddings that are standardised anew."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pgv_jax.config import load_config
from pgv_jax.critic import artifact as artifacts
from pgv_jax.data.episodes import write_dataset
from pgv_jax.errors import PgvError
from pgv_jax.workflows.training import fit, prepare
from tests.learner import chain

TINY = (*chain.TINY, "data.encoder=hash:16", "mesh.shards=8", "train.steps=10")


def fitted(folder, walks, *overrides):
    """The artifact of a run on ``walks``."""
    folder.mkdir()
    data = folder / "data"
    write_dataset(data, walks)
    config = load_config(None, [*TINY, f"data.dataset={data}", *overrides])
    return fit(config, prepare(config, folder / "tables"), folder / "run")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("base") / "a", chain.walks(16))


def test_a_run_starts_where_the_artifact_ends(base, tmp_path):
    others = chain.walks(8, rooms=6, steps=5)  # other means and scales
    still = fitted(tmp_path / "a", others, f"train.start={base}", "train.lr=1e-12")
    begun = artifacts.flatten(artifacts.load(base).params)
    ended = artifacts.flatten(artifacts.load(still).params)
    assert begun.keys() == ended.keys()
    for name, value in begun.items():
        np.testing.assert_allclose(ended[name], value, atol=2e-6, err_msg=name)
    moved = fitted(tmp_path / "b", others, f"train.start={base}")
    name = "q/observation/kernel"
    assert np.abs(artifacts.flatten(artifacts.load(moved).params)[name] - begun[name]).max() > 1e-3
    assert "start" not in artifacts.load(moved).manifest["config"]["train"]  # a path


def _of_another_encoder(artifact, folder):
    """A copy of the artifact that says that it was trained on other embeddings."""
    copy = shutil.copytree(artifact, folder / "other")
    encoder = artifacts.load(copy).manifest["encoder"]
    artifacts.annotate(copy, "encoder", {**encoder, "fingerprint": "0" * 64})
    return copy


def test_a_start_that_does_not_fit_is_refused(base, tmp_path):
    with pytest.raises(PgvError, match=r"train\.start = .* has another critic"):
        fitted(tmp_path / "a", chain.walks(8), f"train.start={base}", "critic.hidden=[16]")
    with pytest.raises(PgvError, match=r"train\.start = .* has another encoder"):
        fitted(tmp_path / "b", chain.walks(8), f"train.start={_of_another_encoder(base, tmp_path)}")


def test_a_run_from_another_start_is_not_continued(base, tmp_path):
    fitted(tmp_path / "a", chain.walks(16))
    data = tmp_path / "a/data"
    overrides = [*TINY, f"data.dataset={data}", f"train.start={base}", "train.steps=20"]
    config = load_config(None, overrides)
    with pytest.raises(PgvError, match="start"):
        fit(config, prepare(config, tmp_path / "a/tables"), tmp_path / "a/run")
