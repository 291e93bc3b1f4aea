"""``pgv train`` as a user meets it: it trains, it continues, and wrong input is a sentence."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgv_jax.cli import console
from pgv_jax.cli import main as cli
from pgv_jax.critic import artifact as artifacts
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.storage.store import EmbeddingStore
from tests.learner import chain


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return chain.dataset(tmp_path_factory.mktemp("data") / "corridor")


@pytest.fixture
def folder(dataset, tmp_path, monkeypatch) -> Path:
    """A working folder with a dataset and a config, as a person has them."""
    shutil.copytree(dataset, tmp_path / "data")
    sections: dict[str, dict] = {}
    for option in (*chain.TINY, "data.encoder=hash:16", "data.dataset=data", "train.steps=20"):
        key, _, value = option.partition("=")
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = json.loads(value) if value[0] in "[0123" else value
    (tmp_path / "my.yaml").write_text(json.dumps(sections))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pgv(capsys):
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(["train", *arguments])
        return exit_.value.code, capsys.readouterr().err

    return run


def interrupt_at(words: str, number: signal.Signals):
    """A bar that sends a signal at the first report of one stage."""

    @contextmanager
    def bar(shown: str, total: int):
        def report(done: int) -> None:
            if shown.startswith(words):
                signal.raise_signal(number)

        yield report

    return bar


@pytest.mark.slow
@pytest.mark.usefixtures("own_signals")
def test_a_run_says_where_the_critic_is_and_an_interrupted_one_continues(folder, pgv, monkeypatch):
    arguments = ("my.yaml", "train.steps=20", "--workdir", "run")
    for stage, number in (
        ("embedding", signal.SIGINT),
        ("embedding", signal.SIGTERM),
        ("training", signal.SIGINT),
        ("training", signal.SIGTERM),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(console, "bar", interrupt_at(stage, number))
            status, said = pgv(*arguments)
        assert status == 130, said
        *_, words, command = said.splitlines()
        assert "Interrupted" in words and "same command" in words
        assert not (folder / "run" / "artifact").exists()
    program, *again = shlex.split(command)
    assert (program, again) == ("pgv", ["train", *arguments])
    status, said = pgv(*again[1:])
    assert status == 0
    assert "run/artifact" in said and "pgv evaluate" in said
    assert "feed resident: the table's vectors take 0.00 GB" in said
    assert (folder / "run" / "artifact" / "manifest.json").exists()
    metrics = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in metrics]
    assert [line["step"] for line in told if "loss" in line] == [5, 10, 15, 20]


def test_a_run_that_is_over_stays_as_it_is_and_damage_is_mended(folder, pgv):
    assert pgv("my.yaml", "--workdir", "run")[0] == 0
    artifact, metrics = folder / "run" / "artifact", folder / "run" / "metrics.jsonl"
    artifacts.annotate(artifact, "calibration", {"slope": 1.0})
    before = [path.read_bytes() for path in (*sorted(artifact.iterdir()), metrics)]
    damaged = folder / "run" / "tables" / "train" / "shard-00001" / "vectors.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    status, said = pgv("my.yaml", "--workdir", "run")
    assert status == 0
    assert "run/tables/train is laid out again" in said and "shard-00001/vectors.npy" in said
    assert [path.read_bytes() for path in (*sorted(artifact.iterdir()), metrics)] == before


def test_without_held_out_tasks_it_says_so(folder, pgv):
    from pgv_jax.data.episodes import write_dataset

    write_dataset(folder / "few", chain.walks(16))
    status, said = pgv("my.yaml", "data.dataset=few", "--workdir", "run")
    assert status == 0
    assert "too few tasks" in " ".join(said.split())


def store_of_another_encoder(folder: Path) -> None:
    EmbeddingStore(folder / "data" / "embeddings", HashEncoder(8)).add(["a"])


def damage_the_dataset(folder: Path) -> None:
    for path in (folder / "data").rglob("*.array_record*"):
        path.write_bytes(path.read_bytes()[:-100])


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("before", "arguments", "words"),
    [
        (nothing, ("absent.yaml",), ["absent.yaml", "does not exist"]),
        (nothing, ("my.yaml", "data.dataset=absent"), ["absent"]),
        (nothing, ("my.yaml", "data.dataset="), ["data.dataset"]),
        (nothing, ("my.yaml", "train.setps=5"), ["train.setps", "did you mean train.steps"]),
        (nothing, ("my.yaml", "train.steps=few"), ["train.steps", "'few'"]),
        (nothing, ("my.yaml", "train.batch=36"), ["36", "32 or 40"]),
        (nothing, ("my.yaml", "mesh.data=3"), ["needs 3 devices"]),
        (nothing, ("my.yaml", "data.encoder=hush:16"), ["hush:16", "hash:D"]),
        (store_of_another_encoder, ("my.yaml",), ["hash:8", "hash:16"]),
        (damage_the_dataset, ("my.yaml",), ["data"]),
    ],
)
def test_wrong_input_is_one_sentence(folder, pgv, before, arguments, words):
    before(folder)
    status, said = pgv(*arguments, "--workdir", "run")
    assert status == 2, said
    (sentence,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in said and said.splitlines()[-1] == sentence
    assert all(word in sentence for word in words), sentence
    assert not (folder / "run" / "artifact").exists()


def test_a_folder_with_another_run_is_refused_and_kept(folder, pgv):
    assert pgv("my.yaml", "train.steps=5", "--workdir", "run")[0] == 0
    kept = (folder / "run" / "artifact" / "manifest.json").read_bytes()
    status, said = pgv("my.yaml", "critic.hidden=[16]", "--workdir", "run")
    assert status == 2 and "--workdir" in said
    assert (folder / "run" / "artifact" / "manifest.json").read_bytes() == kept
