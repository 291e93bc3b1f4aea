"""kill -9 in an embedding run: resumed, the store equals an uninterrupted one in every bit.

``PGV_KILL_ENCODER=minilm pytest -s tests/embed/storage/test_kills.py`` does it with MiniLM.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage import store as store_module
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.embed.text_mode import TextEncoder

WORDS = [
    "door",
    "key",
    "hall",
    "lamp",
    "table",
    "book",
    "cup",
    "red",
    "open",
    "closed",
    "on",
    "in",
    "the",
    "a",
    "is",
    "you",
    "see",
]
WRITER = """
import sys
from pathlib import Path
from pgv_jax.embed.storage import store
from pgv_jax.embed.encoder_specs import open_encoder
store.CHUNK_TEXTS = int(sys.argv[3])
encoder = open_encoder(sys.argv[1])
encoder.chunk_characters = 0
texts = Path(sys.argv[2]).read_text().splitlines()
print("begin", flush=True)
report = store.EmbeddingStore(sys.argv[4], encoder).add(texts)
print(report.embedded, flush=True)
"""
CHUNK = 32


def texts_of(count: int, longest: int) -> list[str]:
    """``count`` distinct texts of 1 to ``longest`` words."""
    rng = random.Random(0)
    return [f"{i} {' '.join(rng.choices(WORDS, k=rng.randint(1, longest)))}" for i in range(count)]


def contents(folder: Path, encoder: TextEncoder, texts: list[str]) -> np.ndarray:
    """The vectors' bits, in the order of ``texts``; every checksum is tested."""
    store = EmbeddingStore(folder, encoder)
    assert store.verify() == len(texts)
    return store.lookup(texts).view(np.uint32)


@pytest.mark.slow
@pytest.mark.parametrize("known", [0, 40])
def test_interrupted_at_each_chunk_and_resumed_gives_the_same_bits(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(store_module, "CHUNK_TEXTS", CHUNK)
    encoder = open_encoder(f"hf:{bert}")
    assert isinstance(encoder, TextEncoder)
    encoder.chunk_characters = 0
    texts = texts_of(8 * CHUNK - 5, 8)
    EmbeddingStore(tmp_path / "whole", encoder).add(texts[:known])
    EmbeddingStore(tmp_path / "whole", encoder).add(texts)
    whole = contents(tmp_path / "whole", encoder, texts)
    encode = TextEncoder.encode
    for calls in range(7):
        folder, left = tmp_path / str(calls), iter(range(calls))
        EmbeddingStore(folder, encoder).add(texts[:known])

        def stopped(self: TextEncoder, *arguments: Any, left: Iterator[int] = left) -> Any:
            next(left)
            return encode(self, *arguments)

        monkeypatch.setattr(TextEncoder, "encode", stopped)
        with pytest.raises(StopIteration):
            EmbeddingStore(folder, encoder).add(texts)
        monkeypatch.setattr(TextEncoder, "encode", encode)
        EmbeddingStore(folder, encoder).add(texts)
        np.testing.assert_array_equal(contents(folder, encoder, texts), whole)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bits(bert: Path, tmp_path: Path) -> None:
    real = os.environ.get("PGV_KILL_ENCODER")
    spec, chunk = (real, 32) if real else (f"hf:{bert}", CHUNK)
    texts = texts_of(400, 40) if real else texts_of(20 * CHUNK, 8)
    (tmp_path / "texts").write_text("\n".join(texts))

    def start(folder: str) -> subprocess.Popen[str]:
        arguments = [spec, str(tmp_path / "texts"), str(chunk), str(tmp_path / folder)]
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    with start("whole") as process:
        assert process.stdout is not None and process.stdout.readline() == "begin\n"
        began = time.perf_counter()
        assert int(process.stdout.readline()) == len(texts)
    seconds, rng = time.perf_counter() - began, random.Random(time.time())
    kills = 5 if real else 2
    for _ in range(kills):
        with start("killed") as process:
            assert process.stdout is not None and process.stdout.readline() == "begin\n"
            moment = rng.uniform(0, seconds / (kills + 1))
            time.sleep(moment)
            process.kill()
        print(f"killed {moment:.2f} s after its beginning; uninterrupted took {seconds:.2f} s")
    with start("killed") as process:
        assert process.stdout is not None and process.stdout.readline() == "begin\n"
        left = int(process.stdout.readline())
    print(f"the last run embedded {left} of {len(texts)} texts")
    encoder = open_encoder(spec)
    assert isinstance(encoder, TextEncoder)
    whole = contents(tmp_path / "whole", encoder, texts)
    np.testing.assert_array_equal(contents(tmp_path / "killed", encoder, texts), whole)
