"""Text encoders: pooling against definitions, buckets, recompilation, odd texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from pgv_jax.embed.batches import Buckets
from pgv_jax.embed.model_files import open_folder
from pgv_jax.embed.pooling import pool
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.embed.text_rules import TextRules
from pgv_jax.errors import PgvError
from tests.embed import folders


def open_text(folder: Path, options: str = "", budget: int = 256) -> TextEncoder:
    encoder = open_folder(folder, f"hf:{folder}", options, budget=budget)
    assert isinstance(encoder, TextEncoder)
    return encoder


@given(
    lengths=st.lists(st.integers(1, 100), max_size=60),
    budget=st.integers(1, 400),
    multiple=st.integers(1, 4),
)
def test_every_text_runs_once_in_a_known_shape(
    lengths: list[int], budget: int, multiple: int
) -> None:
    buckets = Buckets.up_to(100, budget, multiple)
    plans = list(buckets.plan(lengths))
    assert sorted(i for plan in plans for i in plan.indices) == list(range(len(lengths)))
    for plan in plans:
        assert (plan.rows, plan.length) in buckets.shapes()
        assert len(plan.indices) <= plan.rows and plan.rows % multiple == 0
        assert all(lengths[i] <= plan.length for i in plan.indices)
        assert multiple > 1 or 3 * len(plan.indices) >= 2 * plan.rows


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_is_its_definition_for_either_padding_side(side: str) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((3, 5, 8)).astype(np.float32)
    counts = [5, 1, 3]
    mask = np.zeros((3, 5), np.int32)
    for i, n in enumerate(counts):
        mask[i, :n] = 1
    if side == "left":
        mask = mask[:, ::-1].copy()
    real = [hidden[i][mask[i] > 0] for i in range(3)]
    expected = {
        "mean": [tokens.mean(0) for tokens in real],
        "cls": [tokens[0] for tokens in real],
        "last": [tokens[-1] for tokens in real],
    }
    for name, vectors in expected.items():
        rules = TextRules(pooling=name, normalize=False)
        found = pool(jnp.asarray(hidden), jnp.asarray(mask), rules)
        np.testing.assert_allclose(found, np.stack(vectors), atol=1e-6)
        if name == "mean":  # the first two are left out; the last one never is
            expected_rest = np.stack(
                [tokens[2:].mean(0) if len(tokens) > 2 else tokens[-1] for tokens in real]
            )
            rules = TextRules(pooling=name, normalize=False, skip=2)
            found = pool(jnp.asarray(hidden), jnp.asarray(mask), rules)
            np.testing.assert_allclose(found, expected_rest, atol=1e-6)
        sliced = np.stack(vectors)[:, :3]
        rules = TextRules(pooling=name, truncate_to=3)
        found = pool(jnp.asarray(hidden), jnp.asarray(mask), rules)
        np.testing.assert_allclose(
            found, sliced / np.linalg.norm(sliced, axis=1, keepdims=True), atol=1e-6
        )


def test_first_tokens_are_left_out_of_a_mean_alone() -> None:
    for options in ({"pooling": "last", "skip": 1}, {"pooling": "mean", "skip": -1}):
        with pytest.raises(PgvError, match="leaves first tokens out of a mean"):
            TextRules(**options)


def test_a_vector_does_not_depend_on_its_company(bert: Path) -> None:
    encoder = open_text(bert, "max_tokens=32")
    texts = ["a", "bb " * 9, "", "c" * 200, "bb"] * 9
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts[:5]])
    np.testing.assert_allclose(together, np.tile(alone, (9, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_nothing_compiles_after_warm_up(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    compiled: list[str] = []

    def listen(name: str, seconds: float, **_: object) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(name)

    encoder = open_text(bert, "max_tokens=16", budget=256)
    encoder.warm_up()
    count = encoder.compilations
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for texts in (["a"], ["b" * n for n in range(20)], ["c"] * 100):
            encoder.encode(texts)
        assert encoder.compilations == count and not compiled
        open_text(bert, "max_tokens=12").encode(["a"])
        assert compiled, "the listener hears compilations"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_more_texts_than_a_block_keep_their_order(bert: Path) -> None:
    encoder = open_text(bert, "max_tokens=16")
    texts = [f"{i % 37}" * (i % 5 + 1) for i in range(1300)]
    done: list[int] = []
    vectors = encoder.encode(texts, done.append)
    assert sum(done) == 1300
    distinct = list(dict.fromkeys(texts))
    expected = dict(zip(distinct, encoder.encode(distinct), strict=True))
    np.testing.assert_allclose(vectors, [expected[text] for text in texts], atol=1e-5)


def test_long_texts_are_cut_and_counted_and_the_kept_end_is_the_rules(bert: Path) -> None:
    long, start, end = "abcdefghij" * 20, "abcdefghij" * 20, "x" * 50 + "abcdefghij"
    first = open_text(bert, "max_tokens=11")
    assert first.encode([long, start[:10]]).shape == (2, 32)
    assert (first.stats.truncated, first.stats.tokens) == (1, 22)
    np.testing.assert_allclose(*first.encode([long, "abcdefghij"]), atol=1e-5)
    last = open_text(bert, "max_tokens=11&keep=end")
    np.testing.assert_allclose(*last.encode([end, "abcdefghij"]), atol=1e-5)
    assert first.fingerprint != last.fingerprint
    prefixed = open_text(bert, "max_tokens=12&keep=end&prefix=Q")
    np.testing.assert_allclose(*prefixed.encode([end, "abcdefghij"]), atol=1e-5)


def test_odd_texts_have_vectors(bert: Path) -> None:
    encoder = open_text(bert, "max_tokens=16")
    vectors = encoder.encode(["", "\x00", "\ud800", "\ufffd", "a" * 10**6, "é" * 3])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-6)  # a lone surrogate is U+FFFD


def test_an_empty_text_has_the_vector_of_the_first_token_that_the_tokenizer_names(
    tmp_path: Path, qwen3: Path
) -> None:
    """<s> is 256, </s> 257, <pad> 258; neither is put before other texts here."""
    encoder = open_text(qwen3, "max_tokens=16")
    empty, first, other = encoder.encode(["", "<s>", "a"])
    np.testing.assert_allclose(empty, first, atol=1e-6)
    assert np.abs(empty - other).max() > 1e-2
    assert encoder.tokenizer(["", "a"])[0].ids.tolist() == [256] and encoder.stats.empty == 1
    assert encoder.describe()["empty_text"] == [256]
    folder = folders.write_folder(tmp_path, folders.QWEN3)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    for left_out, expected in (("bos_token", 257), ("eos_token", 258), ("pad_token", None)):
        del said[left_out]
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
        if expected is not None:
            found = open_text(folder, "max_tokens=16").tokenizer([""])[0]
            assert found.ids.tolist() == [expected] and found.empty
    with pytest.raises(PgvError, match=r"Text '' has no tokens and .* neither adds one nor names"):
        open_text(folder, "max_tokens=16").encode(["a", ""])
    prefixed = open_text(folder, "max_tokens=16&prefix=Q")
    prefixed.encode(["", "a"])  # the prefix is its vector
    assert prefixed.stats.empty == 1


@pytest.mark.parametrize("head,tail", [(False, True), (True, False), (True, True)])
def test_special_tokens_of_the_tokenizer_surround_the_text(
    tmp_path: Path, head: bool, tail: bool
) -> None:
    folder = folders.write_folder(tmp_path, folders.QWEN2, head=head, tail=tail)
    tokenizer = open_text(folder, "max_tokens=8").tokenizer
    assert (tokenizer.head, tokenizer.tail) == ([256] if head else [], [257] if tail else [])
    ids = tokenizer(["a" * 30])[0].ids.tolist()
    assert len(ids) == 8
    assert [i for i in ids if i > 255] == [256] * head + [257] * tail


def test_matryoshka_is_slice_and_norm(bert: Path) -> None:
    whole, short = open_text(bert, "max_tokens=16"), open_text(bert, "max_tokens=16&dim=5")
    expected = whole.encode(["abc"])[:, :5]
    np.testing.assert_allclose(
        short.encode(["abc"]), expected / np.linalg.norm(expected), atol=1e-5
    )
    assert short.dim == 5 and short.fingerprint != whole.fingerprint


def test_the_name_opens_the_same_encoder_again(bert: Path) -> None:
    from pgv_jax.embed.encoder_specs import open_encoder

    spec = f"hf:{bert}?dim=5&prefix=Instruct%3A+find%0A&max_tokens=32"
    encoder = open_encoder(spec)
    assert encoder.name == spec
    assert open_encoder(encoder.name).fingerprint == encoder.fingerprint
    assert encoder.describe()["prefix"] == "Instruct: find\n"


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"[UNK]": 0, "open": 1, "door": 2}, unk_token="[UNK]"),
        models.Unigram([("<unk>", 0.0), ("open", -1.0), ("door", -1.0)], unk_id=0),
    ],
)
def test_tokens_that_the_vocabulary_lacks_are_counted(tmp_path: Path, model: Any) -> None:
    folder = folders.write_folder(tmp_path / "model", folders.BERT)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = open_text(folder, "max_tokens=4")
    texts = ["open door", "\u95e8 open", "\u7a97 open", "open open open open \u95e8"]
    vectors = encoder.encode(texts)
    assert (encoder.stats.tokens, encoder.stats.unknown) == (10, 2)  # the last one is cut
    np.testing.assert_array_equal(vectors[1], vectors[2])
