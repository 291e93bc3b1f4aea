"""Packed files, archives, and folders with other files beside the logs."""

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from pgv_jax.data.storage.compression import bare_name, stem_of
from pgv_jax.errors import PgvError

from ..reading import chat, imported, jsonl, rows

LINE = (json.dumps(chat("T", "go", reward=1)) + "\n").encode()


def zstandard(data: bytes) -> bytes:
    return pyarrow.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize(
    ("ending", "pack"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstandard)],
)
def test_a_packed_file(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"run.4.jsonl.{ending}"
    path.write_bytes(pack(LINE * 3))
    episodes, _ = imported(path)
    assert [(e.episode_id, rows(e)) for e in episodes] == [
        (f"run.4:{i}", [("T", "go", "go")]) for i in range(3)
    ]
    path.write_bytes(pack(LINE * 3)[:-8])  # cut
    with pytest.raises(PgvError, match=rf"run\.4\.jsonl\.{ending}"):
        imported(path)


def test_names() -> None:
    assert (bare_name(Path("a/b.jsonl.zst")), stem_of(Path("a/b.jsonl.zst"))) == ("b.jsonl", "b")


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("june/run.jsonl", LINE)
        archive.writestr("july/run.jsonl.gz", gzip.compress(LINE * 2))
        archive.writestr("__MACOSX/june/run.jsonl", b"\0")
        archive.writestr("README.md", "# Logs")
    episodes, report = imported(path)
    assert [e.episode_id for e in episodes] == ["july/run:0", "july/run:1", "june/run:0"]
    assert [str(p.relative_to(path)) for p, _ in report.sources.passed] == ["README.md"]


def test_a_folder_with_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    jsonl(folder / "a.jsonl", chat("T", "go"))
    (folder / "README.md").write_text("# x\n> quotation\n> another\n")
    (folder / "config.json").write_text('{"seed": 1}')
    (folder / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    episodes, report = imported(folder)
    assert len(episodes) == 1
    passed = {path.name: why for path, why in report.sources.passed}
    assert sorted(passed) == ["README.md", "config.json", "plot.png"]
    assert "no conversation in it" in passed["config.json"]
    jsonl(folder / "b.jsonl", {"rows": [{"a": 1}]})  # may be a log
    with pytest.raises(PgvError, match=r"No importer recognises .*b\.jsonl"):
        imported(folder)
    _, report = imported(folder, on_error="skip")
    assert "b.jsonl" in {path.name for path, _ in report.sources.passed}


def test_what_is_not_utf8_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINE.replace(b"go", b"g\xff"))
    with pytest.raises(PgvError, match=r"line 1: is not UTF-8|1: json: is not UTF-8"):
        imported(path)
