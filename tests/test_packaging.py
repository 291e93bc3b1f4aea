"""The wheel: what it holds, and that it works alone in any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx2 as httpx
import pytest

from pgv_jax.cli.main import COMMANDS
from pgv_jax.config import SHIPPED

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"

EACH = """
import json, os, sys
import pgv_jax.cli.main as cli

assert cli.__file__.startswith(sys.argv[1]), cli.__file__
for words in json.loads(sys.argv[2]):
    try:
        cli.main(words.split())
    except SystemExit as end:
        print("\\nEND", json.dumps([words, end.code]), flush=True)
"""
LOG = [
    {
        "episode_id": f"e{i}",
        "task_id": f"t{i // 2}",
        "task": f"Find the key of room {i // 2}.",
        "success": i % 2 == 0,
        "final_observation": "You have the key." if i % 2 == 0 else "The door is shut.",
        "steps": [
            {
                "observation": f"You are in hall {t} of house {i}.",
                "thought": f"Door {(i + t) % 3} looks right.",
                "action": f"open door {(i + t) % 3}",
            }
            for t in range(3)
        ],
    }
    for i in range(40)
]

pytestmark = pytest.mark.slow


def run(*words: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
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


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """A folder with the wheel installed in it; what it requires is found where the tests run."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    words = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder))
    installed = run(*words, str(wheel), cwd=folder.parent)
    assert installed.returncode == 0, installed.stderr
    return folder


def test_every_command_says_its_help_and_the_core_ones_work(site, tmp_path):
    """The script `pgv`, in a folder without the repository: a log to a critic, judged and used."""
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG))
    (tmp_path / "pairs.jsonl").write_text(
        json.dumps({"observation": "o", "thought": "t", "goal": "g"})
    )
    tiny = "critic.hidden=[8] critic.recipe=td train.steps=4 train.batch=8"
    work = [
        "import log.jsonl --out data",
        "describe data --html data.html",
        "embed data --encoder hash:8",
        f"train gc_iql {tiny} data.encoder=hash:8 data.dataset=data --workdir run",
        "evaluate run/artifact --dataset data --out health",
        "score run/artifact --in pairs.jsonl --out scored.jsonl",
        "show data --episode e0 --artifact run/artifact --out episode.html",
        "export torch run/artifact twin",
        "export jax run/artifact program",
        "import-critic twin back",
        "describe back",
        "fit log.jsonl --config tiny.yaml --encoder hash:8 --out fitted",
    ]
    (tmp_path / "tiny.yaml").write_text(
        "critic: {hidden: [8], recipe: td}\ntrain: {steps: 4, batch: 8}\n"
    )
    helps = [f"{name} --help" for name in COMMANDS]
    done = run("-c", EACH, str(site), json.dumps([*helps, *work]), cwd=tmp_path, path=site)
    told = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("END ")]
    assert told == [[words, 0] for words in [*helps, *work]], done.stdout + done.stderr
    pages = ("data.html", "health/report.html", "episode.html", "fitted/report.html")
    for name in (*pages, "program/q.jaxexport"):
        assert (tmp_path / name).stat().st_size > 1000, name
    (scored,) = map(json.loads, (tmp_path / "scored.jsonl").read_text().splitlines())
    assert 0 <= scored["q"] <= 1
    assert (
        run("-m", "pgv_jax", "--version", cwd=tmp_path, path=site).stdout == "pgv, version 0.1.0\n"
    )


def test_it_serves(site, toy_critic, tmp_path):
    """`pgv serve` of the wheel, in a folder without the repository: asked, and stopped."""
    words = ["-m", "pgv_jax", "serve", str(toy_critic), "--port", "0", "--no-log"]
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        address = said.split()[-1]
        assert said.startswith("Serving on http://127.0.0.1:"), said
        asked = {"model": "m", "query": "Go.", "documents": ["I walk.", "I run."]}
        answer = httpx.post(f"{address}/rerank", json=asked, timeout=60).json()
        assert sorted(found["index"] for found in answer["results"]) == [0, 1]
        server.terminate()
        assert server.wait(60) == 0


def test_a_shipped_configuration_is_found_from_another_folder(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere.mkdir()
    where = run("-c", "import pgv_jax; print(pgv_jax.__file__)", cwd=elsewhere, path=site)
    assert Path(where.stdout.strip()).is_relative_to(site), where.stderr
    asked = run("-m", "pgv_jax", "train", "gc_iql", cwd=elsewhere, path=site)
    assert asked.returncode == 2
    assert "No dataset is named" in asked.stderr  # the file was found and read
