"""The PyTorch critic: equal to the formula in every variant, and a good PyTorch citizen."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")

from pgv_jax.artifact import load  # noqa: E402
from pgv_jax.export.reference import head_values  # noqa: E402
from pgv_jax.export.torch import PgvCritic  # noqa: E402
from pgv_jax.export.write import PARITY_LIMIT, export_torch, probes  # noqa: E402
from pgv_jax.types import FIELDS  # noqa: E402


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"layer_norm": False},
        {"head": "linear"},
        {"activation": "relu"},
        {"activation": "silu", "layer_norm": False, "head": "linear"},
        {"activation": "tanh"},
        {"ensemble": 1, "hidden": [9]},
        {"ensemble": 5, "hidden": [16, 3, 8]},
        {"dim": 384, "hidden": [512, 512, 512]},
        {"outcome_members": 5, "outcome_hidden": []},
        {"outcome_members": 3, "outcome_hidden": [6, 4]},
        {"outcome_members": 4, "outcome_hidden": [5], "layer_norm": False, "ensemble": 1},
    ],
    ids=lambda variant: "-".join(map(str, variant.values())) or "default",
)
def test_parity_in_every_variant(make_artifact, tmp_path, variant):
    parity = export_torch(make_artifact(**variant), tmp_path / "out")
    assert parity <= PARITY_LIMIT
    assert f"{parity:.1e}" in (tmp_path / "out" / "README.md").read_text()


@pytest.fixture
def exported(make_artifact, tmp_path):
    artifact = make_artifact()
    export_torch(artifact, tmp_path / "out")
    return artifact, tmp_path / "out"


def tensors(*names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(probes(12)[name]) for name in names]


def test_q_is_the_mean_over_the_ensemble(exported):
    artifact, out = exported
    opened = load(artifact)
    expected = head_values(opened.params["q"], opened.manifest["critic"], probes(12)).mean(0)
    critic = PgvCritic.from_pretrained(out)
    with torch.no_grad():
        np.testing.assert_allclose(critic.q(*tensors(*FIELDS)), expected, atol=1e-6)
        np.testing.assert_array_equal(critic(*tensors(*FIELDS)), critic.q(*tensors(*FIELDS)))


def test_leading_axes_broadcast(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    task, observation, thoughts, goals = tensors(*FIELDS)
    n, g = 3, 4
    with torch.no_grad():
        grid = critic.q(task[0], observation[0], thoughts[:n, None], goals[:g])
        assert grid.shape == (n, g)
        for i in range(n):
            for j in range(g):
                one = critic.q(task[0], observation[0], thoughts[i], goals[j])
                np.testing.assert_allclose(grid[i, j], one, atol=1e-6)
        assert critic.v(task[0], observation[0], goals[:g]).shape == (g,)
        assert critic.q_ensemble(task[:5], observation[:5], thoughts[:5], goals[:5]).shape == (2, 5)


def test_the_facts_of_the_encoder_travel_along(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    assert critic.encoder["name"] == "hash:12"
    assert critic.texts["failure"] == "The task has failed."
    assert not critic.training


def test_an_untrained_head_does_not_answer(make_artifact, tmp_path):
    export_torch(make_artifact(heads=("q",)), tmp_path / "out")
    critic = PgvCritic.from_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="V head of this critic was not trained"):
        critic.v(*tensors("task", "observation", "goal"))


def test_a_wrong_width_is_named(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    task, observation, thought, _ = tensors(*FIELDS)
    with pytest.raises(ValueError, match="goal is 3 wide; the critic reads 12"):
        critic.q(task, observation, thought, torch.zeros(3))


def test_missing_weights_are_an_error_not_noise(exported):
    _, out = exported
    state = load_file(out / "model.safetensors")
    del state["q_head.out.bias"]
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RuntimeError, match=r"q_head\.out\.bias"):
        PgvCritic.from_pretrained(out)


def test_save_pretrained_round_trip(exported, tmp_path):
    critic = PgvCritic.from_pretrained(exported[1])
    critic.save_pretrained(tmp_path / "again")
    again = PgvCritic.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        np.testing.assert_array_equal(again.q(*tensors(*FIELDS)), critic.q(*tensors(*FIELDS)))
    assert again.encoder == critic.encoder


def test_it_can_be_trained_further(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    critic.q(*tensors(*FIELDS)).sum().backward()
    assert all(p.grad is not None for n, p in critic.named_parameters() if n.startswith("q_head"))


def test_the_folder_alone_is_enough_where_jax_and_this_package_are_missing(
    exported, tmp_path, run_python
):
    shutil.move(exported[1], tmp_path / "elsewhere")
    code = """
import sys
for name in ("jax", "jaxlib", "flax", "pgv_jax"):
    sys.modules[name] = None  # an import of it fails
sys.path.insert(0, sys.argv[1])
import torch
from pgv_critic import PgvCritic
critic = PgvCritic.from_pretrained(sys.argv[1])
x = torch.eye(12)[:4]
print(*critic.q(*x).shape, critic.v(x[0], x[1], x[3]).ndim)
"""
    assert run_python(code, args=(str(tmp_path / "elsewhere"),)).stdout.split() == ["0"]
