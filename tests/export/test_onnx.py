"""The ONNX models: equal to the formula under ONNX Runtime, for any number of rows."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f"{name} is not installed: the ONNX export is not tested")

import onnxruntime  # noqa: E402

from pgv_jax.critic.artifact import load  # noqa: E402
from pgv_jax.errors import PgvError  # noqa: E402
from pgv_jax.export import parity  # noqa: E402
from pgv_jax.export.inputs import probes  # noqa: E402
from pgv_jax.export.onnx import export_onnx  # noqa: E402
from pgv_jax.export.parity import PARITY_LIMIT  # noqa: E402
from pgv_jax.export.reference import head_values  # noqa: E402
from pgv_jax.types import FIELDS  # noqa: E402
from tests.export.variants import every_variant  # noqa: E402


@pytest.mark.slow
@every_variant
def test_parity_in_every_variant(make_artifact, tmp_path, variant):
    assert export_onnx(make_artifact(**variant), tmp_path / "out")["random"] <= PARITY_LIMIT


def test_any_number_of_rows_and_both_outputs(make_artifact, tmp_path):
    artifact, out = make_artifact(), tmp_path / "out"
    export_onnx(artifact, out)
    files = {"config.json", "README.md", "q.onnx", "v.onnx"}
    assert {path.name for path in out.iterdir()} == files
    opened = load(artifact)
    session = onnxruntime.InferenceSession(out / "q.onnx", providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == list(FIELDS)
    assert [given.name for given in session.get_outputs()] == ["q", "q_members"]
    for rows in (1, 5, 256):
        inputs = {field: x[:rows] for field, x in probes(12).items()}
        members = head_values(opened.params["q"], opened.manifest["critic"], inputs)
        value, each = session.run(None, inputs)
        np.testing.assert_allclose(each, members, atol=1e-6)
        np.testing.assert_allclose(value, members.mean(0), atol=1e-6)


def test_an_untrained_head_is_left_out(make_artifact, tmp_path):
    export_onnx(make_artifact(heads=("q",)), tmp_path / "out")
    assert not (tmp_path / "out" / "v.onnx").exists()


def test_above_the_limit_nothing_is_written(make_artifact, tmp_path, monkeypatch):
    right = parity.head_values
    monkeypatch.setattr(parity, "head_values", lambda *args: right(*args) + 2 * PARITY_LIMIT)
    with pytest.raises(PgvError, match=r"onnx export of .* nothing was written"):
        export_onnx(make_artifact(), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"artifact"}


def test_what_is_missing_is_named(make_artifact, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(PgvError, match=r"onnxscript, .* pip install 'pgv-jax\[torch,onnx\]'"):
        export_onnx(make_artifact(), tmp_path / "out")
