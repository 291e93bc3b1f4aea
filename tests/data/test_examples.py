"""Examples in a table: every one says what it said of its episode; groups are dealt evenly."""

from __future__ import annotations

import math

import numpy as np

from pgv_jax.data.examples import Example, texts_of_examples
from pgv_jax.data.layout import build_table, shard_of_episodes
from pgv_jax.data.table import Table
from pgv_jax.types import Episode, Step


def episode(k: int) -> Episode:
    steps = tuple(Step(f"note {k} {t}", f"thought {k} {t}", "a") for t in range(1 + k % 3))
    return Episode(f"e{k}", "t", "Task.", steps, f"end {k}")


EPISODES = [episode(k) for k in range(6)]
EXAMPLES = [
    [
        Example(t, f"idea {k}", "A goal.", k + t / 8, math.nan if t else 0.5, other, group=k % 2)
        for t in range(len(EPISODES[k].steps))
        for other in (None, f"rival {k}")
    ]
    for k in range(6)
]


def test_each_example_is_found_again_by_its_texts(tmp_path):
    known: dict[str, int] = {}

    def lookup(wanted):
        numbers = [known.setdefault(text, len(known)) for text in wanted]
        return np.asarray([[n, 1.0] for n in numbers], np.float32)

    def build(examples) -> Table:
        return build_table(
            tmp_path / "t",
            EPISODES,
            lookup,
            split="train",
            shards=2,
            history=0,
            encoder={"name": "book", "fingerprint": "f"},
            data_fingerprint="d",
            examples=examples,
        )

    table = build(EXAMPLES)
    assert table.manifest["examples"]["count"] == sum(map(len, EXAMPLES))
    found = []
    for shard in Table.open(tmp_path / "t").shards:
        said = [list(known)[int(vector[0])] for vector in shard.vectors]
        e = shard.examples
        assert list(e.group) == sorted(e.group) and set(e.group) == {0, 1}
        for i in range(len(e.row)):
            other = None if e.other[i] < 0 else said[e.other[i]]
            note = said[shard.row_note[e.row[i]]]
            value = None if np.isnan(e.value[i]) else float(e.value[i])
            found.append(
                (note, said[e.thought[i]], said[e.goal[i]], float(e.target[i]), value, other)
            )
    wanted = [
        (f"note {k} {x.step}", x.thought, x.goal, x.target, None if x.step else 0.5, x.other)
        for k, own in enumerate(EXAMPLES)
        for x in own
    ]
    assert sorted(found, key=repr) == sorted(wanted, key=repr)
    before = (tmp_path / "t" / "manifest.json").stat().st_mtime_ns
    assert build(EXAMPLES).manifest == table.manifest
    assert (tmp_path / "t" / "manifest.json").stat().st_mtime_ns == before  # reused
    changed = [[own[0], *own[1:-1]] for own in EXAMPLES]
    assert build(changed).manifest["examples"] != table.manifest["examples"]


def test_texts_are_listed_once_in_their_order():
    assert texts_of_examples(EXAMPLES[:2]) == ["idea 0", "A goal.", "rival 0", "idea 1", "rival 1"]


def test_each_group_is_dealt_by_itself():
    dealt = shard_of_episodes([9, 1, 1, 1, 1, 1], 2, [0, 0, 1, 1, 1, 1])
    assert [[k >= 2 for k in members] for members in dealt] == [[False, True, True]] * 2
