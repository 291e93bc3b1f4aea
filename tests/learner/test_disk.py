"""A disk that is full while a run learns: one sentence, and what was complete stays."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.learner.checkpoint import _Echoes
from pgv_jax.learner.loop import train as learn

from . import chain

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # a file may not grow beyond
from pgv_jax.cli.main import main
main(["train", *sys.argv[2:]])
"""
OPTIONS = (*chain.TINY, "critic.hidden=[256]", "data.encoder=hash:256")


def train(folder: Path, limit: int, steps: int) -> tuple[int, list[str]]:
    options = [*OPTIONS, f"train.steps={steps}", "train.checkpoint_every=10", "--workdir", "run"]
    search = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), "my.yaml", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": search},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_a_sentence_and_the_last_one_is_kept(tmp_path):
    chain.dataset(tmp_path / "data")
    (tmp_path / "my.yaml").write_text("data: {dataset: data}\n")
    room, small = 1 << 30, 1 << 20
    assert train(tmp_path, room, 10)[0] == 0
    status, said = train(tmp_path, small, 20)
    assert status == 2, said
    assert not any("Traceback" in line or "Event loop" in line for line in said), said
    sentence = said[-1]
    assert sentence.startswith("Error: A checkpoint could not be written")
    assert "run/checkpoints" in sentence and "step 10 is kept" in sentence
    assert "file too large" in sentence and "same command" in sentence
    assert train(tmp_path, room, 20)[0] == 0
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "10",
        "20",
    ]


@pytest.mark.slow
def test_vectors_that_do_not_fit_are_a_sentence(tmp_path):
    chain.dataset(tmp_path / "data")
    (tmp_path / "my.yaml").write_text("data: {dataset: data}\n")
    status, said = train(tmp_path, 4000, 10)
    assert status == 1, said
    (sentence,) = [line for line in said if "Error" in line or "Traceback" in line]
    assert "could not be written" in sentence and "make room" in sentence
    assert train(tmp_path, 1 << 30, 10)[0] == 0


def test_a_disk_without_room_is_known_before_a_checkpoint_is_begun(tmp_path, monkeypatch):
    table = chain.table(tmp_path / "table", chain.walks(8))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1000))
    with pytest.raises(PgvError, match=r"0 MB of the disk are free; none was complete"):
        learn(chain.config("train.steps=10"), table, None, tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_only_what_the_disk_refused_is_left_out_of_the_logs(caplog):
    never = "Task exception was never retrieved\nfuture: <Task exception=ValueError('%s')>"
    with _Echoes():
        for name in ("absl", "asyncio"):
            logging.getLogger(name).error(never, "Failed to write: File too large")
            logging.getLogger(name).error(never, "something else")
    assert [record.args for record in caplog.records] == [("something else",)] * 2
