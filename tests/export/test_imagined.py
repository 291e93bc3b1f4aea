"""A critic that imagines, in every form: its values are those of the value function."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.known_parts import MOST_READ
from pgv_jax.errors import PgvError
from pgv_jax.export.folder import config_of
from pgv_jax.export.inputs import logged
from pgv_jax.export.parity import PARITY_LIMIT
from pgv_jax.export.reference import imagined_values
from pgv_jax.export.stablehlo import export_jax
from pgv_jax.export.write import export_torch
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode, Step
from tests.critic.test_imagined import (
    ENCODER,
    GAMMA,
    GOALS,
    NOTE,
    OF_THE_MEAN,
    SPEC,
    TASK,
    THOUGHTS,
    WITH_EXPERT,
    params,
)

MANIFEST = {
    "critic": SPEC.to_json(),
    "encoder": {"name": ENCODER.name, "fingerprint": ENCODER.fingerprint, "describe": {}},
    "texts": {"history": 0, "fingerprint": "t" * 64},
    "objective": {"name": "gc_iql", "gamma": GAMMA},
    "heads": ["q", "v", "m"],
}
EPISODE = Episode(
    "e",
    "t",
    TASK,
    (Step(NOTE, THOUGHTS[0], "take key"), Step("You hold the key.", THOUGHTS[1], "open door")),
    "The door is open. You hold the key.",
)
LONG = " ".join(f"Thing {i} is here." for i in range(MOST_READ + 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return artifacts.save(tmp_path_factory.mktemp("critic") / "artifact", params(), MANIFEST)


@pytest.fixture(scope="module")
def value(folder: Path) -> ValueFunction:
    return ValueFunction.load(folder)


@pytest.fixture(scope="module")
def written(folder: Path, value: ValueFunction) -> Path:
    """The PyTorch folder with its programs; parity holds on random and on logged scenes."""
    pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")
    out = folder.with_name("torch")
    found = export_torch(folder, out, logged=logged(value, [EPISODE]), programs=True)
    assert found is not None and set(found) == {"random", "logged"}
    assert max(found.values()) <= PARITY_LIMIT
    return out


def test_the_formula_by_hand():
    """With kernels of 0 each chance is that of a bias; one member, L = M = K = 1."""
    trained = {name: np.zeros((1, *x.shape[1:])) for name, x in params(OF_THE_MEAN)["m"].items()}
    trained |= {
        "gone_out_bias": np.full((1, 1), np.log(1 / 3)),  # gone 1/4
        "known_bias": np.full((1, 1), np.log(4)),  # appears 4/5
        # With two parts of logit 0 each end gets log(2) / 3 more, which the softmax does not see.
        "end_out_bias": np.log([[4.0, 3.0, 2.0, 1.0]]),  # .4, .3, .2, .1
    }
    dim = SPEC.dim
    constants = {f"centre_{name}": np.zeros(dim) for name in ("note", "task", "thought")}
    constants |= {f"centre_{name}": np.ones(1) for name in ("part_scale", "thought_scale")}
    x, y = np.eye(dim)[:2]
    model = {**trained, **constants, "known": y[None]}
    # V reads the observation's first number alone: relu, so its value is that number.
    first = np.zeros((1, dim, 1))
    first[0, 0] = 1.0
    v = {f"{name}/kernel": np.zeros((1, dim, 1)) for name in ("task", "goal")}
    v |= {"observation/kernel": first, "bias_0": np.zeros((1, 1))}
    v |= {"out/kernel": np.ones((1, 1, 1)), "out/bias": np.zeros((1, 1))}
    critic = {"hidden": [1], "layer_norm": False, "activation": "relu", "head": "linear"}
    scene = {
        "task": x,
        "note_parts": np.stack([x, y]),
        "note_there": np.array([True, False]),
        "task_parts": x[None],
        "task_there": np.array([True]),
        "rest": np.zeros(dim),
        "thought": y[None],
        "goal": np.stack([x, y, y, x, x]),
        "at": np.array([0, -1, -2, -1, -1]),
        "kind": np.array([0, 0, 0, 1, 2]),
    }
    # s' is (3/4, 4/5) normed, so V = 0.75 / sqrt(0.5625 + 0.64); the step goes on by 1 - .3 - .2.
    on = 0.5 * 0.75 / np.sqrt(1.2025)
    by_hand = [0.75 + 0.25 * on, 0.8 + 0.2 * on, 1.0, 0.3 + on, 0.2 + on]
    found = imagined_values({"m": model, "v": artifacts.unflatten(v)}, critic, 0.5, scene)
    np.testing.assert_allclose(found, [[[0.5 * q for q in by_hand]]], rtol=1e-9)


def test_the_module_and_its_programs_are_the_critic(written):
    files = {path.name for path in written.iterdir()}
    assert {"torch_imagined.py", "q.pt2", "v.pt2", "imagined.pt2"} <= files
    assert "Q is imagined" in (written / "README.md").read_text()
    config = json.loads((written / "config.json").read_text())
    assert (config["note_width"], config["known"], config["heads"]) == (8, 3, ["q", "v", "m"])


@pytest.mark.parametrize("note", [NOTE, "", f"{LONG} Thing 0 is here."], ids=["two", "none", "66"])
def test_texts_are_scored_as_by_the_value_function(written, value, note):
    from pgv_jax.export.torch import PgvCritic

    critic = PgvCritic.from_pretrained(written)
    critic.use_encoder(ENCODER.encode)
    goals = [*GOALS, "Thing 1 is here.", f"Thing {MOST_READ} is here."]
    found = critic.score(note, THOUGHTS, goals, TASK)
    np.testing.assert_allclose(found, value.q(TASK, note, THOUGHTS, goals), atol=1e-5)
    # Thoughts may be embeddings; a task that is left out is the empty text.
    rows = critic.score(note, critic._vectors(THOUGHTS), goals)
    np.testing.assert_allclose(rows, value.q("", note, THOUGHTS, goals), atol=1e-5)


def test_outcomes_are_the_experts_in_an_export_too(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")
    from pgv_jax.export.read import import_torch
    from pgv_jax.export.torch import PgvCritic

    manifest = {**MANIFEST, "critic": WITH_EXPERT.to_json()}
    folder = artifacts.save(tmp_path / "artifact", params(WITH_EXPERT), manifest)
    value = ValueFunction.load(folder)
    found = export_torch(folder, tmp_path / "torch", logged=logged(value, [EPISODE]))
    assert max(found.values()) <= PARITY_LIMIT
    critic = PgvCritic.from_pretrained(tmp_path / "torch")
    critic.use_encoder(ENCODER.encode)
    scores_NG = critic.score(NOTE, THOUGHTS, GOALS, TASK)
    np.testing.assert_allclose(scores_NG, value.q(TASK, NOTE, THOUGHTS, GOALS), atol=1e-5)
    import_torch(tmp_path / "torch", tmp_path / "back")
    again = ValueFunction.load(tmp_path / "back")
    np.testing.assert_array_equal(
        again.q(TASK, NOTE, THOUGHTS, GOALS), value.q(TASK, NOTE, THOUGHTS, GOALS)
    )


def test_one_text_is_no_list_and_no_thought_has_no_value(written):
    from pgv_jax.export.torch import PgvCritic

    critic = PgvCritic.from_pretrained(written)
    critic.use_encoder(ENCODER.encode)
    with pytest.raises(ValueError, match="thoughts is one text where a list belongs"):
        critic.score(NOTE, THOUGHTS[0], GOALS, TASK)
    with pytest.raises(ValueError, match="goals is one text where a list belongs"):
        critic.score(NOTE, THOUGHTS, SUCCESS, TASK)
    assert critic.score(NOTE, [], GOALS, TASK).shape == (0, 4)
    assert critic.score(NOTE, THOUGHTS, [], TASK).shape == (3, 0)


def test_embeddings_in_place_of_texts_are_refused(written):
    import torch

    from pgv_jax.export.torch import PgvCritic

    critic = PgvCritic.from_pretrained(written)
    critic.use_encoder(ENCODER.encode)
    vector = torch.zeros(SPEC.dim)
    with pytest.raises(ValueError, match=r"observation: .* imagines the next note from the sent"):
        critic.score(vector, THOUGHTS, GOALS, TASK)
    with pytest.raises(ValueError, match=r"task: .* pass texts"):
        critic.score(NOTE, THOUGHTS, GOALS, vector)
    with pytest.raises(ValueError, match=r"goals: .* pass texts"):
        critic.score(NOTE, THOUGHTS, vector[None], TASK)


def test_torch_alone_scores_texts(written, value, tmp_path, run_python):
    pytest.importorskip("sentencex", reason="sentencex is not installed")
    shutil.copytree(written, tmp_path / "elsewhere")
    asked = [*GOALS, NOTE, TASK, *THOUGHTS, "You are in the hall.", "Do not break it."]
    asked += ["Open the door."]
    vectors = {text: ENCODER.encode([text])[0].tolist() for text in asked}
    given = {"vectors": vectors, "note": NOTE, "task": TASK, "thoughts": THOUGHTS, "goals": GOALS}
    (tmp_path / "given.json").write_text(json.dumps(given))
    code = """
import json, sys
for name in ("jax", "jaxlib", "flax", "pgv_jax"):
    sys.modules[name] = None  # an import of it fails
sys.path.insert(0, sys.argv[1])
from pgv_critic import PgvCritic
given = json.load(open(sys.argv[2]))
critic = PgvCritic.from_pretrained(sys.argv[1])
critic.use_encoder(lambda texts: [given["vectors"][text] for text in texts])
found = critic.score(given["note"], given["thoughts"], given["goals"], given["task"])
print(json.dumps(found.tolist()))
"""
    arguments = (str(tmp_path / "elsewhere"), str(tmp_path / "given.json"))
    found = json.loads(run_python(code, args=arguments).stdout)
    np.testing.assert_allclose(found, value.q(TASK, NOTE, THOUGHTS, GOALS), atol=1e-5)


def test_there_and_back_is_the_same_artifact(folder, written, tmp_path):
    from pgv_jax.export.read import import_torch

    import_torch(written, tmp_path / "back")
    before, after = artifacts.load(folder), artifacts.load(tmp_path / "back")
    assert after.manifest == before.manifest
    wanted, found = (artifacts.flatten(opened.params) for opened in (before, after))
    assert wanted.keys() == found.keys()
    for name, x in wanted.items():
        np.testing.assert_array_equal(found[name], x)


@pytest.mark.slow
def test_onnx(folder, value, tmp_path):
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    from pgv_jax.export.onnx import export_onnx

    found = export_onnx(folder, tmp_path / "out", logged=logged(value, [EPISODE]))
    assert max(found.values()) <= PARITY_LIMIT
    assert {path.stem for path in (tmp_path / "out").glob("*.onnx")} == {"q", "v", "imagined"}


@pytest.mark.slow
def test_stablehlo(folder, value, tmp_path):
    found = export_jax(folder, tmp_path / "out", logged=logged(value, [EPISODE]))
    assert max(found.values()) <= PARITY_LIMIT
    assert {path.stem for path in (tmp_path / "out").glob("*.jaxexport")} == {"q", "v", "imagined"}


def test_logged_scenes_hold_every_kind_of_goal(value):
    first, second = logged(value, [EPISODE]).scenes
    assert first["kind"].tolist() == [1, 2, 0, 0, 0] and first["at"].tolist() == [-1, -1, 0, -1, -1]
    # The note's sentence is one of the last observation as well.
    assert second["kind"].tolist() == [1, 2, 0, 0] and second["at"].tolist() == [-1, -1, 0, -1]
    assert [len(scene["thought"]) for scene in (first, second)] == [2, 2]
    assert first["note_there"].tolist() == [True, True]


def test_without_its_model_nothing_is_exported(folder, tmp_path):
    opened = artifacts.load(folder)
    manifest = {**MANIFEST, "heads": ["q", "v"]}
    artifacts.save(tmp_path / "artifact", opened.params, manifest)
    with pytest.raises(PgvError, match=r"heads q, v, but a critic imagines by its heads v and m"):
        export_jax(tmp_path / "artifact", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_critic_without_a_model_says_nothing_of_one(make_artifact):
    config = config_of(artifacts.load(make_artifact()), "pgv_jax.torch")
    assert not {"note_width", "known"} & config.keys()
