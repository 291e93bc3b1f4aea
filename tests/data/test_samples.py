"""The logs that come with the package hold what the documentation says."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pgv_jax.cli.main import pgv
from pgv_jax.data.episodes import dataset_info, read_episodes
from pgv_jax.data.samples import dataset_path, log_path
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.errors import PgvError


def test_the_log_of_the_small_model_holds_what_is_said_of_it():
    episodes = list(read_jsonl(log_path("sample:smollm2-cooking")))
    steps = [step for episode in episodes for step in episode.steps]
    assert len(episodes) == 200 and len({episode.task_id for episode in episodes}) == 40
    assert sum(episode.success is True for episode in episodes) == 37
    assert sum(episode.is_terminal for episode in episodes) == 95
    assert len(steps) == 1347
    assert sum(step.metadata.get("random") is True for step in steps) == 530
    assert sum(step.action == "" for step in steps) == 1  # an answer that was cut off
    assert sum(step.thought == step.action for step in steps) == 1344  # and two were read in part
    assert {episode.split for episode in episodes} == {None}


def test_a_sample_is_a_dataset_where_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = dataset_path("sample:smollm2-cooking")
    assert folder.parent == tmp_path / "pgv_jax" / "samples"
    assert folder.name.startswith("smollm2-cooking-")
    assert dataset_info(folder)["licence"] == "Apache-2.0"
    assert sum(1 for _ in read_episodes(folder)) == 200
    monkeypatch.setattr("pgv_jax.data.episodes.write_dataset", None)  # written once
    assert dataset_path("sample:smollm2-cooking") == folder


def test_commands_that_name_a_sample_at_once_find_one_whole_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        (folder,) = set(pool.map(dataset_path, ["sample:smollm2-cooking"] * 4))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert sum(1 for _ in read_episodes(folder)) == 200


def test_other_paths_stay_and_unknown_names_are_told_the_known_ones(tmp_path):
    assert log_path(tmp_path / "mine.jsonl") == tmp_path / "mine.jsonl"
    assert dataset_path("data/sample:x") == log_path("data/sample:x")
    for resolve in (log_path, dataset_path):
        with pytest.raises(PgvError, match=r"'sample:gpt'.* it has sample:smollm2-cooking"):
            resolve("sample:gpt")


def test_commands_take_a_sample_for_a_log(tmp_path, capsys):
    words = ["import", "sample:smollm2-cooking", "--out", str(tmp_path / "data"), "--quiet"]
    pgv.main(words, standalone_mode=False)
    assert sum(1 for _ in read_episodes(tmp_path / "data")) == 200
    assert capsys.readouterr().err.startswith("sample:smollm2-cooking: episodes, because ")
    pgv.main(["describe", "sample:smollm2-cooking"], standalone_mode=False)
    told = capsys.readouterr()
    assert "37" in told.out
    assert told.err.startswith("sample:smollm2-cooking: episodes, because ")
    assert str(log_path("sample:smollm2-cooking").parent) not in told.out + told.err
    with pytest.raises(PgvError, match="There is no log 'sample:x' in the package"):
        pgv.main(["evaluate", "artifact", "--dataset", "sample:x"], standalone_mode=False)
