"""``pgv fit``: one command from logs to a page, which continues and refuses what is not its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pgv_jax.cli.commands import fit as fit_command
from pgv_jax.cli.main import main
from pgv_jax.data.episodes import task_splits
from pgv_jax.data.storage.jsonl import write_jsonl
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.errors import DamagedFileError, PgvError
from pgv_jax.types import Episode, Step
from pgv_jax.workflows.stages import Stages
from tests.learner import chain

SETTINGS = {
    "texts": {"history": 0},
    "critic": {"hidden": [8], "recipe": "auto"},
    "data": {"encoder": "hash:16"},
    "train": {"steps": 20, "batch": 32, "log_every": 5, "eval_every": 10, "scan": 5},
}
"""A configuration that is compiled and run in a moment."""


def walks(tasks: int, attempts: int, outcome: bool | str | None) -> list[Episode]:
    """Attempts at tasks; ``outcome`` "end": who stands in the last two of six rooms succeeds."""
    found = []
    for number in range(tasks * attempts):
        walk = chain.walk(number, 6, 6, task_id=f"t{number % tasks}")
        ended = walk.final_observation.endswith(("4.", "5.")) if outcome == "end" else outcome
        found.append(replace(walk, task=f"Walk, {number % tasks}.", success=ended))
    return found


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """The file log.jsonl of walks without outcomes, in a folder with a small configuration."""
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(json.dumps(SETTINGS))
    write_jsonl(Path("log.jsonl"), walks(20, 1, None))
    return Path("log.jsonl")


def run(capfd, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *arguments])
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out + err


def test_a_log_without_outcomes_is_learned_and_not_judged(log, capfd, monkeypatch):
    opened = []
    make = HashEncoder.__init__
    monkeypatch.setattr(
        HashEncoder, "__init__", lambda self, dim: (opened.append(dim), make(self, dim))[1]
    )
    asked = ("log.jsonl", "--config", "my.yaml", "--out", "out")
    code, said = run(capfd, *asked)
    assert code == 0, said
    assert opened == [16], "one encoder serves all stages"
    assert "20 episodes of 20 tasks: 20 unknown." in said
    assert "none of the 20 episodes says whether it succeeded" in said
    page = Path("out/report.html").read_text("utf-8")
    assert "That cannot be known: none of the 20 episodes" in page
    assert "pgv fit log.jsonl --config my.yaml --out out" in page or "--rewards" in page
    artifact = Path("out/critic/artifact/manifest.json")
    before = artifact.stat().st_mtime_ns
    code, said = run(capfd, *asked)  # nothing is done twice
    assert code == 0 and "Fingerprint" not in said and "training" not in said
    assert artifact.stat().st_mtime_ns == before
    code, said = run(capfd, *asked, "--encoder", "hash:32")
    assert code == 2 and "holds a fit with encoder = None" in said


def test_a_log_may_grow_by_a_file(log, capfd):
    """Tasks keep their splits; files that are no longer named are refused, an empty one is not."""
    Path("empty.jsonl").write_text("")
    code, said = run(capfd, "empty.jsonl", "--config", "my.yaml", "--out", "out")
    assert code == 2 and "empty.jsonl" in said  # and leaves nothing that is in the way
    asked = ("log.jsonl", "--config", "my.yaml", "--out", "out")
    code, said = run(capfd, *asked)
    assert code == 0, said
    before = task_splits(Path("out/dataset"))
    Path("out").rename("moved")  # which is the same fit
    code, said = run(capfd, "log.jsonl", "--config", "my.yaml", "--out", "moved")
    assert code == 0 and "changed" not in said and "training" not in said
    Path("moved").rename("out")
    more = walks(24, 1, None)[20:]
    write_jsonl(Path("more.jsonl"), [replace(e, episode_id=f"m{e.task_id}") for e in more])
    code, said = run(capfd, "log.jsonl", "more.jsonl", *asked[1:])
    assert code == 0, said
    assert "The logs have changed" in said
    after = task_splits(Path("out/dataset"))
    assert len(after) == 24 and {task: after[task] for task in before} == before
    code, said = run(capfd, "more.jsonl", *asked[1:])
    assert code == 2 and "holds a fit of log.jsonl too" in said
    code, said = run(capfd, *asked, "--on-error", "skip")
    assert code == 2 and "holds a fit with options = []" in said


def test_a_damaged_vector_is_no_verdict(log, capfd, monkeypatch):
    """What cannot be read is an error; what cannot be judged is an answer."""

    def judged(error):
        def evaluate(*args, **options):
            raise error

        monkeypatch.setattr("pgv_jax.workflows.evaluate.evaluate", evaluate)
        return run(capfd, "log.jsonl", "--config", "my.yaml", "--out", "out")

    code, said = judged(DamagedFileError("vectors.npy is damaged."))
    assert code == 2 and "Error: vectors.npy is damaged." in said
    code, said = judged(PgvError("There are too few of them."))
    assert code == 0 and "Error" not in said


def test_what_sentences_say_is_kept_for_a_log_that_grows(log, monkeypatch):
    """In vectors of parts: of the second fit's new notes only what no note had before is new."""
    Path("out").mkdir()
    asked: list[str] = []
    encode = HashEncoder.encode

    def counting(self, texts, progress=None):
        asked.extend(texts)
        return encode(self, texts, progress)

    monkeypatch.setattr(HashEncoder, "encode", counting)

    def embedded(*observations: str) -> list[str]:
        asked.clear()
        episode = replace(walks(1, 1, None)[0], steps=(Step(observations[0], "I go.", "go"),))
        write_jsonl(log, [replace(episode, final_observation=observations[1])])
        fit_command._import((str(log),), Path("out"), Stages(Path("out/stages.json")))
        settings = fit_command._settings("my.yaml", Path("out"), "sentences:hash:16", False)
        fit_command._embed(settings, Stages(Path("out/stages.json")))
        return sorted(asked)

    first = embedded("It is dark. It is cold.", "It is dark.")
    assert {"It is dark.", "It is cold."} <= set(first)
    assert embedded("It is warm. It is dark.", "It is cold. It is dark.") == ["It is warm."]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No log is named"),
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("log.jsonl", "--format", "nonsense"), "nonsense"),
        (("log.jsonl", "--config", "nonsense"), "Configuration nonsense does not exist"),
    ],
)
def test_wrong_input_is_one_sentence(log, capfd, arguments, words):
    code, said = run(capfd, *arguments, "--out", "out")
    assert code == 2 and words in said
    assert "Traceback" not in said


def test_a_folder_of_something_else_is_left_alone(log, capfd):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")
    code, said = run(capfd, "log.jsonl", "--out", "mine")
    assert code == 2 and "is not a fit of ours" in said
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_each_kind_of_log_has_its_own_words(log, capfd):
    for name, episodes, words in (
        ("all", walks(12, 2, True), "every known outcome is a success (24 of 24)"),
        ("one", walks(1, 20, "end"), "all 20 episodes are of one task"),
        ("few", walks(20, 1, "end"), "That cannot be known yet: no step has 10 later successes"),
    ):
        write_jsonl(Path(f"{name}.jsonl"), episodes)
        code, said = run(capfd, f"{name}.jsonl", "--config", "my.yaml", "--out", name)
        assert code == 0 and words in said, said
        page = Path(name, "report.html").read_bytes()
        assert words in page.decode() and len(page) < 2e6


@pytest.mark.slow
def test_a_log_with_outcomes_is_judged_and_more_of_it_is_learned_again(log, capfd):
    episodes = walks(30, 4, "end")
    write_jsonl(Path("log.jsonl"), episodes)
    asked = ("log.jsonl", "--config", "my.yaml", "--out", "out")
    code, said = run(capfd, *asked)
    assert code == 0, said
    assert "Would it help?" in said and "What would change that?" in said
    page = Path("out/report.html").read_text("utf-8")
    order = ["Would it help?", "would have chosen differently", "does not know", "to do next"]
    places = [page.index(f"{words}</h2>") for words in order]
    assert places == sorted(places)
    assert page.count('class="scene-head"') == 5  # decisions, each with its values
    assert "critic = ValueFunction.load(&#34;out/critic/artifact&#34;)" in page
    assert "learned on" not in page
    write_jsonl(Path("log.jsonl"), [*episodes, *walks(40, 4, "end")[120:]])
    code, said = run(capfd, *asked)  # a third more
    assert code == 0, said
    assert "The logs have changed" in said and "160 episodes of" in said
    assert "learns on" not in said and not Path("out/critic-before").exists()


def manifest(folder: str = "out/critic/artifact") -> dict:
    return json.loads(Path(folder, "manifest.json").read_text())


@pytest.mark.slow
def test_a_log_that_has_grown_a_little_is_learned_on(log, capfd):
    episodes = walks(30, 4, "end")
    write_jsonl(Path("log.jsonl"), episodes[:100])
    asked = ("log.jsonl", "--config", "my.yaml", "--out", "out")
    run(capfd, *asked)
    first, dealt = manifest(), task_splits("out/dataset")
    assert (first["updates"], first["recipe"]["asked"]) == (20, "auto")

    write_jsonl(Path("log.jsonl"), episodes)  # a fifth more
    code, said = run(capfd, *asked)
    assert code == 0, said
    steps = [found["data"]["steps"] for found in (first, manifest())]
    grown = f"grown from {dataset_steps(100):,} steps to {dataset_steps(120):,}"
    assert grown in " ".join(said.split())
    assert "in 4 updates (--anew: from nothing)" in " ".join(said.split()) and steps[0] < steps[1]
    assert manifest()["updates"] == 4
    assert manifest()["recipe"]["asked"] == (
        "td" if first["recipe"]["chosen"] == "td" else "anchored"
    )
    assert manifest("out/critic-before") == first
    now = task_splits("out/dataset")
    assert {task: now[task] for task in dealt} == dealt
    assert "The critic learned on when the log grew" in Path("out/report.html").read_text("utf-8")
    code, said = run(capfd, *asked)  # nothing is done twice
    assert code == 0 and "training" not in said and "learns on" not in said

    code, said = run(capfd, *asked, "--anew")
    assert code == 0 and "learns on" not in said
    assert (manifest()["updates"], manifest()["recipe"]["asked"]) == (20, "auto")
    assert "learned on" not in Path("out/report.html").read_text("utf-8")

    write_jsonl(Path("log.jsonl"), episodes[1:])  # not grown: an episode is gone
    code, said = run(capfd, *asked)
    assert code == 0 and "learns on" not in said and manifest()["updates"] == 20


def dataset_steps(episodes: int) -> int:
    return sum(len(episode.steps) for episode in walks(30, 4, "end")[:episodes])


STAGES = {
    "import": "dataset/metadata.json",
    "embed": "dataset/embeddings/manifest.json",
    "choose": "critic/recipe",
    "learn": "critic/artifact/manifest.json",
    "judge": "health/report.json",
}
"""A stage, and a file that is there once it has begun or is done."""


@pytest.mark.slow
def test_killed_at_five_moments_it_ends_with_the_same_critic(log, tmp_path):
    write_jsonl(Path("log.jsonl"), walks(30, 4, "end"))
    command = [sys.executable, "-m", "pgv_jax", "fit", "log.jsonl", "--config", "my.yaml"]
    for file in STAGES.values():
        process = subprocess.Popen([*command, "--out", "killed"], stderr=subprocess.DEVNULL)
        while not Path("killed", file).exists() and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() in (-signal.SIGKILL, 0)
    for folder in ("killed", "whole"):
        subprocess.run([*command, "--out", folder], check=True)
    params, judged = "critic/artifact/params.safetensors", "health/report.json"
    assert Path("killed", params).read_bytes() == Path("whole", params).read_bytes()
    report = Path("killed", judged).read_text("utf-8").replace("killed/", "whole/")
    assert report == Path("whole", judged).read_text("utf-8")
