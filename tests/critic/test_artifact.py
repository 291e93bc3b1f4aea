"""The published critic: what is saved is loaded, and damage is named, not met later."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.critic import artifact as artifacts
from pgv_jax.errors import PgvError

CRITIC = {
    "dim": 2,
    "hidden": [3],
    "ensemble": 1,
    "layer_norm": False,
    "activation": "relu",
    "head": "linear",
}
MANIFEST: dict[str, Any] = {
    "critic": CRITIC,
    "encoder": {"name": "hash:2", "fingerprint": "f"},
    "texts": {"history": 0},
    "objective": {"name": "gc_iql"},
    "heads": ["q"],
    "metrics": {"val_score": 0.5},
}
PARAMS = {
    "q": {"goal": {"kernel": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}, "bias_0": np.ones(3)}
}

names = st.text("abc_0", min_size=1, max_size=4)
trees = st.recursive(
    st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(np.float32),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=6,
).filter(lambda tree: isinstance(tree, dict))


@pytest.fixture
def saved(tmp_path) -> Path:
    return artifacts.save(tmp_path / "artifact", PARAMS, MANIFEST)


def refusal(folder: Path) -> str:
    with pytest.raises(PgvError) as error:
        artifacts.load(folder)
    sentence = str(error.value)
    assert str(folder) in sentence and "\n" not in sentence
    return sentence


@given(trees)
def test_unflatten_undoes_flatten(tree):
    back = artifacts.unflatten(artifacts.flatten(tree))
    same = lambda a, b: (  # noqa: E731
        a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        if isinstance(a, dict)
        else np.array_equal(a, b)
    )
    assert same(tree, back)


def test_what_is_saved_is_loaded(saved):
    back = artifacts.load(saved)
    assert {key: back.manifest[key] for key in MANIFEST} == MANIFEST
    assert (back.manifest["format"], back.manifest["version"]) == ("pgv_jax.artifact", 2)
    flat, wanted = artifacts.flatten(back.params), artifacts.flatten(PARAMS)
    assert flat.keys() == wanted.keys() == {"q/goal/kernel", "q/bias_0"}
    for name, array in wanted.items():
        np.testing.assert_array_equal(flat[name], array)
        assert flat[name].dtype == array.dtype


def test_its_files_are_as_readable_as_any(saved):
    (saved / "plain").write_text("")
    modes = {path.name: path.stat().st_mode for path in saved.iterdir()}
    assert set(modes.values()) == {modes["plain"]}


def test_a_fingerprint_is_of_names_shapes_and_values():
    same = artifacts.fingerprint({"v": {"b": np.ones(3)}, "q": {"a": np.zeros((1, 2))}})
    assert same == artifacts.fingerprint(
        {"q": {"a": np.zeros((1, 2), "f4")}, "v": {"b": [1, 1, 1]}}
    )
    for other in (
        {"q": {"a": np.zeros((2, 1))}, "v": {"b": np.ones(3)}},
        {"q": {"a": np.zeros((1, 2))}, "v": {"c": np.ones(3)}},
        {"q": {"a": np.zeros((1, 2))}, "v": {"b": np.full(3, 1.5)}},
    ):
        assert artifacts.fingerprint(other) != same


def test_an_array_that_is_a_view_is_saved_as_it_looks(tmp_path):
    transposed = {"q": {"kernel": np.arange(6.0).reshape(2, 3).T}}
    back = artifacts.load(artifacts.save(tmp_path / "a", transposed, MANIFEST))
    np.testing.assert_array_equal(back.params["q"]["kernel"], transposed["q"]["kernel"])


def test_saving_again_replaces_and_leaves_nothing_beside_it(saved):
    (saved / "notes.txt").write_text("old")
    artifacts.save(saved, {"q": {"bias_0": np.zeros(1)}}, {**MANIFEST, "heads": ["v"]})
    assert artifacts.load(saved).manifest["heads"] == ["v"]
    assert [path.name for path in saved.parent.iterdir()] == ["artifact"]
    assert sorted(path.name for path in saved.iterdir()) == ["manifest.json", "params.safetensors"]


def test_saving_the_same_again_keeps_what_was_added_since(saved):
    artifacts.annotate(saved, "calibration", {"slope": 2.0})
    artifacts.save(saved, PARAMS, MANIFEST)
    assert artifacts.load(saved).manifest["calibration"] == {"slope": 2.0}
    other = {**PARAMS["q"], "bias_0": np.zeros(3)}
    artifacts.save(saved, {"q": other}, MANIFEST)
    assert "calibration" not in artifacts.load(saved).manifest


def test_a_failed_save_keeps_the_old_artifact(saved):
    with pytest.raises(TypeError):
        artifacts.save(saved, PARAMS, {**MANIFEST, "metrics": object()})
    assert artifacts.load(saved).manifest["metrics"] == MANIFEST["metrics"]


def test_an_incomplete_manifest_is_not_saved(tmp_path):
    with pytest.raises(PgvError, match="lacks encoder, heads"):
        lacking = {key: MANIFEST[key] for key in ("critic", "texts", "objective")}
        artifacts.save(tmp_path / "a", PARAMS, lacking)
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_no_artifact_says_what_makes_one(tmp_path):
    assert "pgv train" in refusal(tmp_path)
    assert "pgv train" in refusal(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    assert "pgv train" in refusal(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '{"format": "else"}'])
def test_a_damaged_manifest_is_named(saved, text):
    (saved / "manifest.json").write_text(text)
    assert "manifest.json" in refusal(saved)


def test_half_a_manifest_beside_parameters_is_an_artifact_that_is_damaged(saved, tmp_path):
    whole = (saved / "manifest.json").read_text()
    (saved / "manifest.json").write_text(whole[: len(whole) // 2])
    assert artifacts.is_artifact(saved)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{")
    assert not artifacts.is_artifact(tmp_path / "other")


def test_a_manifest_that_lacks_a_part_is_damaged(saved):
    known = json.loads((saved / "manifest.json").read_text())
    for key, below in artifacts.REQUIRED.items():
        lacking = {name: known[name] for name in known if name != key}
        (saved / "manifest.json").write_text(json.dumps(lacking))
        assert f"lacks {key}" in refusal(saved)
        for inner in below:
            part = {name: known[key][name] for name in known[key] if name != inner}
            (saved / "manifest.json").write_text(json.dumps({**known, key: part}))
            assert f"lacks {key}.{inner};" in refusal(saved)
        if below:
            (saved / "manifest.json").write_text(json.dumps({**known, key: "text"}))
            assert f"lacks {key}." in refusal(saved)


def test_another_version_is_refused(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({**manifest, "version": 3}))
    said = refusal(saved)
    assert "version 3" in said and "versions 1 and 2" in said


def test_an_artifact_from_before_the_checksums_is_read(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["checksums"]
    (saved / "manifest.json").write_text(json.dumps({**manifest, "version": 1}))
    back = artifacts.load(saved)
    assert {key: back.manifest[key] for key in MANIFEST} == MANIFEST
    artifacts.annotate(saved, "note", 1)
    assert artifacts.load(saved).manifest["version"] == 2


def test_the_checksums_are_of_the_files(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    sums = manifest.pop("checksums")
    data = (saved / "params.safetensors").read_bytes()
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    assert sums == {
        "params.safetensors": hashlib.sha256(data).hexdigest(),
        "manifest": hashlib.sha256(text.encode()).hexdigest(),
    }
    assert "checksums" not in artifacts.load(saved).manifest


@pytest.mark.parametrize("name", ["params.safetensors", "manifest.json"])
def test_every_flipped_bit_is_named_or_changes_nothing(saved, name):
    """What a flip leaves unsaid is another spelling of the same value, such as 1E-5 for 1e-5."""
    path, whole = saved / name, artifacts.load(saved)
    data = path.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                back = artifacts.load(saved)
            except PgvError as error:
                assert name in str(error) or "version" in str(error)
            else:
                assert name == "manifest.json" and back.manifest == whole.manifest
                assert artifacts.fingerprint(back.params) == artifacts.fingerprint(whole.params)


def test_missing_parameters_are_named(saved):
    (saved / "params.safetensors").unlink()
    assert "params.safetensors is missing" in refusal(saved)
    (saved / "params.safetensors").mkdir()
    assert "params.safetensors" in refusal(saved)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_parameters_are_damaged(saved, keep):
    path = saved / "params.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "params.safetensors is damaged" in refusal(saved)


def test_a_copy_elsewhere_is_the_same_artifact(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    assert artifacts.load(tmp_path / "copy").manifest == artifacts.load(saved).manifest


def test_a_key_is_added_replaced_and_removed_and_the_rest_stays(saved):
    artifacts.annotate(saved, "calibration", {"states": {"kind": "constant", "rate": 0.5}})
    artifacts.annotate(saved, "calibration", {"states": {"kind": "constant", "rate": 0.25}})
    manifest = artifacts.load(saved).manifest
    assert manifest.pop("calibration")["states"]["rate"] == 0.25
    artifacts.annotate(saved, "calibration", None)
    assert artifacts.load(saved).manifest == manifest


@pytest.mark.parametrize(
    ("step", "metrics", "early", "found"),
    [
        (3000, {"val_score": 0.7}, True, True),
        (2900, {"val_score": 0.7}, True, True),
        (2800, {"val_score": 0.7}, True, False),
        (3000, {}, True, False),
        (3000, {"val_score": 0.7}, False, False),
    ],
)
def test_a_training_whose_last_look_was_its_best_had_not_converged(step, metrics, early, found):
    train = {"steps": 2000, "eval_every": 200, "early_stop": early}
    manifest = {"config": {"train": train}, "step": step, "metrics": metrics, "updates": 3000}
    assert artifacts.still_improving(manifest) is found
    assert not artifacts.still_improving({"step": 5, "metrics": metrics})
