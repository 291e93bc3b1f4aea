"""An export: the same values, readable without JAX, and never half written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from pgv_jax.critic import artifact as artifacts
from pgv_jax.errors import PgvError
from pgv_jax.export import parity, write
from pgv_jax.export.inputs import probes
from pgv_jax.export.parity import PARITY_LIMIT, difference
from pgv_jax.export.write import export_torch

FILES = {"config.json", "model.safetensors", "pgv_critic.py", "torch_texts.py", "README.md"}


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setattr(write.importlib.util, "find_spec", lambda name: None)


def test_without_torch_the_files_are_written_and_nothing_is_claimed(
    make_artifact, tmp_path, no_torch
):
    artifact, out = make_artifact(), tmp_path / "out"
    assert export_torch(artifact, out) is None
    assert {path.name for path in out.iterdir()} == FILES
    assert "not checked" in (out / "README.md").read_text()
    config = json.loads((out / "config.json").read_text())
    assert config["encoder"]["name"] == "hash:12"
    assert config["texts"]["success"] == "The task is done."
    parameters = load_file(artifact / "params.safetensors")
    state = load_file(out / "model.safetensors")
    assert len(state) == len(parameters)
    np.testing.assert_array_equal(state["q_head.goal.kernel"], parameters["q/goal/kernel"])


def test_an_untrained_head_is_left_out(make_artifact, tmp_path, no_torch):
    export_torch(make_artifact(heads=("q",)), tmp_path / "out")
    assert all(n.startswith("q_head.") for n in load_file(tmp_path / "out" / "model.safetensors"))


def test_an_earlier_export_is_replaced_and_nothing_else_is(make_artifact, tmp_path, no_torch):
    artifact, out = make_artifact(), tmp_path / "out"
    export_torch(artifact, out)
    (out / "stale").write_text("")
    export_torch(artifact, out)
    assert {path.name for path in out.iterdir()} == FILES
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter").write_text("years")
    with pytest.raises(PgvError, match="not an earlier export"):
        export_torch(artifact, thesis)
    assert (thesis / "chapter").read_text() == "years"
    assert {path.name for path in tmp_path.iterdir()} == {"artifact", "out", "thesis"}


def test_what_is_not_an_artifact_is_refused(tmp_path):
    with pytest.raises(PgvError, match=r"no manifest\.json"):
        export_torch(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_artifact_is_refused(make_artifact, tmp_path):
    artifact = make_artifact()
    (artifact / "params.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(PgvError, match="is damaged"):
        export_torch(artifact, tmp_path / "out")


def test_difference_is_absolute_below_one_and_relative_above():
    assert difference(np.array([0.5, 100.0]), np.array([0.6, 101.0])) == pytest.approx(0.1)
    assert np.isnan(difference(np.array([np.nan]), np.array([0.0])))


def test_probes_are_fixed_unit_vectors():
    first, again = probes(5), probes(5)
    np.testing.assert_array_equal(first["goal"], again["goal"])
    assert not np.array_equal(first["task"], first["goal"])
    np.testing.assert_allclose(np.linalg.norm(first["task"], axis=-1), 1, rtol=1e-6)


@pytest.mark.parametrize("forward", ["head_values", "_jax_values"])
def test_above_the_limit_nothing_is_written(make_artifact, tmp_path, monkeypatch, forward):
    pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")
    right, out = getattr(parity, forward), tmp_path / "out"
    monkeypatch.setattr(parity, forward, lambda *args: right(*args) + 2 * PARITY_LIMIT)
    with pytest.raises(PgvError, match="nothing was written"):
        export_torch(make_artifact(), out)
    assert {path.name for path in tmp_path.iterdir()} == {"artifact"}


def test_not_a_number_is_never_parity(make_artifact, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")
    artifact = make_artifact()
    known = artifacts.load(artifact)
    q = {**known.params["q"], "bias_0": np.full_like(known.params["q"]["bias_0"], np.nan)}
    artifacts.save(artifact, {**known.params, "q": q}, known.manifest)
    with pytest.raises(PgvError, match="differs by nan"):
        export_torch(artifact, tmp_path / "out")
