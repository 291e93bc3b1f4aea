"""The StableHLO programs: equal to the formula, and run by jax without this package."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pgv_jax.critic.artifact import load
from pgv_jax.errors import PgvError
from pgv_jax.export import parity
from pgv_jax.export.inputs import probes
from pgv_jax.export.parity import PARITY_LIMIT
from pgv_jax.export.reference import head_values
from pgv_jax.export.stablehlo import PLATFORMS, export_jax
from tests.export.variants import every_variant


@every_variant
def test_parity_in_every_variant(make_artifact, tmp_path, variant):
    assert export_jax(make_artifact(**variant), tmp_path / "out")["random"] <= PARITY_LIMIT


def test_jax_alone_runs_it_with_any_number_of_rows(make_artifact, tmp_path, run_python):
    artifact, out = make_artifact(), tmp_path / "out"
    export_jax(artifact, out)
    files = {"config.json", "README.md", "q.jaxexport", "v.jaxexport"}
    assert {path.name for path in out.iterdir()} == files
    save_file(probes(12), tmp_path / "inputs")
    code = """
import sys
for name in ("pgv_jax", "flax", "torch"):
    sys.modules[name] = None  # an import of it fails
import jax.export
import numpy as np
from safetensors.numpy import load_file, save_file
def program(head):
    with open(f"{sys.argv[1]}/{head}.jaxexport", "rb") as file:
        return jax.export.deserialize(bytearray(file.read()))
q, v, inputs = program("q"), program("v"), load_file(sys.argv[2])
found = {}
for rows in (1, 5, 256):
    x = {field: array[:rows] for field, array in inputs.items()}
    value, members = q.call(x["task"], x["observation"], x["thought"], x["goal"])
    found |= {f"value_{rows}": np.array(value), f"members_{rows}": np.array(members)}
    found[f"v_{rows}"] = np.array(v.call(x["task"], x["observation"], x["goal"])[0])
save_file(found, sys.argv[3])
"""
    run_python(code, args=(str(out), str(tmp_path / "inputs"), str(tmp_path / "found")))
    opened = load(artifact)
    found = load_file(tmp_path / "found")
    for rows in (1, 5, 256):
        inputs = {field: x[:rows] for field, x in probes(12).items()}
        members = head_values(opened.params["q"], opened.manifest["critic"], inputs)
        state = head_values(opened.params["v"], opened.manifest["critic"], inputs)
        np.testing.assert_allclose(found[f"members_{rows}"], members, atol=1e-6)
        np.testing.assert_allclose(found[f"value_{rows}"], members.mean(0), atol=1e-6)
        np.testing.assert_allclose(found[f"v_{rows}"], state[0], atol=1e-6)


def test_it_is_for_every_platform_at_full_precision(make_artifact, tmp_path):
    export_jax(make_artifact(heads=("q",)), tmp_path / "out")
    assert not (tmp_path / "out" / "v.jaxexport").exists()
    program = jax.export.deserialize(bytearray((tmp_path / "out" / "q.jaxexport").read_bytes()))
    assert set(program.platforms) == set(PLATFORMS)
    products = [
        line for line in program.mlir_module().splitlines() if "stablehlo.dot_general" in line
    ]
    assert products and all("HIGHEST" in line for line in products)


def test_above_the_limit_nothing_is_written(make_artifact, tmp_path, monkeypatch):
    right = parity.head_values
    monkeypatch.setattr(parity, "head_values", lambda *args: right(*args) + 2 * PARITY_LIMIT)
    with pytest.raises(PgvError, match=r"jax export of .* nothing was written"):
        export_jax(make_artifact(), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"artifact"}
