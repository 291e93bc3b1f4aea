"""Whole or not at all: what a reader finds after an error, and after a kill between two renames."""

import json

import pytest

from pgv_jax import files


def test_an_error_leaves_the_old_content_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    files.write_whole(path, "old é\n")
    with pytest.raises(RuntimeError), files.aside(path) as unfinished:
        unfinished.write_text("ne")
        assert path.read_text("utf-8") == "old é\n"
        raise RuntimeError
    assert path.read_text("utf-8") == "old é\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(FileNotFoundError):
        files.write_whole(tmp_path / "no" / "a.txt", b"new")
    files.write_json(path, {"b": [1, None]}, None)
    assert path.read_bytes() == b'{"b": [1, null]}\n'
    assert json.loads(path.read_text()) == {"b": [1, None]}


def test_what_a_killed_writer_left_is_deleted_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_whole(path, "old")
    with files.aside(path) as unfinished:
        unfinished.write_text("new")
        left = unfinished.name
    (tmp_path / left).write_text("ne")  # as if it had been killed before the block's end
    (tmp_path / "b.txt").write_text("b")
    files.delete_unfinished(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    files.delete_unfinished(tmp_path / "no such folder")


def test_a_path_is_there_or_not_unless_that_cannot_be_known(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert files.is_there(tmp_path) and files.is_there(tmp_path / "a.txt")
    for name in ("b.txt", "a.txt/b", "loop"):
        assert not files.is_there(tmp_path / name)
    with pytest.raises(OSError, match="too long"):
        files.is_there(tmp_path / ("x" * 300))


def test_a_file_may_be_read_by_all_whom_the_umask_allows(tmp_path):
    files.write_whole(tmp_path / "mine", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "mine").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_is_replaced_and_comes_back_after_a_kill_between_the_renames(
    tmp_path, monkeypatch
):
    def build(word):
        built = tmp_path / "work" / "built"
        built.mkdir(parents=True)
        (built / "word").write_text(word)
        return built

    folder = tmp_path / "it"
    files.replace_folder(build("first"), folder)
    (folder / "kept").mkdir()
    files.replace_folder(build("second"), folder, keep="kept")
    assert sorted(p.name for p in folder.iterdir()) == ["kept", "word"]
    assert (folder / "word").read_text() == "second"
    assert list((tmp_path / "work").iterdir()) == []

    rename, done = files.os.rename, []

    def killed(old, new):
        if done:
            raise KeyboardInterrupt
        done.append(rename(old, new))

    monkeypatch.setattr(files.os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        files.replace_folder(build("third"), folder)
    assert not folder.exists()
    monkeypatch.undo()
    files.restore_folder(tmp_path / "work", folder)
    assert (folder / "word").read_text() == "second"


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_of(tmp_path / "abc") == known
