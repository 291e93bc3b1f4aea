"""Laws of the embedding store: once each, durable, checked, one encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.storage import store as store_module
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError


class Counting(HashEncoder):
    """Remembers what it was asked for; may fail after some calls."""

    def __init__(self, dim: int = 8, fail_at_call: int | None = None):
        super().__init__(dim)
        self.asked: list[str] = []
        self.calls = 0
        self.fail_at_call = fail_at_call

    def encode(self, texts: Sequence[str], progress: object = None) -> np.ndarray:
        self.calls += 1
        if self.calls == self.fail_at_call:
            raise KeyboardInterrupt
        self.asked += texts
        return super().encode(texts)


@given(st.lists(st.lists(st.text(max_size=5), max_size=20), max_size=4))
def test_lookup_is_what_the_encoder_says_and_each_text_is_embedded_once(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[str]]
) -> None:
    folder, encoder = tmp_path_factory.mktemp("store"), Counting()
    everything = [text for texts in rounds for text in texts]
    for texts in rounds:
        store = EmbeddingStore(folder, encoder)
        fresh = len(store.missing(texts))
        report = store.add(texts)
        assert (report.texts, report.distinct) == (len(texts), len(set(texts)))
        assert report.embedded == fresh
    assert sorted(encoder.asked) == sorted(set(everything))
    store = EmbeddingStore(folder, encoder)
    assert len(store) == len(set(everything))
    np.testing.assert_array_equal(store.lookup(everything), HashEncoder(8).encode(everything))


def test_surrogates_nuls_and_long_texts_are_keys_too(tmp_path: Path) -> None:
    texts = ["", "\x00", "\ud800", "\udfff\ud800", "a" * 10**6, "a" * (10**6 - 1)]
    store = EmbeddingStore(tmp_path, HashEncoder(4))
    store.add(texts)
    np.testing.assert_array_equal(store.lookup(texts), HashEncoder(4).encode(texts))
    assert len({store.key(text) for text in texts}) == len(texts)


def test_a_missing_text_is_named_with_the_remedy(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, HashEncoder(4))
    store.add(["here"])
    with pytest.raises(PgvError, match=r"1 of 2 texts.*'absent'.*pgv embed"):
        store.lookup(["here", "absent"])


def test_another_encoder_is_an_error_that_names_both(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, HashEncoder(4)).add(["a"])
    with pytest.raises(PgvError, match=r"'hash:4'.*'hash:5'.*--store"):
        EmbeddingStore(tmp_path, HashEncoder(5))


def test_an_interrupted_run_loses_one_chunk_and_its_resumption_makes_the_same_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_CHUNK_CHARACTERS", 0)
    texts = [f"text {i}" for i in range(1000)]
    whole = Counting()
    EmbeddingStore(tmp_path / "whole", Counting()).add(texts[:1])
    EmbeddingStore(tmp_path / "whole", whole).add(texts)
    for calls in (1, 2, 3, 4):
        folder = tmp_path / str(calls)
        first, second = Counting(fail_at_call=calls), Counting()
        # What was there before the interrupted run is not a part of its plan.
        EmbeddingStore(folder, Counting()).add(texts[:1])
        with pytest.raises(KeyboardInterrupt):
            EmbeddingStore(folder, first).add(texts)
        store = EmbeddingStore(folder, second)
        assert len(store) == 1 + 256 * (calls - 1)
        assert store.add(texts).embedded == 999 - 256 * (calls - 1)
        assert first.asked + second.asked == whole.asked
        assert (first.calls - 1) + second.calls == whole.calls == 4
        assert not (folder / "unfinished.keys").exists()


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    texts = [str(i) for i in range(600)]
    EmbeddingStore(tmp_path, HashEncoder(4)).add(texts, lambda done, of: seen.append((done, of)))
    assert (seen[0], seen[-1]) == ((0, 600), (600, 600)) and sorted(seen) == seen


def test_chunks_hold_more_texts_where_they_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_CHUNK_CHARACTERS", 10_000)
    monkeypatch.setattr(store_module, "_MAX_CHUNK_TEXTS", 900)
    sizes: list[int] = []

    class Sizes(HashEncoder):
        def encode(self, texts: Sequence[str], progress: object = None) -> np.ndarray:
            sizes.append(len(texts))
            return super().encode(texts)

    texts = [f"{i:0100}" for i in range(600)] + [f"{i:020}" for i in range(700)]
    EmbeddingStore(tmp_path, Sizes(4)).add(texts + [str(i) for i in range(1000)])
    assert sizes == [256, 256, 88 + 168, 500, 32 + 868, 132]


@pytest.mark.parametrize("part", ["keys", "vectors"])
def test_a_flipped_byte_is_found_and_named_and_its_texts_are_embedded_anew(
    tmp_path: Path, part: str
) -> None:
    texts = ["a", "b", "c"]
    EmbeddingStore(tmp_path, HashEncoder(4)).add(texts)
    path = next(tmp_path.glob(f"*.{part}.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PgvError, match=rf"{path.name} is damaged.*delete that file"):
        EmbeddingStore(tmp_path, HashEncoder(4)).lookup(texts)
    path.unlink()
    encoder = Counting(4)
    store = EmbeddingStore(tmp_path, encoder)
    assert store.add(texts).embedded == 3
    np.testing.assert_array_equal(
        EmbeddingStore(tmp_path, encoder).lookup(texts), HashEncoder(4).encode(texts)
    )


def test_a_damaged_manifest_is_an_error(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, HashEncoder(4)).add(["a"])
    manifest = tmp_path / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole[:40])
    with pytest.raises(PgvError, match=r"manifest.json is not JSON"):
        EmbeddingStore(tmp_path, HashEncoder(4))
    manifest.write_text(json.dumps(json.loads(whole) | {"version": 99}))
    with pytest.raises(PgvError, match=r"version 99.*version 1"):
        EmbeddingStore(tmp_path, HashEncoder(4))


def test_a_reader_finds_what_another_store_joined_under_its_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_JOIN_AT", 4)
    encoder, texts = HashEncoder(8), [f"text {i}" for i in range(12)]
    writer = EmbeddingStore(tmp_path, encoder)
    writer.add(texts[:1])
    reader = EmbeddingStore(tmp_path, encoder)  # knows one shard and has not opened its vectors
    for text in texts[1:]:
        writer.add([text])
    assert not reader._paths(reader._entries[0])[1].exists()
    np.testing.assert_array_equal(reader.lookup(texts[:1]), encoder.encode(texts[:1]))
    np.testing.assert_array_equal(reader.lookup(texts), encoder.encode(texts))


def test_many_small_adds_are_joined_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_JOIN_AT", 4)
    texts = [str(i) for i in range(11)]
    store = EmbeddingStore(tmp_path, HashEncoder(4))
    reader = EmbeddingStore(tmp_path, HashEncoder(4))
    for i, text in enumerate(texts):
        store.add([text])
        np.testing.assert_array_equal(
            reader.lookup(texts[: i + 1]), HashEncoder(4).encode(texts[: i + 1])
        )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    named = {entry["name"] for entry in manifest["shards"]}
    assert len(named) < 4
    assert {path.name.split(".")[0] for path in tmp_path.glob("*.npy")} == named


def test_two_writers_share_one_store(tmp_path: Path) -> None:
    one, two = EmbeddingStore(tmp_path, HashEncoder(4)), EmbeddingStore(tmp_path, HashEncoder(4))
    one.add(["a", "b"])
    two.add(["b", "c"])
    one.add(["d"])
    everything = ["a", "b", "c", "d"]
    for store in (one, two, EmbeddingStore(tmp_path, HashEncoder(4))):
        np.testing.assert_array_equal(store.lookup(everything), HashEncoder(4).encode(everything))
    assert len(EmbeddingStore(tmp_path, HashEncoder(4))) == 4


def test_a_reader_goes_on_where_another_process_has_joined_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_JOIN_AT", 4)
    writer, texts = EmbeddingStore(tmp_path, HashEncoder(4)), ["a", "b", "c", "d"]
    for text in texts[:3]:
        writer.add([text])
    # These know all keys and have opened no vectors yet.
    reader, checker = (EmbeddingStore(tmp_path, HashEncoder(4)) for _ in range(2))
    writer.add(texts)
    np.testing.assert_array_equal(reader.lookup(texts[:3]), HashEncoder(4).encode(texts[:3]))
    assert checker.verify() == 4
    for path in tmp_path.glob("*.vectors.npy"):
        path.unlink()
    with pytest.raises(PgvError, match=r"4 of 4 texts have no vector.*pgv embed"):
        EmbeddingStore(tmp_path, HashEncoder(4)).lookup(texts)


JOINER = """
import sys
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.storage import store
store._JOIN_AT = 3
opened = store.EmbeddingStore(sys.argv[1], HashEncoder(4))
for i in range(200):
    opened.add([str(i)])
    print(i, flush=True)
"""


def test_lookup_while_another_process_joins_shards(tmp_path: Path) -> None:
    reads = 0
    with subprocess.Popen(
        [sys.executable, "-c", JOINER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            texts = [str(i) for i in range(int(line) + 1)]
            store = EmbeddingStore(tmp_path, HashEncoder(4))
            np.testing.assert_array_equal(store.lookup(texts), HashEncoder(4).encode(texts))
            reads += 1
    assert process.returncode == 0 and reads == 200


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Broken(HashEncoder):
        def encode(self, texts: Sequence[str], progress: object = None) -> np.ndarray:
            return np.full((len(texts), self.dim), np.nan, np.float32)

    with pytest.raises(PgvError, match="not finite for 'a'"):
        EmbeddingStore(tmp_path, Broken(4)).add(["a"])
    assert not (tmp_path / "manifest.json").exists()


WRITER = """
import sys
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.storage import store
store._CHUNK_CHARACTERS = 0
store._JOIN_AT = 3
texts = [f"text {i}" for i in range(256 * 12)]
store.EmbeddingStore(sys.argv[1], HashEncoder(16)).add(
    texts, lambda done, of: print(done, flush=True)
)
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    # The number of lines to read is fixed; where in the next chunk the signal lands is not.
    for lines in (1, 2, 3, 3, 5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "killed")],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.kill()
        process.stdout.close()
        process.wait()
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "killed")],
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
    )
    assert int(done.stdout.split()[-1]) < 256 * 12, "nothing was kept from the killed runs"
    texts = [f"text {i}" for i in range(256 * 12)]
    whole = EmbeddingStore(tmp_path / "whole", HashEncoder(16))
    whole.add(texts)
    killed = EmbeddingStore(tmp_path / "killed", HashEncoder(16))
    assert len(killed) == len(whole) == killed.verify()
    np.testing.assert_array_equal(killed.lookup(texts), whole.lookup(texts))
    assert not list((tmp_path / "killed").glob(".tmp-*"))
