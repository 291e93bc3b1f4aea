"""The RLDS store: lossless, deterministic, atomic, resumable, readable by TFDS as it is."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings

from pgv_jax.data.episodes import check_files, dataset_info, read_episodes, write_dataset
from pgv_jax.data.storage import spool
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode, Step

from . import strategies


def make(count: int, tasks: int = 10, start: int = 0) -> list[Episode]:
    return [
        Episode(
            f"e{i}",
            f"t{i % tasks}",
            "Do it.",
            tuple(Step(f"o{i}.{t}", f"h{t}", f"a{t}", reward=1 / 3) for t in range(1 + i % 4)),
            "end",
            success=(True, False, None)[i % 3],
            score=0.1,
            is_terminal=i % 3 != 2,
            metadata={"i": i},
        )
        for i in range(start, start + count)
    ]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(strategies.episodes)
def test_round_trip_is_exact(episode: Episode) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "d", [episode])
        (back,) = read_episodes(Path(folder) / "d")
    assert back == replace(episode, split=episode.split or "train")


def test_counts_splits_and_info(tmp_path: Path) -> None:
    episodes = make(40)
    summary = write_dataset(tmp_path / "d", episodes, source="here", licence="MIT")
    assert (summary.episodes, summary.tasks, summary.reused) == (40, 10, False)
    assert summary.steps == sum(len(e.steps) for e in episodes)
    assert {name: split["tasks"] for name, split in summary.splits.items()} == {
        "train": 8,
        "val": 1,
        "test": 1,
    }
    info = dataset_info(tmp_path / "d")
    assert info["fingerprint"] == summary.fingerprint
    assert (info["source"], info["licence"], info["episodes"]) == ("here", "MIT", 40)
    by_split = {name: list(read_episodes(tmp_path / "d", name)) for name in info["splits"]}
    assert {n: len(e) for n, e in by_split.items()} == {
        n: s["episodes"] for n, s in info["splits"].items()
    }
    together = list(read_episodes(tmp_path / "d"))
    assert together == by_split["train"] + by_split["val"] + by_split["test"]
    assert sorted(e.episode_id for e in together) == sorted(e.episode_id for e in episodes)


def test_tasks_that_say_the_same_share_a_split_or_are_counted(tmp_path: Path) -> None:
    texts = {
        "a": "Please put the mug on the desk.",
        "b": "Could you put the mug on the desk?",
        "c": "Take the red book to the shelf.",
    }
    for others, expected in (("test", (0, 2)), (None, (2, 0))):
        splits = {"a": "train", "b": others, "c": None}
        made = [
            replace(make(1)[0], episode_id=name, task_id=name, task=text, split=splits[name])
            for name, text in texts.items()
        ]
        summary = write_dataset(tmp_path / str(others), made)
        assert (summary.near, summary.crossing) == expected


def test_tfds_opens_the_folder_as_rlds(tmp_path: Path) -> None:
    (episode,) = make(1, start=3)
    write_dataset(tmp_path / "d", [episode])
    builder = tfds.builder_from_directory(tmp_path / "d")
    (record,) = builder.as_data_source("train")
    steps = list(record["steps"])
    assert [bool(s["is_first"]) for s in steps] == [True, False, False, False, False]
    assert [bool(s["is_last"]) for s in steps] == [False] * 4 + [True]
    assert [bool(s["is_terminal"]) for s in steps] == [False] * 4 + [True]
    assert [float(s["discount"]) for s in steps] == [1, 1, 1, 0, 0]
    assert steps[-1]["observation"] == b"end" and np.isnan(steps[-1]["reward"])
    assert record["episode_metadata"]["success"] == 1


def test_bytes_are_the_same_in_another_process(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", make(30))
    code = (
        "import sys; from pathlib import Path; from tests.data.test_episodes import make;"
        "from pgv_jax.data.episodes import write_dataset; write_dataset(sys.argv[1], make(30));"
        "assert 'tensorflow' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True, cwd=root)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_interrupted_twice_and_resumed_is_byte_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "PART_BYTES", 1500)
    whole = write_dataset(tmp_path / "whole", make(40))
    added: list[str] = []
    add = spool.Spool.add
    monkeypatch.setattr(
        spool.Spool, "add", lambda self, e, r: (added.append(e.episode_id), add(self, e, r))
    )

    def until(stop: int) -> Iterator[Episode]:
        yield from make(stop)
        raise KeyboardInterrupt

    for stop in (13, 29):
        with pytest.raises(KeyboardInterrupt):
            write_dataset(tmp_path / "d", until(stop), resume_key="k")
        assert not (tmp_path / "d").exists()
    summary = write_dataset(tmp_path / "d", make(40), resume_key="k")
    assert summary.fingerprint == whole.fingerprint
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")
    assert 40 < len(added) < 13 + 29 + 40  # some work was not done again
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "whole"]


def test_another_key_starts_afresh(tmp_path: Path) -> None:
    def cut() -> Iterator[Episode]:
        yield from make(3)
        raise KeyboardInterrupt

    for key in ("a", None):
        with pytest.raises(KeyboardInterrupt):
            write_dataset(tmp_path / "d", cut(), resume_key=key)
    assert list(tmp_path.iterdir()) == []  # without a key nothing is kept
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "d", cut(), resume_key="a")
    assert write_dataset(tmp_path / "d", make(2, start=9), resume_key="b").episodes == 2


def test_an_existing_dataset_is_reused_refused_or_replaced(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", make(5))
    (tmp_path / "d" / "embeddings").mkdir()
    before = contents(tmp_path / "d")
    assert write_dataset(tmp_path / "d", make(5)).reused
    with pytest.raises(PgvError, match="already holds another dataset"):
        write_dataset(tmp_path / "d", make(6))
    assert contents(tmp_path / "d") == before
    assert not write_dataset(tmp_path / "d", make(6), overwrite=True).reused
    assert (tmp_path / "d" / "embeddings").is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(PgvError, match="not a dataset"):
        write_dataset(tmp_path / "other", make(6), overwrite=True)


def test_a_swap_that_was_cut_off_is_undone(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", make(5))
    (tmp_path / ".d.partial").mkdir()
    (tmp_path / "d").rename(tmp_path / ".d.partial" / "replaced")
    assert write_dataset(tmp_path / "d", make(5)).reused


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "no episodes to write"),
        ([replace(make(1)[0], steps=())], "Episode 'e0' has no steps"),
        (make(1) * 2, "Episode id 'e0' occurs twice"),
        ([replace(make(1)[0], task="\ud800")], "Episode 'e0' cannot be stored"),
        ([replace(make(1)[0], metadata={"x": {1}})], "Episode 'e0' cannot be stored"),
        ([replace(make(1)[0], split="dev")], "has split 'dev'"),
        (
            [replace(e, split=s) for e, s in zip(make(2, 1), ("val", "test"), strict=True)],
            "Task 't0'",
        ),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, episodes: list[Episode], message: str
) -> None:
    with pytest.raises(PgvError, match=message):
        write_dataset(tmp_path / "d", episodes)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", make(20))
    (path,) = (tmp_path / "d").glob("*train*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    check_files(tmp_path / "d")
    with pytest.raises(PgvError, match=r"train.*SHA-256"):
        check_files(tmp_path / "d", hashes=True)
    path.write_bytes(bytes(data[:-1]))
    with pytest.raises(PgvError, match=r"train.* bytes, but"):
        list(read_episodes(tmp_path / "d"))
    path.unlink()
    with pytest.raises(PgvError, match="is missing"):
        list(read_episodes(tmp_path / "d"))


def test_absent_datasets_and_splits_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(PgvError, match="does not exist"):
        next(read_episodes(tmp_path / "d"))
    write_dataset(tmp_path / "d", make(3, tasks=3))
    with pytest.raises(PgvError, match="no split 'val'; it has train"):
        next(read_episodes(tmp_path / "d", "val"))


def test_many_files_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgv_jax.data import episodes as store

    monkeypatch.setattr(store, "SHARD_BYTES", 1000)
    write_dataset(tmp_path / "d", make(30, tasks=2))
    assert len(list((tmp_path / "d").glob("*train*"))) > 3
    assert [e.episode_id for e in read_episodes(tmp_path / "d")] == [f"e{i}" for i in range(30)]
