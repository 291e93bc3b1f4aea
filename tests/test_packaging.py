"""The wheel: what it holds, and that it works alone in any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pgv_jax.config import SHIPPED

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"

pytestmark = pytest.mark.slow


def run(*words: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("flit_core")
    folder = tmp_path_factory.mktemp("wheel")
    built = run("-c", BUILD, str(folder), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.split()[-1]


def test_it_holds_the_configurations_and_the_pages(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"pgv_jax/configs/{p.relative_to(SHIPPED).as_posix()}" for p in SHIPPED.rglob("*.*")}
    assert "pgv_jax/configs/alfworld/rollout.yaml" in shipped and shipped <= names
    assert "pgv_jax/report/pages/templates/_base.html" in names
    assert "pgv_jax/data/logs/smollm2-cooking.jsonl.gz" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_a_shipped_configuration_is_found_from_another_folder(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere.mkdir()
    where = run("-c", "import pgv_jax; print(pgv_jax.__file__)", cwd=elsewhere, path=site)
    assert Path(where.stdout.strip()).is_relative_to(site), where.stderr
    asked = run("-m", "pgv_jax", "train", "gc_iql", cwd=elsewhere, path=site)
    assert asked.returncode == 2
    assert "No dataset is named" in asked.stderr  # the file was found and read
