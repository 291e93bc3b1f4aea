"""One pass an episode equals every prefix by itself, and equals reading it with a cache."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgv_jax.embed.episode_mode import EpisodeEncoder, Windows
from pgv_jax.embed.model_files import open_folder
from pgv_jax.embed.session import EpisodeReader
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.texts.segments import chains, join, split
from pgv_jax.texts.templates import EPISODE, observation_text, thought_text
from pgv_jax.types import Episode, Step
from tests.embed import folders


def open_episodic(folder: Path, options: str = "max_tokens=48") -> EpisodeEncoder:
    encoder = open_folder(folder, f"hf:{folder}", f"mode=episode&{options}", budget=256)
    assert isinstance(encoder, EpisodeEncoder)
    return encoder


@pytest.fixture(scope="module")
def encoder(qwen3: Path) -> EpisodeEncoder:
    return open_episodic(qwen3)


TURN = ["Task: a", "\nObs: door", "\nThought: open it", "", "\nAction: go", "\nObs: é\ud800"]
SEGMENTS = TURN * 3
PREFIXES = [join(SEGMENTS[: n + 1]) for n in range(len(SEGMENTS))]


def test_all_at_once_equals_each_prefix_alone(encoder: EpisodeEncoder) -> None:
    together = encoder.encode(PREFIXES)
    alone = np.concatenate([encoder.encode([prefix]) for prefix in PREFIXES])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-2
    assert encoder.encode(PREFIXES[:1]).shape == (1, encoder.dim)


def test_a_prefix_alone_equals_the_model_itself(encoder: EpisodeEncoder) -> None:
    from pgv_jax.embed.text_mode import TextEncoder

    folder = encoder.tokenizer.source
    plain = open_folder(folder, "plain", "max_tokens=48&pooling=last")
    assert isinstance(plain, TextEncoder)
    # Byte-level ids without merges: tokens of a whole equal those of its parts.
    texts = ["".join(SEGMENTS[: n + 1]) for n in range(3)]
    np.testing.assert_allclose(encoder.encode(PREFIXES[:3]), plain.encode(texts), atol=1e-5)
    assert encoder.fingerprint != plain.fingerprint


def test_with_a_cache_equals_all_at_once_beyond_the_window(encoder: EpisodeEncoder) -> None:
    session = encoder.session(max_chunk=16)
    session.warm_up()
    found = np.stack([session.append(segment) for segment in SEGMENTS])
    np.testing.assert_allclose(found, encoder.encode(PREFIXES), atol=1e-4)
    again = encoder.session(max_chunk=16)
    np.testing.assert_allclose(again.append(SEGMENTS[0]), found[0], atol=1e-6)


def test_a_session_rewinds_to_what_two_prefixes_share(encoder: EpisodeEncoder) -> None:
    session = encoder.session(max_chunk=16)
    # Forward, another last segment, back over the window's edge, and the same prefix again.
    for segments in (
        SEGMENTS[:4], [*SEGMENTS[:3], "\nThought: no"], SEGMENTS, SEGMENTS[:5], SEGMENTS[:5],
        SEGMENTS[:1], SEGMENTS[:14], [*SEGMENTS[:10], "x" * 90, "y"],
    ):  # fmt: skip
        expected = encoder.encode([join(segments)])[0]
        segments = list(split(join(segments)))
        np.testing.assert_allclose(session.read(segments), expected, atol=1e-4)
        assert session.segments == segments


def test_a_reader_follows_several_episodes_and_reads_only_what_is_new(
    encoder: EpisodeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    tokenize = encoder.segment_ids
    monkeypatch.setattr(encoder, "segment_ids", lambda s: (read.extend(s), tokenize(s))[1])
    reader = EpisodeReader(encoder, sessions=2)

    def new(*texts: str) -> list[str]:
        read.clear()
        found = reader.encode(texts)
        segments = list(read)
        np.testing.assert_allclose(found, encoder.encode(texts), atol=1e-4)
        return segments

    first, second = join(["Task: a", "\nObs: 1"]), join(["Task: a", "\nObs: 2", "x", "y"])
    assert new(first, join([*split(first), "t"])) == ["Task: a", "\nObs: 1", "t"]
    assert new(second) == list(split(second))
    assert new(join([*split(first), "u"])) == ["u"]
    assert new(join([*split(second), "z"])) == ["z"]
    other = join(["Task: b", "o"])
    assert new(other) == ["Task: b", "o"]  # in the place of the episode not asked for longest
    assert new(first) == ["\nObs: 1"]  # the session in its place had read the same task
    assert new("The task is done.", other) == ["The task is done.", "o"]


@pytest.mark.slow
@pytest.mark.parametrize("config", [folders.LLAMA, folders.QWEN2], ids=["llama", "qwen2-sliding"])
def test_other_families_with_head_token_and_sliding_window(
    tmp_path: Path, config: dict[str, object]
) -> None:
    sliding = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
    extra = sliding if config is folders.QWEN2 else {}
    folder = folders.write_folder(tmp_path, {**config, **extra}, head=True, tail=True)
    encoder = open_episodic(folder, "max_tokens=40")
    session = encoder.session(max_chunk=16)
    found = np.stack([session.append(segment) for segment in SEGMENTS])
    np.testing.assert_allclose(found, encoder.encode(PREFIXES), atol=1e-4)


def test_windows_are_stated_and_counted(encoder: EpisodeEncoder) -> None:
    facts = encoder.describe()
    assert (facts["window_tokens"], facts["window_overlap"]) == (48, 24)
    before = encoder.stats.truncated
    encoder.encode([join(["x" * 48])])
    assert encoder.stats.truncated == before
    encoder.encode([join(["x" * 49])])
    assert encoder.stats.truncated == before + 1


@given(room=st.integers(1, 50), data=st.data())
def test_a_window_holds_the_end_and_enough_context(room: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, room))
    end = data.draw(st.integers(0, 500))
    start = Windows(room, stride).start(end)
    assert start % stride == 0
    assert end - start <= room
    assert start == 0 or end - start > room - stride


@settings(max_examples=50)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=9))
def test_chains_hold_every_prefix_once_and_only_extensions(parts: list[tuple[str, ...]]) -> None:
    prefixes = [join(part) for part in parts]
    groups = chains(prefixes)
    assert sorted(p for group in groups for p in group) == sorted(set(prefixes))
    for group in groups:
        for shorter, longer in pairwise(group):
            assert split(longer)[: len(split(shorter))] == split(shorter)


def test_an_episode_fills_the_store_in_one_pass(encoder: EpisodeEncoder, tmp_path: Path) -> None:
    steps = tuple(Step(f"o{i}", f"t{i}", f"a{i}") for i in range(3))
    episode = Episode("e", "k", "task", steps, "end")
    observations = [observation_text(episode, t, EPISODE) for t in range(4)]
    thoughts = [thought_text(observations[t], steps[t].thought, EPISODE) for t in range(3)]
    store = EmbeddingStore(tmp_path, encoder)
    tokens = encoder.stats.tokens
    store.add([*observations, *thoughts, "The task is done."])
    longest = len("".join(split(observations[-1]))) + len("The task is done.")
    windows = 24 * 3
    assert encoder.stats.tokens - tokens <= longest + windows
    np.testing.assert_allclose(store.lookup(thoughts), encoder.encode(thoughts), atol=1e-4)


def test_an_empty_beginning_is_the_first_token_and_no_part_of_what_follows(
    encoder: EpisodeEncoder,
) -> None:
    empty = encoder.stats.empty
    nothing, after, mark, bare = encoder.encode(["", join(["", "ab"]), "<s>", "ab"])
    np.testing.assert_allclose(nothing, mark, atol=1e-5)
    np.testing.assert_allclose(after, bare, atol=1e-5)
    assert encoder.stats.empty == empty + 1
    session = encoder.session()
    np.testing.assert_allclose(session.append(""), nothing, atol=1e-4)
    np.testing.assert_allclose(session.append("ab"), after, atol=1e-4)


@pytest.mark.part("hf")
def test_without_any_named_token_an_empty_beginning_is_an_error(tmp_path: Path) -> None:
    folder = folders.write_folder(tmp_path, folders.QWEN3)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64}'
    )
    with pytest.raises(PgvError, match="begins with an empty text"):
        open_episodic(folder).encode([""])


def test_bert_has_no_episode_mode(bert: Path) -> None:
    with pytest.raises(PgvError, match=r"bert model.*mode=episode cannot be"):
        open_folder(bert, "hf:x", "mode=episode")


def test_episode_mode_takes_the_last_token(qwen3: Path) -> None:
    with pytest.raises(PgvError, match="pooling='mean' cannot be"):
        open_folder(qwen3, "hf:x", "mode=episode&pooling=mean")
