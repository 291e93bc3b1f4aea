"""Texts as the mean of their sentences or turns: few texts are embedded, each once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.pooled_encoder import PooledEncoder
from pgv_jax.errors import PgvError
from pgv_jax.texts.sentences import sentences
from pgv_jax.texts.templates import observation_text
from pgv_jax.types import Episode, Step

FACTS = ["You are in the hall.", "The door is open.", "You have the key.", "It is dark."]


class Counting(HashEncoder):
    """Counts what it is asked to embed."""

    def __init__(self, dim: int = 8):
        super().__init__(dim)
        self.asked: list[str] = []

    def encode(self, texts, progress=None):
        self.asked += texts
        return super().encode(texts, progress)


def test_a_note_is_the_normalised_mean_of_its_sentences():
    encoder, base = PooledEncoder("sentences", HashEncoder(8)), HashEncoder(8)
    got = encoder.encode([" ".join(FACTS[:3]), FACTS[0]])
    mean = base.encode(FACTS[:3]).mean(0)
    np.testing.assert_allclose(got[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(got[1], base.encode(FACTS[:1])[0], atol=1e-6)
    assert got.dtype == np.float32 and got.shape == (2, 8)


@given(st.lists(st.sampled_from(FACTS), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_length_is_one(facts, random):
    shuffled = random.sample(facts, len(facts))
    one, other = PooledEncoder("sentences", HashEncoder(8)).encode(
        ["\n".join(facts), " ".join(shuffled)]
    )
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)


def test_each_distinct_sentence_is_embedded_once():
    base = Counting()
    encoder = PooledEncoder("sentences", base)
    first = encoder.encode([" ".join(FACTS[:2]), " ".join(FACTS[1:]), FACTS[0]])
    again = encoder.encode([" ".join(FACTS[:2]), FACTS[3]])
    assert sorted(base.asked) == sorted(FACTS)
    np.testing.assert_array_equal(first[0], again[0])


def test_parts_that_are_kept_are_embedded_once_by_all_processes(tmp_path):
    first, second = Counting(), Counting()
    encoder = PooledEncoder("sentences", first)
    encoder.keep_parts(tmp_path)
    encoder.encode([" ".join(FACTS[:2])])
    again = PooledEncoder("sentences", second)
    again.keep_parts(tmp_path)
    got = again.encode([" ".join(FACTS[:3]), FACTS[0]])
    assert first.asked == FACTS[:2] and second.asked == [FACTS[2]]
    usual = PooledEncoder("sentences", HashEncoder(8)).encode([" ".join(FACTS[:3]), FACTS[0]])
    np.testing.assert_array_equal(got, usual)


def test_kept_parts_of_another_base_are_refused(tmp_path):
    encoder = PooledEncoder("sentences", HashEncoder(8))
    encoder.keep_parts(tmp_path)
    encoder.encode(FACTS)
    with pytest.raises(PgvError, match="hash:9"):
        PooledEncoder("sentences", HashEncoder(9)).keep_parts(tmp_path)


def test_a_text_without_sentences_is_itself():
    encoder, base = PooledEncoder("sentences", HashEncoder(8)), HashEncoder(8)
    np.testing.assert_allclose(encoder.encode(["", " \n"]), base.encode(["", " \n"]), atol=1e-6)
    assert encoder.encode([]).shape == (0, 8)


def test_sentences_that_cancel_out_are_no_error():
    class Opposite(HashEncoder):
        def encode(self, texts, progress=None):
            up = np.eye(1, 8, dtype=np.float32)[0]
            return np.stack([up if "open" in text else -up for text in texts])

    got = PooledEncoder("sentences", Opposite(8)).encode(["The door is open. It is dark."])
    assert np.isfinite(got).all() and not got.any()


def test_a_spec_names_it_and_the_fingerprint_is_its_own():
    encoder = open_encoder("sentences:hash:8")
    assert (encoder.name, encoder.dim) == ("sentences:hash:8", 8)
    others = {open_encoder(spec).fingerprint for spec in ("hash:8", "sentences:hash:9")}
    assert encoder.fingerprint not in others
    assert encoder.fingerprint == PooledEncoder("sentences", HashEncoder(8)).fingerprint
    assert encoder.describe()["base"] == HashEncoder(8).describe()


def test_a_window_is_the_mean_of_its_turns_and_other_texts_are_whole():
    steps = (Step("A door.\nIt is shut.", "h", "open door"), Step("A hall.", "h", "go"))
    episode = Episode("e", "t", "task", steps, "A door.\nIt is shut.")
    base = Counting()
    encoder = PooledEncoder("turns", base)
    windows = [observation_text(episode, t, 2) for t in range(3)]
    got = encoder.encode([*windows, "A hall.", "Then\nAction: go"])
    parts = ["A door.\nIt is shut.", "open door", "A hall.", "go"]
    assert base.asked == [*parts, "Then\nAction: go"]
    mean = HashEncoder(8).encode([*parts, parts[0]]).mean(0)
    np.testing.assert_allclose(got[2], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(got[0], HashEncoder(8).encode(parts[:1])[0], atol=1e-6)
    np.testing.assert_allclose(got[3], HashEncoder(8).encode(["A hall."])[0], atol=1e-6)
    pooled = open_encoder("turns:hash:8")
    assert pooled.name == "turns:hash:8" and pooled.fingerprint == encoder.fingerprint
    assert pooled.fingerprint != open_encoder("sentences:hash:8").fingerprint


def test_progress_counts_texts():
    done: list[int] = []
    PooledEncoder("sentences", HashEncoder(8)).encode([" ".join(FACTS), FACTS[0]], done.append)
    assert sum(done) == 2


# The rule that goals, notes and embeddings share


def test_newlines_end_sentences_and_empty_ones_are_dropped():
    text = "\n  You are in the hall. The door is open.\n\n - a key\nno full stop \n"
    assert sentences(text) == [
        "You are in the hall.",
        "The door is open.",
        "- a key",
        "no full stop",
    ]
    assert sentences("") == sentences(" \n\t\n") == []


@given(st.lists(st.sampled_from(FACTS), max_size=6))
def test_simple_sentences_are_found_again(facts):
    assert sentences(" ".join(facts)) == sentences("\n".join(facts)) == facts


@given(st.text(max_size=60))
def test_any_text_gives_stripped_parts_of_itself(text):
    for part in sentences(text):
        assert part and part == part.strip() and part in text


def test_what_is_returned_may_be_changed():
    sentences("One. Two.").append("three")
    assert sentences("One. Two.") == ["One.", "Two."]


def test_chunks_are_longer_than_the_bases_because_parts_recur():
    base = HashEncoder(8)
    assert not hasattr(PooledEncoder("sentences", base), "chunk_characters")
    base.chunk_characters = 1000
    assert PooledEncoder("sentences", base).chunk_characters == 4000
