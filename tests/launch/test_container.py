"""The Dockerfile: what its linter says, and that its context, user and command fit the rest.

No image is built here: that takes a daemon and a registry of images.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

from tests.conftest import CORE_ALONE

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "launch" / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)


def instructions() -> list[tuple[str, str]]:
    """(word, the rest) of each instruction, lines joined; hadolint checks the grammar."""
    lines = DOCKERFILE.read_text("utf-8").replace("\\\n", " ").splitlines()
    said = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(word, rest.strip()) for word, _, rest in said]


def all_of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


@pytest.mark.skipif(CORE_ALONE, reason="hadolint comes with the dev group")
def test_hadolint_has_nothing_to_say():
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_it_copies_is_all_that_the_context_holds():
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert [line for line in ignored if not line.startswith("!")] == ["*", "**/__pycache__"]
    copied = {
        source
        for rest in all_of("COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_both_stages_have_one_python_which_the_package_takes():
    stages = all_of("FROM")
    assert [stage.split()[0] for stage in stages] == ["python:${PYTHON}-slim-bookworm"] * 2
    (python,) = [rest.removeprefix("PYTHON=") for rest in all_of("ARG") if "PYTHON" in rest]
    offered = metadata("pgv-jax").get_all("Classifier") or []
    assert f"Programming Language :: Python :: {python}" in offered


def test_it_installs_the_locked_pins_by_their_hashes_and_lets_the_accelerator_choose_none():
    installs = [rest for rest in all_of("RUN") if "pip install" in rest]
    locked, accelerated, own = installs
    assert locked == "pip install --no-deps --require-hashes -r requirements.lock"
    assert own == "pip install --no-deps --no-build-isolation ."
    (extras,) = re.findall(r"(cuda12\|cuda13\|tpu)\)", accelerated)
    assert set(extras.split("|")) <= set(metadata("jax").get_all("Provides-Extra") or ())
    assert '"jax[$ACCELERATOR]==$version"' in accelerated


@pytest.mark.parametrize(
    ("accelerator", "status", "asked"),
    [("cpu", 0, ""), ("cuda13", 0, "install jax[cuda13]==1.2.3\n"), ("gpu", 2, "")],
)
def test_the_accelerator_is_one_that_is_known(tmp_path, accelerator, status, asked):
    """The line itself, run by a shell with stand-ins for pip and Python."""
    (line,) = [rest for rest in all_of("RUN") if rest.startswith("case ")]
    for name, body in (("pip", 'echo "$@"'), ("python", "echo 1.2.3")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ACCELERATOR": accelerator}
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, asked)
    assert ("give cpu, cuda12, cuda13 or tpu" in done.stderr) == (status == 2)


def test_its_user_may_write_to_the_jobset_s_volume_and_its_command_is_the_jobset_s():
    raw = (ROOT / "launch" / "k8s_jobset.yaml").read_text("utf-8")
    (job,) = yaml.safe_load(raw)["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert all_of("USER") == [str(pod["securityContext"]["fsGroup"])]
    assert json.loads(all_of("ENTRYPOINT")[0]) == pod["containers"][0]["command"] == ["pgv"]
