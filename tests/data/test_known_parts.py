"""Known sentences and the labels of the next-note model, by hand."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from pgv_jax.data.known_parts import known_parts
from pgv_jax.data.layout import build_table, texts_of
from pgv_jax.data.next_notes import CUT_OFF, FAILS, GOES_ON, SUCCEEDS, UNKNOWN, notes_of
from pgv_jax.data.relabel import index_of
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.types import Episode, Step

ENCODER = HashEncoder(8)
A, B, C, D = "The door is open.", "A key is here.", "You are in the hall.", "It is dark."
TASKS = ["Open the door.", "Take the key."]
EPISODE = Episode(
    "e",
    "t",
    "Open the door. Take the key.",
    (Step(f"{C} {B}", "I take it.", "take"), Step(C, "I open it.", "open")),
    f"{A} {C}",
    success=True,
    is_terminal=True,
)


def table(folder, *episodes: Episode) -> Table:
    return build_table(
        folder,
        episodes,
        ENCODER.encode,
        split="train",
        shards=1,
        history=0,
        encoder={"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        data_fingerprint="d",
        parts=True,
    )


def sentences(table: Table, ids: np.ndarray) -> list[str]:
    """The words of known sentences by their vectors."""
    assert table.parts is not None
    words = [A, B, C, D, *TASKS]
    vectors = ENCODER.encode(words)
    rows = [np.asarray(table.parts.parts)[i] for i in ids if i >= 0]
    return [words[int(np.argmin(np.square(vectors - row).sum(1)))] for row in rows]


def test_notes_and_what_follows_them(tmp_path):
    opened = table(tmp_path / "table", EPISODE)
    index = jax.tree.map(lambda x: x[0], index_of(opened.shards))
    notes = notes_of(index, np.asarray([0, 1]), longest=4)
    assert [sentences(opened, row) for row in np.asarray(notes.now)] == [[C, B], [C]]
    assert [sentences(opened, row) for row in np.asarray(notes.next)] == [[C], [A, C]]
    assert np.asarray(notes.end).tolist() == [GOES_ON, SUCCEEDS]
    assert np.asarray(notes.whole).all()
    assert opened.parts is not None
    assert sentences(opened, opened.parts.task_parts[0]) == ["Open the door.", "Take the key."]
    # The mean is over distinct sentences: three of notes, two of tasks.
    wanted = [ENCODER.encode([A, B, C]).mean(0), ENCODER.encode(TASKS).mean(0)]
    np.testing.assert_allclose(opened.parts.part_mean, wanted, atol=1e-6)
    told = opened.manifest["parts"]
    assert told["in_notes"] == 3 and told["in_tasks_alone"] == 2
    assert told["unknown"] == told["unread"] == 0


@pytest.mark.parametrize(
    ("success", "terminal", "end"),
    [
        (True, False, SUCCEEDS),
        (False, True, FAILS),
        (False, False, CUT_OFF),
        (None, False, CUT_OFF),
        (None, True, UNKNOWN),
    ],
)
def test_how_an_episode_ends(tmp_path, success, terminal, end):
    opened = table(tmp_path / "table", replace(EPISODE, success=success, is_terminal=terminal))
    index = jax.tree.map(lambda x: x[0], index_of(opened.shards))
    assert np.asarray(notes_of(index, np.asarray([0, 1]), 4).end).tolist() == [GOES_ON, end]


def test_a_note_that_is_not_read_to_its_end_is_marked(tmp_path):
    opened = table(tmp_path / "table", EPISODE)
    index = jax.tree.map(lambda x: x[0], index_of(opened.shards))
    notes = notes_of(index, np.asarray([0, 1]), longest=1)
    assert np.asarray(notes.whole).tolist() == [False, False]
    assert np.asarray(notes.now).shape == (2, 1)


def test_the_frequent_sentences_are_known_and_the_others_are_counted():
    notes = [[7, 8], [7, 9], [7, 9, 8, 5]]
    known = known_parts([(notes, [3, 7])], most_known=2, most_read=1)
    # 7 stands in three notes, 8 and 9 in two each: 8 was seen first. 9 twice and 5 once are not.
    assert known.texts == [7, 8, 3] and known.in_notes == 2
    assert known.unknown == 3
    assert known.unread == 2  # the second known sentence of the first and of the third note
    start, ids = known.numbered([notes])
    assert start.tolist() == [0, 2, 3, 5] and ids.tolist() == [0, 1, 0, 0, 1]
    assert known.padded([[3, 7]]).tolist() == [[2]]


def test_the_texts_of_a_table_include_the_sentences_of_its_tasks():
    with_parts = texts_of([EPISODE], 0, parts=True)
    assert set(with_parts) - set(texts_of([EPISODE], 0)) == {"Open the door.", "Take the key."}


def test_a_table_with_parts_is_not_one_without(tmp_path):
    assert table(tmp_path / "table", EPISODE).parts is not None
    plain = build_table(
        tmp_path / "table",
        [EPISODE],
        ENCODER.encode,
        split="train",
        shards=1,
        history=0,
        encoder={"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        data_fingerprint="d",
    )
    assert plain.parts is None and plain.shards[0].part_ids is None
