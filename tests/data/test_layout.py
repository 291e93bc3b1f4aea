"""Laying out a table: every row says what the episode says; atomic and reusable."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.layout import build_table, shard_of_episodes, texts_of
from pgv_jax.data.storage import array_files
from pgv_jax.data.table import ARRAYS, Table
from pgv_jax.errors import PgvError
from pgv_jax.texts import templates as texts
from pgv_jax.types import Episode, Step
from tests.data.book import DIM, Book, build, episodes


@pytest.mark.parametrize("history", [0, 1, 2])
@pytest.mark.parametrize("shards", [1, 2, 9])
def test_every_row_says_what_the_episode_says(tmp_path: Path, history: int, shards: int) -> None:
    book = Book()
    table = build(tmp_path / "t", book, history=history, shards=shards)
    lengths = [len(e.steps) for e in episodes()]
    dealt = shard_of_episodes(lengths, min(shards, 5))
    assert table.manifest["shards"] == len(table.shards) == min(shards, 5)
    assert (table.manifest["episodes"], table.manifest["steps"]) == (5, sum(lengths))
    for shard, members in zip(table.shards, dealt, strict=True):
        said = [book.text(vector) for vector in shard.vectors]
        assert said[:2] == [texts.SUCCESS, texts.FAILURE]
        assert len(set(said)) == len(said)
        assert shard.episode_start.tolist()[-1] == len(shard.row_obs)
        for k, episode in enumerate(episodes()[m] for m in members):
            start, end = shard.episode_start[k : k + 2]
            assert end - start == len(episode.steps) + 1
            assert book.text(table.tasks[shard.episode_task[k]]) == episode.task
            assert shard.episode_success[k] == {True: 1, False: 0, None: -1}[episode.success]
            assert shard.episode_terminal[k] == episode.is_terminal
            assert (shard.row_episode[start:end] == k).all()
            for t, row in enumerate(range(start, end)):
                note = texts.own_observation(episode, t)
                assert said[shard.row_obs[row]] == texts.observation_text(episode, t, history)
                assert said[shard.row_note[row]] == note
                if t < len(episode.steps):
                    assert said[shard.row_thought[row]] == episode.steps[t].thought
                else:
                    assert shard.row_thought[row] == -1
                held = shard.sentence_ids[slice(*shard.sentence_start[row : row + 2])]
                assert {said[i] for i in held} == set(texts.sentences(note))
                assert (np.diff(held) > 0).all()


def test_texts_of_is_what_the_table_needs(tmp_path: Path) -> None:
    book = Book()
    build(tmp_path / "t", book)
    wanted = texts_of(episodes(), 1)
    assert sorted(wanted) == sorted(book.ids)
    assert len(set(wanted)) == len(wanted)
    assert wanted[:2] == [texts.SUCCESS, texts.FAILURE]
    assert set(texts_of(episodes(), 1, candidates=True)) - set(wanted) == {"idea 0"}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_shards_are_balanced(lengths: list[int], shards: int) -> None:
    dealt = shard_of_episodes(lengths, shards)
    assert sorted(k for members in dealt for k in members) == list(range(len(lengths)))
    loads = [sum(lengths[k] for k in members) for members in dealt]
    assert max(loads) - min(loads) <= max(lengths)
    if len(lengths) >= shards:
        assert all(dealt)


def test_types_and_dtype(tmp_path: Path) -> None:
    table = build(tmp_path / "t", Book(), dtype="float16")
    shard = table.shards[0]
    assert shard.vectors.dtype == np.float16 and shard.vectors.shape[1] == DIM
    assert isinstance(shard.vectors, np.memmap)
    for name in ARRAYS[1:]:
        expected = np.int8 if name in ("episode_success", "episode_terminal") else np.int32
        assert getattr(shard, name).dtype == expected, name
    with pytest.raises(PgvError, match="dtype 'int8'"):
        build(tmp_path / "u", Book(), dtype="int8")
    with pytest.raises(PgvError, match="at least 1 shard"):
        build(tmp_path / "u", Book(), shards=0)


def test_vectors_are_looked_up_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(tmp_path / "whole", Book())
    monkeypatch.setattr(array_files, "LOOKUP_TEXTS", 4)
    book = Book()
    pieces = build(tmp_path / "pieces", book)
    assert book.largest == 4
    assert pieces.manifest == {**whole.manifest}


def test_reused_if_the_same_replaced_if_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = build(tmp_path / "t", Book())
    book = Book()
    again = build(tmp_path / "t", book)
    assert again.manifest == first.manifest and list(book.ids) == [texts.SUCCESS]
    other = build(tmp_path / "t", Book(), history=2)
    assert other.manifest["texts"]["history"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    path = tmp_path / "t" / "shard-00000" / "row_obs.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert build(tmp_path / "t", Book(), history=2).manifest == other.manifest
    assert f"{tmp_path / 't'} is laid out again: {path} is damaged" in caplog.text
    Table.open(tmp_path / "t")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x").write_text("x")
    with pytest.raises(PgvError, match="not a table"):
        build(tmp_path / "notes", Book())


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    left, others = tmp_path / f".t.{gone.pid}.tmp", tmp_path / f".t.{os.getppid()}.tmp"
    for folder in (left, others):
        folder.mkdir()
    build(tmp_path / "t", Book())
    assert not left.exists() and others.exists()


def test_a_failing_lookup_leaves_nothing(tmp_path: Path) -> None:
    def short(wanted: Sequence[str]) -> np.ndarray:
        return np.zeros((1, DIM), np.float32)

    with pytest.raises(PgvError, match=r"shape \(1, 3\)"):
        build_table(
            tmp_path / "t",
            episodes(),
            short,
            split="train",
            shards=1,
            history=0,
            encoder={"name": "x", "fingerprint": "y"},
            data_fingerprint="d",
        )
    with pytest.raises(PgvError, match="not finite"):
        build_table(
            tmp_path / "t",
            episodes(),
            lambda wanted: np.full((len(wanted), DIM), np.nan),
            split="train",
            shards=1,
            history=0,
            encoder={"name": "x", "fingerprint": "y"},
            data_fingerprint="d",
        )
    assert list(tmp_path.iterdir()) == []


def test_no_sentences_at_all(tmp_path: Path) -> None:
    episode = Episode("e", "t", "", (Step("", "", ""),), "")
    table = build_table(
        tmp_path / "t",
        [episode],
        Book(),
        split="val",
        shards=3,
        history=0,
        encoder={"name": "x", "fingerprint": "y"},
        data_fingerprint="d",
    )
    assert table.shards[0].sentence_ids.shape == (0,)
