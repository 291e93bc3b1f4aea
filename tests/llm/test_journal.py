import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.errors import PgvError
from pgv_jax.llm.journal import Journal

RECORDS = [{"i": i, "text": "x\n\u2028é\ud800"[: i + 1]} for i in range(4)]


def records(folder: Path) -> list[dict[str, object]]:
    return [record for _, _, _, record in Journal(folder).read()]


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for record in RECORDS:
        journal.append(record)
    assert records(tmp_path) == RECORDS
    journal.close()


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_cutting_the_file_anywhere_loses_only_the_torn_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    ends = []
    for record in RECORDS:
        _, offset, length = journal.append(record)
        ends.append(offset + length)
    journal.close()
    (path,) = folder.iterdir()
    cut %= ends[-1] + 1
    os.truncate(path, cut)
    whole = [record for record, end in zip(RECORDS, ends, strict=True) if end <= cut]
    reader = Journal(folder)
    assert [record for _, _, _, record in reader.read()] == whole
    assert reader.dropped == (0 if cut in (0, *ends) else 1)


def test_each_writer_has_a_file_of_its_own(tmp_path: Path) -> None:
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.append({"a": 1})
    second.append({"b": 2})
    first.append({"a": 3})
    assert len(list(tmp_path.iterdir())) == 2
    assert sorted(map(str, records(tmp_path))) == sorted(map(str, [{"a": 1}, {"a": 3}, {"b": 2}]))
    first.close(), second.close()


def test_a_full_disk_is_told_and_nothing_is_written_behind_the_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(PgvError, match="free space"):
        journal.append({"lost": 1})
    monkeypatch.undo()
    journal.append({"kept": 2})
    assert records(tmp_path) == [{"kept": 2}]
    journal.close()


def test_lines_that_are_no_objects_are_dropped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "damaged.jsonl").write_bytes(b'\xff\xfe\n[1]\n{"a": 1}\n{"b"\n')
    journal = Journal(tmp_path)
    assert [record for *_, record in journal.read()] == [{"a": 1}]
    assert journal.dropped == 3


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PgvError, match="Cannot make the folder"):
        Journal(tmp_path / "file" / "below")
