"""Compiled programs are kept for every command, and nothing heavy is loaded for that."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from pgv_jax.cli.program_cache import keep_compiled

NAMES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)


@pytest.fixture
def told(monkeypatch, tmp_path) -> dict[str, object]:
    """What a JAX that is loaded is told, in a shell that sets none of the variables."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # what is written over it is undone, too
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told: dict[str, object] = {}
    loaded = SimpleNamespace(config=SimpleNamespace(update=told.__setitem__))
    monkeypatch.setitem(sys.modules, "jax", loaded)
    return told


def test_all_programs_are_kept_in_the_users_cache(told, tmp_path):
    keep_compiled()
    folder = str(tmp_path / "pgv_jax" / "xla")
    assert [os.environ[name] for name in NAMES] == [folder, "0.0", "-1"]
    assert [told[name.lower()] for name in NAMES] == [folder, 0.0, -1]


def test_without_xdg_it_is_the_usual_folder(told, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_compiled()
    assert os.environ[NAMES[0]] == str(tmp_path / ".cache" / "pgv_jax" / "xla")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_sets_stays(told, name, monkeypatch):
    monkeypatch.setenv(name, "7")
    keep_compiled()
    assert os.environ[name] == "7" and set(told) == {n.lower() for n in NAMES} - {name.lower()}


def test_jax_is_not_loaded_for_it(told, monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    keep_compiled()
    assert "jax" not in sys.modules


SCORE = """
import os, sys
for name in list(os.environ):
    if "CACHE" in name:
        del os.environ[name]
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
import pgv_jax.cli.main as cli
cli.main(["score", *sys.argv[2:]])
"""


def test_a_command_keeps_its_small_programs_and_needs_no_others_the_next_time(
    run_python, tmp_path, toy_critic
):
    (tmp_path / "in.jsonl").write_text('{"observation": "A hall.", "thought": "x", "goal": "y"}')

    def programs() -> set[str]:
        files = ("--in", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl"))
        run_python(SCORE, args=(str(tmp_path / "cache"), str(toy_critic), *files))
        kept = tmp_path / "cache" / "pgv_jax" / "xla"
        return {file.name for file in kept.glob("*-cache")}

    first = programs()
    assert first
    assert programs() == first
