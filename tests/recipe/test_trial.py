"""TD's trials: held-out tasks only, and never done twice."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pgv_jax.config import load_config
from pgv_jax.critic import artifact
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.layout import build_table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.errors import PgvError
from pgv_jax.learner import loop
from pgv_jax.learner.loop import Trained
from pgv_jax.recipe import residual, trial
from pgv_jax.recipe.outcome_choice import Choice, record_of
from pgv_jax.recipe.outcomes import outcomes_of
from pgv_jax.recipe.selection import _Trials, choose, updates
from pgv_jax.texts.templates import SUCCESS
from tests.recipe.test_selection import episodes

ENCODER = HashEncoder(16)
SETTINGS = (
    "texts.history=0",
    "critic.hidden=[8]",
    "critic.recipe=auto",
    "mesh.shards=4",
    "train.batch=32",
    "train.steps=20",
    "train.log_every=5",
    "train.eval_every=10",
)


def table_of(kept, folder):
    return build_table(
        folder,
        kept,
        ENCODER.encode,
        split="train",
        shards=4,
        history=0,
        encoder={"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        data_fingerprint="d",
    )


def test_a_trial_is_told_as_progress_kept_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(residual, "UPDATES", 0)
    config = load_config(None, list(SETTINGS))
    table = table_of(episodes(), tmp_path / "table")
    given = (config, {"train": episodes()}, (table, None), ENCODER.encode, tmp_path / "recipe")
    told: list[int] = []
    first = choose(*given, told.append)
    assert told == sorted(told) and 0 < told[-1] <= updates(config, table) == 30
    assert set(first.record["gains"]) == {"probe", "network", "td"}
    # TD is behind in the first trial, and nothing is held out that could say whether it converged.
    assert first.record["trials"] == {"updates": 10, "best": [10], "converged": None}
    kept = sorted(path.name for path in (tmp_path / "recipe").iterdir())
    assert kept and all(name.startswith("fold-") and "." in name for name in kept)
    assert np.isfinite(np.load(tmp_path / "recipe" / "fold-0.npy")).all()

    def refuse(*args, **options):
        raise PgvError("Trained again.")

    monkeypatch.setattr(trial, "train", refuse)
    assert choose(*given).record == first.record
    other = load_config(None, [*SETTINGS, "train.lr=1e-2"])
    with pytest.raises(PgvError, match="Trained again"):
        choose(other, *given[1:])


def test_folds_without_training_tasks_on_both_sides_try_no_td(tmp_path, monkeypatch):
    monkeypatch.setattr(residual, "UPDATES", 0)
    monkeypatch.setattr(trial, "train", lambda *args, **options: pytest.fail("TD was tried"))
    own = [e for e in episodes() if e.task_id == "t0"]
    table = table_of(own, tmp_path / "table")
    splits = {"train": own, "val": [e for e in episodes() if e.task_id != "t0"]}
    config = load_config(None, list(SETTINGS))
    choice = choose(config, splits, (table, None), ENCODER.encode, tmp_path / "recipe")
    assert set(choice.record["gains"]) == {"probe", "network"}


def lasting(*lengths):
    """A table of episodes of so many steps, as far as a budget looks at it."""
    starts = np.concatenate([[0], np.cumsum(np.asarray(lengths) + 1)])
    return SimpleNamespace(shards=[SimpleNamespace(episode_start=starts)])


def test_a_trial_is_given_two_passes_for_each_step_of_a_long_episode():
    config = load_config(None, ["train.batch=100", "train.steps=1000"])
    assert trial.trial_updates(config, lasting(*[40] * 50)) == 2 * 40 * 50 * 40 / 100
    assert trial.trial_updates(config, lasting(*[1] * 50)) == 500  # half of the run's at least
    assert trial.trial_updates(config, lasting(*[40] * 500)) == 4000  # four times them at most
    imagined = load_config(None, ["train.steps=1000", "critic.q=imagined"])
    assert trial.patience_of(config.train, 1600) == 2  # of the looks every 200 updates, a quarter
    assert trial.trial_updates(imagined, lasting(*[40] * 500)) == 1000


def test_a_long_episode_is_one_at_the_90th_percentile(tmp_path):
    """Episodes of 1 to 11 steps, 66 in all: one in ten is longer than 10, so 2 * 10 * 66 / 10."""
    config = load_config(None, ["train.batch=10", "train.steps=100"])
    assert trial.trial_updates(config, lasting(*range(1, 12))) == 132
    one = episodes(1)[0]
    told = [
        replace(one, episode_id=f"e{n}", task_id=f"t{n}", steps=one.steps * n) for n in range(1, 12)
    ]
    assert trial.trial_updates(config, table_of(told, tmp_path)) == 132


@pytest.mark.parametrize(("best", "converged"), [(12, True), (14, True), (16, False)])
def test_a_trial_trains_by_its_own_budget_and_says_whether_it_was_enough(
    tmp_path, monkeypatch, best, converged
):
    """16 updates, half of the run's, with a look every 2: the last looks are at 14 and at 16."""
    given = []

    def train(settings, table, val_table, folder, progress, like):
        given.append(settings.train)
        return Trained({}, None, best, {"val_score": 0.7})

    monkeypatch.setattr(trial, "train", train)
    monkeypatch.setattr(trial, "_direct", lambda *asked: np.full(len(asked[2]), 0.5))
    config = load_config(None, [*SETTINGS, "train.steps=32", "train.eval_every=2"])
    table = table_of(episodes(), tmp_path / "table")
    outcomes = outcomes_of(episodes(), ENCODER.encode, 0, 0)
    asked = (outcomes.folds[0][1], tmp_path / "trial", lambda done: None)
    for _ in range(2):  # the second reads what the first left
        found = trial.td_trial(config, episodes(), (table, None), ENCODER.encode, outcomes, *asked)
        assert (found.step, found.converged) == (best, converged)
    (budget,) = given
    assert (budget.steps, budget.patience) == (16, 2)  # a quarter of the eight looks


def test_a_critic_that_imagines_is_judged_by_imagined_q(tmp_path, monkeypatch):
    """The logits of the steps held out are those that the published critic's Q(success) has."""
    encoder = open_encoder("sentences:hash:16")
    told = ("critic.q=imagined", "critic.note_width=8", f"data.encoder={encoder.name}")
    config = load_config(None, [*SETTINGS, *told])
    log, kept = episodes(), []
    about = {"name": encoder.name, "fingerprint": encoder.fingerprint}
    table = build_table(
        tmp_path / "table",
        log,
        encoder.encode,
        split="train",
        shards=4,
        history=0,
        encoder=about,
        data_fingerprint="d",
        parts=True,
    )

    def train(settings, *given, **options):
        kept.append((settings.train.steps, loop.train(settings, *given, **options)))
        return kept[-1][1]

    monkeypatch.setattr(trial, "train", train)
    outcomes = outcomes_of(log, encoder.encode, 0, 0)
    held_out = outcomes.folds[0][1]
    asked = (outcomes, held_out, tmp_path / "trial", lambda done: None)
    found = trial.td_trial(config, log, (table, None), encoder.encode, *asked)
    ((updates, trained),) = kept
    assert updates == 20  # the run's own, where a direct critic's trial has 10
    manifest = {
        "critic": trained.spec.to_json(),
        "encoder": about,
        "texts": {"history": 0},
        "objective": {"name": "gc_iql", "gamma": config.objective.gamma},
        "heads": ["q", "v", "m"],
    }
    critic = ValueFunction.load(artifact.save(tmp_path / "a", trained.params, manifest))
    rows = outcomes.rows.take(held_out)
    q_B = critic.q_pairs(rows.tasks, rows.observations, rows.thoughts, [SUCCESS] * len(rows))
    assert critic.imagines and len(q_B) > 4 and q_B.std() > 0
    np.testing.assert_allclose(found.logit_B, np.log(q_B) - np.log1p(-q_B), rtol=1e-4)


@pytest.mark.parametrize(("best", "enough"), [([800, 1000], 1400), ([800, 1600], 1600)])
def test_td_that_wins_is_trained_as_long_as_its_trials(best, enough):
    config = load_config(None, ["train.batch=100", "train.steps=1000"])
    trials = _Trials(config, (), (lasting(*[40] * 50), None), None, None, None, None)
    trials.done.extend(trial.Trial(np.zeros(0), n, n + 200 <= 1600) for n in best)
    assert trials.record() == {"updates": 1600, "best": best, "converged": best[1] < 1600}
    assert trials.enough() == enough
    assert Choice({}, updates=enough).training(config.train).steps == enough
    assert Choice({}, updates=200).training(config.train).steps == 1000


def test_trials_that_still_improve_are_said_not_to_have_converged():
    gains = {"probe": {"nats": 0.1, "low": 0.05, "high": 0.2}}
    config = load_config(None, ["critic.recipe=auto"])
    told = [
        " ".join(
            record_of(
                config.critic,
                config.objective,
                "probe",
                gains=gains,
                fitted={"folds": 5, "tasks": 9, "trials": {"updates": 1600, "converged": rested}},
            )["words"]
        )
        for rested in (False, True, None)
    ]
    assert "TD was still improving when its trials' 1,600 updates ended (not converged)" in told[0]
    assert told[1] == told[2] and "improving" not in told[1]
