"""A base that no fit can start from is refused before anything is played."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pgv_jax.config import load_config
from pgv_jax.critic import artifact as artifacts
from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import check_start
from pgv_jax.workflows import iterate as module
from pgv_jax.workflows.iterate import IterateConfig, iterate
from tests.critic.toy import ENCODER, SPEC, manifest, params

FITS = (
    "learn.objective.name=lookahead",
    "learn.data.encoder=hash:8",
    "learn.texts.history=0",
    "learn.critic.hidden=[6,5]",
    "learn.critic.layer_norm=true",
)


class PlayedError(Exception):
    """The search began."""


@pytest.fixture(autouse=True)
def no_play(monkeypatch):
    def play(*_):
        raise PlayedError

    monkeypatch.setattr(module, "_play", play)


def started(base, out, *overrides):
    settings = load_config(None, [*FITS, f"base={base}", *overrides], IterateConfig)
    return iterate("lookahead", settings, out)


def answered_by_a_probe(folder):
    """The toy critic with the manifest of one whose outcome goals a probe answers."""
    shape = replace(SPEC, outcome_members=5).to_json()
    return artifacts.save(folder / "base", params(), manifest(critic=shape))


def test_a_base_answered_by_a_probe_is_refused_by_keys_of_the_command(tmp_path):
    base = answered_by_a_probe(tmp_path)
    with pytest.raises(PgvError, match="by a probe, which training does not continue") as refused:
        started(base, tmp_path / "out")
    assert re.findall(r"[\w.]+=\w+", str(refused.value)) == ["critic.recipe=td", "refit=new"]
    assert load_config(None, ["critic.recipe=td"]).critic.recipe == "td"  # of pgv train
    assert load_config(None, ["refit=new"], IterateConfig).refit == "new"
    assert not (tmp_path / "out").exists()
    with pytest.raises(PlayedError):
        started(base, tmp_path / "out", "refit=new")
    with pytest.raises(PgvError, match=r"by a probe.*critic\.recipe=td, or .*\(train\.start=''\)"):
        check_start(artifacts.load(base), SPEC, ENCODER.fingerprint)
    # A run that fits a probe of its own takes the heads beside the base's.
    check_start(artifacts.load(base), SPEC, ENCODER.fingerprint, anchored=True)
    with pytest.raises(PgvError, match="has another critic"):
        wider = replace(SPEC, hidden=(7, 5))
        check_start(artifacts.load(base), wider, ENCODER.fingerprint, anchored=True)


def test_a_base_of_another_shape_or_encoder_is_refused_and_one_that_fits_is_not(
    tmp_path, toy_critic
):
    with pytest.raises(PgvError, match=r"has another critic .*refit=new"):
        started(toy_critic, tmp_path / "a", "learn.critic.hidden=[6]")
    with pytest.raises(PgvError, match=r"has another encoder .*refit=new"):
        started(toy_critic, tmp_path / "b", "learn.data.encoder=hash:9")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    with pytest.raises(PlayedError):
        started(toy_critic, tmp_path / "c")
