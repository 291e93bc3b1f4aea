"""``pgv fit``: one command from logs to words, which continues and refuses what is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgv_jax.cli import fit as command
from pgv_jax.cli.main import main
from pgv_jax.data.jsonl import write_jsonl
from tests.learner import chain


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "log.jsonl"
    write_jsonl(path, [chain.walk(i, 4, 6, task_id=f"t{i}") for i in range(20)])
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(command, "QUICK_STEPS", 10)


def run(capfd, *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *map(str, arguments)])
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out + err


def test_a_log_without_outcomes_is_learned_and_not_judged(log, tmp_path, capfd):
    out = tmp_path / "out"
    asked = (log, "--encoder", "hash:16", "--quick", "--out", out)
    code, said = run(capfd, *asked)
    assert code == 0, said
    assert "20 episodes, 0 of known outcome, 0 successes." in said
    assert "Not judged: no episode has a known outcome" in said
    assert f"pgv show {out / 'dataset'}" in said
    artifact = out / "critic" / "artifact" / "manifest.json"
    before = artifact.stat().st_mtime_ns
    code, said = run(capfd, *asked)  # nothing is done twice
    assert code == 0 and "Fingerprint" not in said
    assert artifact.stat().st_mtime_ns == before
    code, said = run(capfd, log, "--encoder", "hash:32", "--quick", "--out", out)
    assert code == 2 and "holds a fit with encoder = hash:16" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No log is named"),
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("log.jsonl", "--format", "nonsense"), "nonsense"),
    ],
)
def test_wrong_input_is_one_sentence(log, tmp_path, capfd, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, said = run(capfd, *arguments, "--out", "out")
    assert code == 2 and words in said
    assert "Traceback" not in said


def test_a_folder_of_something_else_is_left_alone(log, tmp_path, capfd):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    code, said = run(capfd, log, "--out", tmp_path / "mine")
    assert code == 2 and "is not a fit of ours" in said
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
