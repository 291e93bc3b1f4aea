"""From PyTorch back to an artifact: the same critic, or an honest record of a tuned one."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity is not tested")

from pgv_jax.critic.artifact import annotate, fingerprint, flatten, load  # noqa: E402
from pgv_jax.errors import PgvError  # noqa: E402
from pgv_jax.export.inputs import probes  # noqa: E402
from pgv_jax.export.read import import_torch  # noqa: E402
from pgv_jax.export.reference import head_values  # noqa: E402
from pgv_jax.export.torch import PgvCritic  # noqa: E402
from pgv_jax.export.write import export_torch  # noqa: E402
from tests.export.variants import every_variant  # noqa: E402

CALIBRATION = {"states": {"kind": "temperature", "temperature": 2.0}}


@pytest.fixture
def exported(make_artifact, tmp_path):
    artifact = make_artifact()
    annotate(artifact, "calibration", CALIBRATION)
    export_torch(artifact, tmp_path / "torch")
    return artifact, tmp_path / "torch"


@every_variant
def test_there_and_back_is_the_same_artifact(make_artifact, tmp_path, variant):
    artifact = make_artifact(**variant)
    export_torch(artifact, tmp_path / "torch")
    import_torch(tmp_path / "torch", tmp_path / "back")
    before, after = load(artifact), load(tmp_path / "back")
    assert fingerprint(after.params) == fingerprint(before.params)
    assert after.manifest == before.manifest


def test_a_fine_tuned_head_returns_without_what_was_found_out_before(exported, tmp_path):
    artifact, folder = exported
    critic = PgvCritic.from_pretrained(folder)
    inputs = {field: torch.from_numpy(x) for field, x in probes(12).items()}
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        critic.q(**inputs).mean().backward()
        optimizer.step()
    critic.save_pretrained(tmp_path / "tuned")
    import_torch(tmp_path / "tuned", tmp_path / "back")
    before, after = load(artifact), load(tmp_path / "back")
    for head, tuned in (("q", critic.q_ensemble), ("v", critic.v_ensemble)):
        given = {field: x for field, x in inputs.items() if head == "q" or field != "thought"}
        values = head_values(after.params[head], after.manifest["critic"], probes(12))
        np.testing.assert_allclose(tuned(**given).detach(), values, atol=1e-6)
    assert fingerprint(before.params["q"]) != fingerprint(after.params["q"])
    assert "metrics" in before.manifest and "metrics" not in after.manifest
    assert "calibration" not in after.manifest
    assert after.manifest["fine_tuned"] == {
        "in": "torch",
        "from_parameters": fingerprint(before.params),
    }
    assert after.manifest["data"] == before.manifest["data"]
    # It is exported again, and the card says what it is.
    export_torch(tmp_path / "back", tmp_path / "again")
    assert "fine-tuned after its training" in (tmp_path / "again" / "README.md").read_text()


def test_without_tuning_metrics_and_calibration_stay(exported, tmp_path):
    PgvCritic.from_pretrained(exported[1]).save_pretrained(tmp_path / "same")
    import_torch(tmp_path / "same", tmp_path / "back")
    assert load(tmp_path / "back").manifest == load(exported[0]).manifest


def test_an_untrained_head_starts_anew_and_stays_untrained(make_artifact, tmp_path):
    artifact = make_artifact(heads=("q",))
    export_torch(artifact, tmp_path / "torch")
    import_torch(tmp_path / "torch", tmp_path / "back")
    before, after = load(artifact), load(tmp_path / "back")
    assert after.manifest["heads"] == ["q"]
    shapes = {name: value.shape for name, value in flatten(before.params).items()}
    assert {name: value.shape for name, value in flatten(after.params).items()} == shapes


def test_half_precision_weights_become_float32(exported, tmp_path):
    critic = PgvCritic.from_pretrained(exported[1]).to(torch.bfloat16)
    critic.save_pretrained(tmp_path / "half")
    assert import_torch(tmp_path / "half", tmp_path / "back")["random"] < 1e-5
    after = load(tmp_path / "back")
    assert {value.dtype for value in flatten(after.params).values()} == {np.dtype(np.float32)}
    assert "fine_tuned" in after.manifest


def test_what_is_no_artifact_is_not_replaced(exported, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter").write_text("years")
    with pytest.raises(PgvError, match="not an artifact"):
        import_torch(exported[1], thesis)
    assert (thesis / "chapter").read_text() == "years"
    import_torch(exported[1], exported[0])  # an earlier artifact is


def test_damage_is_named(exported, tmp_path):
    folder, out = exported[1], tmp_path / "back"
    config = json.loads((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")

    def refusal() -> str:
        with pytest.raises(PgvError) as error:
            import_torch(folder, out)
        assert not out.exists()
        return str(error.value)

    (folder / "config.json").write_text("{")
    assert "is damaged" in refusal()
    (folder / "config.json").write_text(json.dumps({k: config[k] for k in config if k != "dim"}))
    assert "lacks dim" in refusal()
    other = config | {"texts": config["texts"] | {"success": "Done!"}}
    (folder / "config.json").write_text(json.dumps(other))
    assert "wording of success" in refusal()
    (folder / "config.json").write_text(json.dumps(config))
    short = {name: value for name, value in state.items() if name != "q_head.out.bias"}
    save_file(short, folder / "model.safetensors", metadata={"format": "pt"})
    assert "parameter q/out/bias has shape None" in refusal()
    (folder / "model.safetensors").write_bytes(b"\0" * 20)
    assert "is damaged" in refusal()
    (folder / "model.safetensors").unlink()
    assert "is missing" in refusal()


def test_everyone_may_read_what_everyone_may_read(exported, tmp_path):
    import_torch(exported[1], tmp_path / "back")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "back").iterdir()}
    (tmp_path / "plain").write_text("")
    assert modes == {stat.S_IMODE((tmp_path / "plain").stat().st_mode)}
