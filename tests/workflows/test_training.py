"""From a dataset to a published critic: nothing is done twice, and the artifact says what it is."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgv_jax.config import Config
from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import dataset_info, write_dataset
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.workflows.training import fit, prepare
from tests.learner import chain


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return chain.dataset(tmp_path_factory.mktemp("data") / "corridor")


def config(dataset: Path, *overrides: str) -> Config:
    return chain.config(
        f"data.dataset={dataset}", "data.encoder=hash:16", "train.steps=20", *overrides
    )


class Bar:
    """Notes what it is told; ``at`` maps words to what happens at their first report."""

    def __init__(self, **at: Any):
        self.seen: list[tuple[str, int]] = []
        self.reports: dict[str, list[int]] = {}
        self._at = at

    @contextmanager
    def __call__(self, words: str, total: int):
        self.seen.append((words, total))
        told = self.reports.setdefault(words, [])

        def report(done: int) -> None:
            told.append(done)
            if words in self._at:
                self._at.pop(words)()

        yield report


def refusal(*args: Any) -> str:
    with pytest.raises(PgvError) as error:
        prepare(*args)
    said = str(error.value)
    assert "\n" not in said
    return said


def test_tables_hold_the_splits_that_teach_and_choose(dataset, tmp_path):
    bar = Bar()
    ready = prepare(config(dataset), tmp_path, bar)
    assert (ready.train.manifest["split"], ready.train.manifest["episodes"]) == ("train", 16)
    assert ready.held_out.manifest["episodes"] == 8
    facts = ready.train.manifest
    assert facts["data_fingerprint"] == dataset_info(dataset)["fingerprint"]
    assert facts["encoder"] == {"name": "hash:16", "fingerprint": HashEncoder(16).fingerprint}
    assert facts["texts"]["history"] == 0
    shard = ready.train.shards[0]
    task = HashEncoder(16).encode([chain.TASK])[0]
    np.testing.assert_array_equal(ready.train.tasks[shard.episode_task[0]], task)
    # task, four rooms, two thoughts and two outcomes; the held-out walks say nothing new.
    assert [words for words, _ in bar.seen] == ["embedding 9 texts (train)"]
    assert bar.reports["embedding 9 texts (train)"][-1] == 9
    assert ready.store.folder == dataset / "embeddings"
    again = Bar()
    before = (tmp_path / "train" / "manifest.json").stat().st_mtime_ns
    prepare(config(dataset), tmp_path, again)
    assert not again.seen
    assert (tmp_path / "train" / "manifest.json").stat().st_mtime_ns == before


def test_the_store_may_lie_elsewhere(dataset, tmp_path):
    ready = prepare(config(dataset, f"data.store={tmp_path / 'store'}"), tmp_path / "tables")
    assert ready.store.folder == tmp_path / "store"
    assert not ready.store.missing([chain.TASK, chain.note(0)])


@pytest.mark.parametrize(
    ("episodes", "asked", "shards"), [(6, 8, 4), (6, 6, 6), (1, 8, 1), (3, 5, 1)]
)
def test_few_episodes_go_to_fewer_shards_that_still_divide_those_asked(
    tmp_path, episodes, asked, shards
):
    write_dataset(tmp_path / "data", chain.walks(episodes, split="train"))
    ready = prepare(config(tmp_path / "data", f"mesh.shards={asked}"), tmp_path / "tables")
    assert ready.train.manifest["shards"] == shards
    assert ready.held_out is None


def test_what_cannot_be_prepared_is_a_sentence(dataset, tmp_path):
    assert "data.dataset=" in refusal(chain.config(), tmp_path)
    absent = tmp_path / "absent"
    assert str(absent) in refusal(config(absent), tmp_path)
    assert not absent.exists()
    (tmp_path / "folder").mkdir()
    assert str(tmp_path / "folder") in refusal(config(tmp_path / "folder"), tmp_path)
    assert "'hash:x'" in refusal(config(dataset, "data.encoder=hash:x"), tmp_path)
    held_out = [replace(walk, split="test") for walk in chain.walks(3)]
    write_dataset(tmp_path / "test-only", held_out)
    assert "no training episodes" in refusal(config(tmp_path / "test-only"), tmp_path / "tables")


def test_an_encoder_that_differs_from_the_stores_names_both(dataset, tmp_path):
    EmbeddingStore(tmp_path / "store", HashEncoder(8)).add(["a"])
    said = refusal(config(dataset, f"data.store={tmp_path / 'store'}"), tmp_path)
    assert "hash:8" in said and "hash:16" in said


@pytest.fixture(scope="module")
def published(dataset, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("published")
    bar = Bar()
    artifact = fit(config(dataset), prepare(config(dataset), workdir / "tables"), workdir, bar)
    assert bar.seen == [("training", 20)]
    assert bar.reports["training"][-1] == 20
    return artifact


def test_the_artifact_says_what_it_is(dataset, published):
    assert published.name == "artifact"
    told = artifacts.load(published).manifest
    assert told["heads"] == ["q", "v"]
    assert told["objective"]["name"] == "gc_iql" and told["objective"]["gamma"] == 0.9
    assert told["encoder"]["describe"] == HashEncoder(16).describe()
    assert told["data"] == {
        "fingerprint": dataset_info(dataset)["fingerprint"],
        "episodes": 16,
        "steps": 16 * 8,
    }
    assert told["goals"]["form"] == "sentence"
    assert told["step"] in (10, 20) and "val_score" in told["metrics"]
    # It is meant to be given away.
    assert str(dataset.parent) not in json.dumps(told)


def test_the_artifact_scores_texts(published):
    value = ValueFunction.load(published)
    goals = [chain.note(room) for room in range(4)]
    q = value.q(chain.TASK, chain.note(0), [chain.thought(move) for move in chain.MOVES], goals)
    assert q.shape == (2, 4) and (q > 0).all() and (q < 1).all()


def test_a_finished_run_is_published_again_as_it_is(dataset, published):
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    bar = Bar()
    workdir = published.parent
    fit(config(dataset), prepare(config(dataset), workdir / "tables"), workdir, bar)
    assert bar.reports["training"] == []
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before


@pytest.mark.slow
@pytest.mark.usefixtures("own_signals")
def test_an_interrupted_fit_publishes_nothing_and_continues(dataset, published, tmp_path):
    ready = prepare(config(dataset), tmp_path / "tables")
    with pytest.raises(KeyboardInterrupt):
        fit(
            config(dataset),
            ready,
            tmp_path,
            Bar(training=lambda: signal.raise_signal(signal.SIGINT)),
        )
    assert not (tmp_path / "artifact").exists()
    artifact = fit(config(dataset), ready, tmp_path)
    assert {path.name: path.read_bytes() for path in artifact.iterdir()} == {
        path.name: path.read_bytes() for path in published.iterdir()
    }


def test_other_episodes_are_another_run(dataset, published, tmp_path):
    """The folder of a run is not reused for other data, and says so."""
    write_dataset(tmp_path / "other", chain.walks(17, split="train"))
    ready = prepare(config(tmp_path / "other"), tmp_path / "tables")
    with pytest.raises(PgvError, match=r"data = .*--workdir"):
        fit(config(tmp_path / "other"), ready, published.parent)


def test_monte_carlo_is_an_objective_too(dataset, tmp_path):
    options = ("objective.name=monte_carlo", "objective.head=linear", "train.steps=10")
    told = fit(
        config(dataset, *options), prepare(config(dataset, *options), tmp_path / "tables"), tmp_path
    )
    assert artifacts.load(told).manifest["objective"]["name"] == "monte_carlo"


@pytest.mark.parametrize("form", ["action", "both"])
def test_a_critic_of_actions_reads_what_was_done(dataset, tmp_path, form):
    own = config(dataset, f"texts.step={form}", "train.steps=10")
    prepared = prepare(own, tmp_path / "tables")
    said = {"action": "left", "both": "I go left.\nAction: left"}[form]
    wanted = HashEncoder(16).encode([said])[0]
    assert (np.abs(prepared.train.shards[0].vectors - wanted).max(1) < 1e-6).any()
    value = ValueFunction.load(fit(own, prepared, tmp_path / "run"))
    assert value.step == value.manifest["texts"]["step"] == form
