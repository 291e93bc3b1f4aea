"""What the tests run under is tested too, where a mistake in it would be silent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from tests import compiled

SUITE = """
import signal
import click, pytest
import pgv_jax.cli.main as cli
from pgv_jax.learner.loop import Interrupts
from pgv_jax.rollout.stopping import Stop, interruptible, terminable

def run_until(number):
    with terminable(), interruptible(Stop()), Interrupts():
        signal.raise_signal(number)
        for _ in range(1000):
            pass
    raise KeyboardInterrupt  # as train() does after it has saved

def test_first(monkeypatch):
    command = click.Command("train", callback=lambda: run_until(signal.NUMBER))
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)
    with pytest.raises(SystemExit):
        cli.main(["train"])

def test_second():
    print("goes on")
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.slow
def test_a_signal_ends_the_suite_though_a_command_under_test_is_interrupted_by_it(number, tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE.replace("NUMBER", number))
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", *plugins, "--rootdir", tmp_path, tmp_path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert f"Interrupted: {number}" in done.stdout
    assert "1 passed" in done.stdout and "goes on" not in done.stdout


def test_old_and_torn_programs_are_deleted_and_others_stay(tmp_path):
    whole = zlib.compress(os.urandom(1000))
    kept = {"a": whole, "other": b"(\xb5/\xfd", "c": whole}
    for name, content in {**kept, "torn": whole[:500], "empty": b"", "old": whole}.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    for name, days in (("old", compiled.DAYS + 1), ("c", compiled.DAYS - 1)):
        then = time.time() - days * 24 * 3600
        os.utime(tmp_path / f"{name}-cache", (then, then))
    compiled.tidy(tmp_path)
    left = {file.name.removesuffix("-cache"): file.read_bytes() for file in tmp_path.iterdir()}
    assert left == kept
    compiled.tidy(tmp_path / "nowhere")


def test_programs_of_this_run_are_kept_in_the_repositorys_cache():
    import jax

    folder = Path(jax.config.jax_compilation_cache_dir)
    assert folder == compiled.folder_of_programs()
    assert folder.is_relative_to(Path(__file__).parents[1] / ".cache")
    jax.jit(lambda x: x * 2 + 1)(1.0).block_until_ready()
    assert any(folder.glob("jit_*-cache"))
