"""``pgv export`` and ``pgv import-critic``, as a user types them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.cli.main import _run
from pgv_jax.critic import artifact
from pgv_jax.data.episodes import write_dataset
from pgv_jax.types import Episode, Step

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five episodes of three steps, on five tasks."""
    episodes = [
        Episode(
            episode_id=f"e{i}",
            task_id=f"t{i}",
            task=f"Find the key number {i}.",
            steps=tuple(Step(f"Room {t}. It is dark.", f"Go on, {t}.", "east") for t in range(3)),
            final_observation="The key is here. You have it.",
            success=i % 2 == 0,
        )
        for i in range(5)
    ]
    write_dataset(tmp_path / "dataset", episodes)
    return tmp_path / "dataset"


@needs_torch
@pytest.mark.slow
def test_torch_and_back(toy_critic, dataset, tmp_path, capsys):
    exported, back = tmp_path / "exported", tmp_path / "back"
    arguments = ["export", "torch", str(toy_critic), str(exported), "--dataset", str(dataset)]
    assert _run([*arguments, "--torch-export"]) == 0
    said = capsys.readouterr().out
    assert "on random inputs" in said and "on logged inputs" in said
    assert {"q.pt2", "v.pt2", "README.md"} <= {path.name for path in exported.iterdir()}
    assert _run(["import-critic", str(exported), str(back)]) == 0
    assert f"Wrote {back}" in capsys.readouterr().out
    before, after = artifact.load(toy_critic), artifact.load(back)
    assert after.manifest == before.manifest
    for name, value in artifact.flatten(before.params).items():
        np.testing.assert_array_equal(artifact.flatten(after.params)[name], value)


def test_jax(toy_critic, dataset, tmp_path, capsys):
    out = tmp_path / "exported"
    assert _run(["export", "jax", str(toy_critic), str(out), "--dataset", str(dataset)]) == 0
    assert "on logged inputs" in capsys.readouterr().out
    assert not (dataset / "embeddings").exists(), "the dataset was written to"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "jax", "absent", "out"], "not an artifact"),
        (["export", "torch", "absent", "out"], "not an artifact"),
        (["import-critic", "absent", "out"], "no config.json"),
    ],
)
def test_what_is_not_there_is_named(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert _run(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_another_encoder_is_no_matter_but_a_critic_of_one_is(
    make_artifact, dataset, tmp_path, capsys
):
    out = tmp_path / "exported"  # the manifest's fingerprint is not the hash encoder's
    assert _run(["export", "jax", str(make_artifact()), str(out), "--dataset", str(dataset)]) == 2
    assert "use the same encoder" in capsys.readouterr().err
    assert not out.exists()
