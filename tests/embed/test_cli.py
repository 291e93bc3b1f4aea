"""``pgv embed`` from a dataset to a store, twice, and its errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers

from pgv_jax.cli.commands.embed import embed
from pgv_jax.config import Config
from pgv_jax.data.episodes import write_dataset
from pgv_jax.data.layout import texts_of
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import EPISODE
from pgv_jax.types import Episode, Step
from tests.embed import folders

STEPS = (Step("A door. It is shut.", "Open it.", "open door"), Step("A hall.", "Go.", "go north"))
EPISODES = [Episode(f"e{i}", f"t{i}", f"Task {i}", STEPS, "The end.", True) for i in range(3)]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_dataset(folder, EPISODES)
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(embed, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_text_is_embedded_once_and_the_closing_line_counts(dataset: Path) -> None:
    texts = texts_of(EPISODES, 1)
    line = run(dataset, "--encoder", "hash:8", "--history", 1)
    assert f"{len(texts)} distinct, {len(texts)} embedded now, 0 truncated (0.0 %)" in line
    store = EmbeddingStore(dataset / "embeddings", HashEncoder(8))
    np.testing.assert_array_equal(store.lookup(texts), HashEncoder(8).encode(texts))
    assert "0 embedded now" in run(dataset, "--encoder", "hash:8", "--history", 1)


def test_without_a_history_it_embeds_what_training_reads(dataset: Path) -> None:
    run(dataset, "--encoder", "hash:8")
    store = EmbeddingStore(dataset / "embeddings", HashEncoder(8))
    assert not store.missing(texts_of(EPISODES, Config().texts.history))


def test_truncation_is_reported_with_the_option_that_changes_it(dataset: Path, bert: Path) -> None:
    line = run(dataset, "--encoder", f"hf:{bert}?max_tokens=16", "--store", dataset / "cut")
    assert "keep=end" in line and "tokens/s" in line and " 0 truncated" not in line


def test_empty_texts_are_counted(tmp_path: Path, qwen3: Path) -> None:
    write_dataset(tmp_path / "data", [Episode("e", "t", "Task", STEPS, "", True)])
    assert ", 1 empty, " in run(tmp_path / "data", "--encoder", f"hf:{qwen3}?max_tokens=16")


def test_episode_mode_fills_the_store_with_prefixes(dataset: Path, qwen3: Path) -> None:
    folder = dataset / "episodic"
    spec = f"hf:{qwen3}?max_tokens=64"
    line = run(dataset, "--encoder", spec, "--mode", "episode", "--store", folder)
    assert "beyond one window" in line
    store = EmbeddingStore(folder, open_encoder(f"{spec}&mode=episode"))
    assert store.manifest()["encoder"]["describe"]["window_overlap"] == 32
    assert store.lookup(texts_of(EPISODES, EPISODE)).shape[1] == 32


@pytest.mark.part("hf")
def test_an_episode_has_no_window_of_past_turns(dataset: Path, qwen3: Path) -> None:
    with pytest.raises(PgvError, match="--history 2 and --mode episode exclude each other"):
        run(dataset, "--encoder", f"hf:{qwen3}", "--mode", "episode", "--history", 2)


def test_errors_reach_the_user(dataset: Path) -> None:
    run(dataset, "--encoder", "hash:8")
    for arguments, message in (
        (["--encoder", "hash:9"], "'hash:8'.*'hash:9'"),
        (["--encoder", "hash:8", "--mode", "episode"], "causal model, 'hash:8' is none"),
        (["--encoder", "nothing"], "'nothing' is unknown"),
    ):
        with pytest.raises(PgvError, match=message):
            run(dataset, *arguments)


def test_many_unknown_tokens_are_counted_and_a_warning(tmp_path: Path) -> None:
    folder = folders.write_folder(tmp_path / "model", folders.BERT)
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "open", "door"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    step = Step("open door", "open", "door")
    write_dataset(tmp_path / "data", [Episode("e", "t", "\u95e8", (step,), "open", True)])
    arguments = [str(tmp_path / "data"), "--encoder", f"hf:{folder}"]
    result = CliRunner().invoke(embed, arguments, catch_exceptions=False)
    assert re.search(r" [1-9]\d* unknown tokens \(\d+\.\d %\), ", result.stdout)
    assert result.stderr.splitlines()[-1].startswith("Warning: ")
    assert "hf:intfloat/multilingual-e5-small" in result.stderr
