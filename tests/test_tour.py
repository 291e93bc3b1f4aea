"""docs/tour.ipynb: its committed outputs are fit to be read, and it runs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tour.ipynb"
MOST_BYTES = 300_000


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Any) -> list[tuple[str, ...]]:
    """What a cell put out: streams by name, other outputs by their types of content."""
    found = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            found.append((output["name"],))
        else:
            found.append((output["output_type"], *sorted(output.get("data", {}))))
    return found


@pytest.fixture(scope="module")
def committed() -> Any:
    return json.loads(NOTEBOOK.read_text("utf-8"))


def test_its_outputs_are_those_of_one_run_from_the_top(committed):
    cells = code_cells(committed)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    found = [kind for cell in cells for kind in kinds(cell)]
    assert {kind[0] for kind in found} == {"stdout", "display_data"}
    assert found.count(("display_data", "image/png", "text/plain")) == 4


def test_its_outputs_are_small_and_name_no_machine_and_no_warning(committed):
    outputs = [output for cell in code_cells(committed) for output in cell["outputs"]]
    assert len(json.dumps(outputs)) <= MOST_BYTES
    text = "".join(part for output in outputs for part in output.get("text", ()))
    assert "Would it help?" in text
    # An absolute path: a slash behind a space or at the start that a word follows.
    assert re.findall(r"(?:^|[\s\"'(])(/\w\S*)", text) == []
    assert re.findall(r"(?i)\bwarn\w*|\bdeprecat\w*", text) == []
    assert "\x1b" not in text


@pytest.mark.slow
def test_it_runs_and_each_cell_puts_out_what_is_committed(committed, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    before = {"PATH": Path(sys.executable).parent, "PYTHONPATH": ROOT}
    for name, folder in before.items():
        monkeypatch.setenv(name, os.pathsep.join([str(folder), os.environ.get(name, "")]))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    options = {"timeout": 600, "coalesce_streams": True, "resources": place}
    nbclient.NotebookClient(notebook, **options).execute()
    for cell, known in zip(code_cells(notebook), code_cells(committed), strict=True):
        assert kinds(cell) == kinds(known), cell["id"]
