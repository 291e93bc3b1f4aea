"""Streams of records: any list is read one element at a time; damage has a line."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.files import records
from pgv_jax.data.importers.files.records import Damage, Record, iter_records, kind_of_file
from pgv_jax.errors import PgvError

from ...strategies import json_values


def values(path: Path) -> list[Any]:
    return [item.value if isinstance(item, Record) else item for item in iter_records(path)]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("chunk", [1, 3, 7, 1 << 16])
def test_a_list_of_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr(records, "CHUNK", chunk)
    path = tmp_path / "x.json"

    @given(st.lists(json_values, max_size=5))
    def check(told: list[Any]) -> None:
        path.write_text(json.dumps(told, indent=indent), "utf-8")
        assert values(path) == told

    check()


def test_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[\n {"a": 1},\n {"a":\n  2},\n {"a": 3}\n]\n')
    assert [item.line for item in iter_records(path)] == [2, 3, 5]


@pytest.mark.parametrize(
    ("text", "good", "line"),
    [
        ('[{"a": 1}, {"a": ', 1, 1),
        ('[{"a": 1}\n{"a": 2}]', 1, 2),
        ('[{"a": 1}] x', 1, 1),
        ('[{"a": 1},\n]', 1, 2),
        ('{"a": 1', 0, 1),
        ("[" * 5000, 0, 1),
        ("", 0, 1),
        ("[" + "9" * 5000 + "]", 0, 1),
    ],
)
def test_damage_has_its_line(tmp_path: Path, text: str, good: int, line: int) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    items = list(iter_records(path))
    assert [isinstance(item, Record) for item in items] == [True] * good + [False]
    assert items[-1].line == line


def test_values_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{\n"a": 1}\n{\n"a": 2}\n')
    assert [(item.value, item.line) for item in iter_records(path)] == [
        ({"a": 1}, 1),
        ({"a": 2}, 3),
    ]


def test_jsonl_goes_on_after_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": \xff}\n{"a"\n{"a": 2}')
    items = list(iter_records(path))
    assert [item.line for item in items] == [1, 3, 4, 5]
    assert [type(item) for item in items] == [Record, Damage, Damage, Record]
    assert items[1].raw.startswith('{"a": \\xff}')


def test_kinds(tmp_path: Path) -> None:
    def kind(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return kind_of_file(path)

    assert kind("a.json", b'{"a": 1}\n{"a": 2}\n') == "jsonl"  # whatever it is called
    assert kind("b.json", b'{\n "a": 1\n}') == "json"
    assert kind("c.jsonl", b'{"a": 1}') == "jsonl"
    assert kind("d.json", b"[1]") == "json"
    assert kind("e.jsonl.gz", gzip.compress(b'{"a": 1}\n')) == "jsonl"
    assert kind("f.csv", b"a,b\n") == "csv"
    assert kind("g.eval", b"PK\x03\x04") == "zip"
    assert kind("h.log", b"Thought: x") == "text"
    assert kind("i.ipynb", b'{"cells": []}') == "notebook"
    for data, why in ((b"\xff\xfea\0", "UTF-16"), (b"\x89PNG\0\0", "binary")):
        with pytest.raises(PgvError, match=why):
            kind("x.json", data)


def test_csv_cells_with_json(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('id,messages,note\n1,"[{""role"": ""user""}]","[not json"\n')
    assert values(path) == [{"id": "1", "messages": [{"role": "user"}], "note": "[not json"}]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not a dependency")
    import pyarrow.parquet as parquet

    rows = [{"messages": [{"role": "user", "content": "a"}], "reward": 1.0}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert values(tmp_path / "x.parquet") == rows


def test_memory_stays_flat(tmp_path: Path) -> None:
    """The peak while reading 16 MB of list is a small part of it."""
    import tracemalloc

    path = tmp_path / "big.json"
    noise = random.Random(0).randbytes(4096).hex()
    with path.open("w") as out:
        out.write("[" + ",\n".join(json.dumps({"i": i, "x": noise}) for i in range(2000)) + "]")
    tracemalloc.start()
    try:
        count = sum(1 for _ in iter_records(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 2000
    assert peak < path.stat().st_size / 8


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', "behind line 1: unexpected end of data; a quotation mark"),
        ('a,b\n1,"say \\"hi\\" now"\n', "behind line 1: ',' expected after"),
        ("a,b,a\n1,2,3\n", "two columns are named 'a'"),
    ],
)
def test_a_csv_file_that_hides_cells_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(PgvError, match=why):
        values(path)
