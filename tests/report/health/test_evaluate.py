"""The command, on a dataset and an artifact as the other commands write them."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from flax import nnx

from pgv_jax.cli.commands.evaluate import evaluate
from pgv_jax.config import load_config
from pgv_jax.critic import artifact
from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.data.episodes import write_dataset
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import template_fingerprint
from pgv_jax.types import Episode, Step
from pgv_jax.workflows.evaluate import held_out, notes_of, unseen, with_expectile
from pgv_jax.workflows.training import fit, prepare
from tests.report.demo import make_logs
from tests.report.page_checks import check_page

ENCODER = "hash:16"


def publish(folder, seed=0, history=0, encoder=ENCODER, objective="gc_iql", heads=("q", "v")):
    spec = CriticSpec(16, (8,), 2, layer_norm=False, activation="gelu", head="sigmoid")
    params = nnx.to_pure_dict(nnx.state(Critic(spec, jax.random.key(seed))))
    known = open_encoder(encoder)
    manifest = {
        "critic": spec.to_json(),
        "encoder": {"name": known.name, "fingerprint": known.fingerprint},
        "texts": {"history": history, "fingerprint": template_fingerprint(history)},
        "objective": {"name": objective, "gamma": 0.95},
        "heads": list(heads),
    }
    return artifact.save(folder, jax.tree.map(np.asarray, params), manifest)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    logs = [
        replace(e, split="train" if int(e.task_id[4:]) < 6 else "test") for e in make_logs(16, 4)
    ]
    write_dataset(folder / "data", logs)
    unknown = [replace(e, success=None, split="test") for e in logs[:8]]
    bare = [replace(e, steps=tuple(replace(s, candidates=()) for s in e.steps)) for e in unknown]
    write_dataset(folder / "unknown", bare)
    publish(folder / "run" / "artifact")
    publish(folder / "mc", seed=1)
    publish(folder / "other_history", history=2)
    return folder


def run(*args):
    return CliRunner().invoke(evaluate, [str(a) for a in args], catch_exceptions=False)


def test_the_command_judges_writes_and_tells(made):
    done = run(
        made / "run/artifact", "--dataset", made / "data", "--beside", f"monte_carlo={made / 'mc'}"
    )
    assert done.exit_code == 0
    assert "Monte-Carlo head" in done.output
    assert "The critic " in done.output
    folder = made / "run" / "health"
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report["scorers"] == [
        "critic",
        "constant",
        "step_index",
        "length_only",
        "logistic_regression",
        "task_only",
        "tf_idf",
        "tf_idf_task",
        "monte_carlo_regression",
        "monte_carlo",
        "critic_v",
    ]
    assert report["auc"]["testable"]
    assert report["about"]["encoder"] == ENCODER
    assert report["calibration"]["gamma"] == 0.95
    check_page((folder / "report.html").read_text("utf-8"))


def test_a_split_that_was_trained_on_is_said(made, tmp_path):
    done = run(
        made / "run/artifact", "--dataset", made / "data", "--split", "train", "--out", tmp_path
    )
    assert done.exit_code == 0
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert "fitted on" in report["notes"][0]


def test_goals_that_were_never_learned_are_said(made, tmp_path):
    """InversePRM trains Q alone, and for success alone."""
    critic = publish(tmp_path / "artifact", objective="inverse_prm", heads=["q"])
    artifact.annotate(
        critic, "config", {"train": {"steps": 10, "eval_every": 2, "early_stop": True}}
    )
    for key, value in (("metrics", {"val_score": 0.7}), ("step", 10), ("updates", 10)):
        artifact.annotate(critic, key, value)
    done = run(critic, "--dataset", made / "data")
    assert done.exit_code == 0 and "Not converged: the critic was best at the last look" in (
        " ".join(done.output.split())
    )
    report = json.loads((tmp_path / "health" / "report.json").read_text("utf-8"))
    assert any("learned the goal of success alone" in note for note in report["notes"])
    assert "critic_v" not in report["scorers"]
    check_page((tmp_path / "health" / "report.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dataset", "{}/data", "--split", "nonsense"], "no split 'nonsense'; it has train"),
        (["--dataset", "{}/none"], "it does not exist"),
        (["--dataset", "{}/unknown"], "None of the 8 episodes .* whether it succeeded"),
        (["--dataset", "{}/data", "--beside", "mc"], "'mc' is not NAME=ARTIFACT"),
        (["--dataset", "{}/data", "--beside", "critic={}/mc"], "cannot be called 'critic'"),
        (["--dataset", "{}/data", "--beside", "x={}/none"], "is not an artifact"),
        (["--dataset", "{}/data", "--beside", "x={}/other_history"], "texts.history 2"),
    ],
)
def test_wrong_input_is_a_sentence(made, options, sentence):
    with pytest.raises(PgvError, match=sentence):
        run(made / "run/artifact", *[o.replace("{}", str(made)) for o in options])


def test_an_artifact_of_another_encoder_is_named(made, tmp_path):
    other = publish(tmp_path / "artifact", encoder="hash:16")
    encoder = artifact.load(other).manifest["encoder"]
    artifact.annotate(other, "encoder", {**encoder, "fingerprint": "0" * 64})
    with pytest.raises(PgvError, match="trained on embeddings of 'hash:16'"):
        run(other, "--dataset", made / "data")


@pytest.fixture(scope="module")
def split_in_three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    order = ("train", "train", "val", "test")
    bare = [
        replace(
            e,
            split=order[int(e.task_id[4:]) % 4],
            steps=tuple(replace(s, candidates=()) for s in e.steps),
        )
        for e in make_logs(84, 2)
    ]
    write_dataset(folder / "data", bare)
    return folder


def test_the_calibration_goes_into_the_artifact_and_can_be_kept(split_in_three, tmp_path):
    critic = publish(tmp_path / "run" / "artifact")
    asked = (critic, "--dataset", split_in_three / "data", "--out", tmp_path / "out")
    assert run(*asked, "--calibration", "platt").exit_code == 0
    kept = artifact.load(critic).manifest["calibration"]
    assert set(kept) == {"outcomes", "states"}
    assert kept["states"]["fitted_on"]["split"] == "val"
    assert run(*asked, "--calibration", "none", "--group", r"\d$").exit_code == 0
    assert artifact.load(critic).manifest["calibration"] == kept
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["calibration"]["calibrators"] == kept
    assert report["same_group"]["testable"] or "pairs" in report["same_group"]["why"]
    check_page((tmp_path / "out" / "report.html").read_text("utf-8"))


def test_an_expert_for_outcomes_does_not_change_the_discount_of_state_goals(
    split_in_three, tmp_path
):
    """Q(success) is a chance there, and Q of a state goal still gamma^steps."""
    calibrators, reports = [], []
    for name, recipe in (("td", {}), ("probe", {"gamma": 1.0, "words": ["A probe answers."]})):
        critic = publish(tmp_path / name / "artifact")
        artifact.annotate(critic, "recipe", recipe)
        assert run(critic, "--dataset", split_in_three / "data").exit_code == 0
        calibrators.append(artifact.load(critic).manifest["calibration"]["states"])
        page = (tmp_path / name / "health" / "report.html").read_text("utf-8")
        assert ("Q fades with the steps" in page) == (name == "td")
        reports.append(json.loads((tmp_path / name / "health" / "report.json").read_text("utf-8")))
    assert calibrators[0] == calibrators[1]
    assert reports[0]["goal_calibration"] == reports[1]["goal_calibration"]
    assert reports[1]["goal_calibration"]["gamma"] == 0.95
    assert [r["calibration"]["gamma"] for r in reports] == [0.95, 1.0]
    assert ["discounted" in r["calibration"] for r in reports] == [True, False]
    assert "Read as the chance of success" in reports[1]["verdict"]["text"]


def test_what_is_required_is_the_exit_status(split_in_three, tmp_path):
    critic = publish(tmp_path / "run" / "artifact")
    asked = (critic, "--dataset", split_in_three / "data", "--out", tmp_path / "out")
    unmet = run(*asked, "--require", "trust", "--limit", "auc=0.99")
    assert unmet.exit_code == 3
    assert "Do not use" in unmet.output
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["verdict"]["limits"]["auc"] == 0.99
    with pytest.raises(PgvError, match="not NAME=NUMBER"):
        run(*asked, "--limit", "speed=1")
    with pytest.raises(PgvError, match="not a regular expression"):
        run(*asked, "--group", "(")


@pytest.mark.slow
def test_the_data_curve_trains_on_parts_of_the_training_tasks(split_in_three, tmp_path):
    config = load_config(
        None,
        [
            f"data.dataset={split_in_three / 'data'}",
            f"data.encoder={ENCODER}",
            "texts.history=0",
            "critic.hidden=[8]",
            "critic.recipe=td",
            "train.steps=4",
            "train.batch=8",
            "mesh.shards=1",
        ],
    )
    critic = fit(config, prepare(config, tmp_path / "tables"), tmp_path / "run")
    asked = (critic, "--dataset", split_in_three / "data", "--out", tmp_path / "out")
    done = run(*asked, "--data-curve", "--expectile", "0.5")
    assert done.exit_code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    # The same critic with another expectile stands beside it, and says what it would choose.
    trained = artifact.load(tmp_path / "out" / "expectile" / "0.5" / "artifact").manifest
    assert trained["objective"] == artifact.load(critic).manifest["objective"] | {"expectile": 0.5}
    assert set(report["choices"]["critics"]) == {"expectile 0.5"}
    assert "expectile 0.5 would choose another thought." in " ".join(done.output.split())
    points = report["curve"]["points"]
    assert [(p["share"], p["tasks"]) for p in points] == [(0.1, 4), (0.3, 13), (1.0, 42)]
    assert "Would more data help?" in (tmp_path / "out" / "report.html").read_text("utf-8")
    plain = publish(tmp_path / "plain")
    with pytest.raises(PgvError, match="does not say how it was trained"):
        run(plain, "--dataset", split_in_three / "data", "--data-curve")


def test_an_expectile_that_has_no_part_in_a_critic_is_refused(made, tmp_path):
    plain = publish(tmp_path / "plain")
    with pytest.raises(PgvError, match="objective gc_iql has no expectile; leave --expectile out"):
        run(plain, "--dataset", made / "data", "--expectile", "0.5")
    manifest = {"objective": {"name": "gc_iql", "expectile": 0.9}, "critic": {"outcome_members": 2}}
    with pytest.raises(PgvError, match="answers outcome goals by a probe, which has no expectile"):
        with_expectile(manifest, 0.5)


def test_the_critic_beside_differs_in_its_expectile_and_answers_by_td():
    objective = {"name": "gc_iql", "gamma": 0.95, "expectile": 0.9}
    config = {"objective": objective, "critic": {"recipe": "auto", "ensemble": 2}, "train": {}}
    other = with_expectile({"objective": objective, "critic": {}, "config": config}, 0.5)
    assert other["config"] == {
        "objective": {"name": "gc_iql", "gamma": 0.95, "expectile": 0.5},
        "critic": {"recipe": "td", "ensemble": 2},
        "train": {},
    }


def asked(task_id, task, split):
    return Episode(task_id, task_id, task, (Step("o", "t", "a"),), "end", True, split=split)


def test_tasks_that_train_in_other_words_are_left_out_and_counted(tmp_path):
    train = [
        asked("a", "Please put the mug on the desk.", "train"),
        asked("b", "Take the red book to the shelf.", "val"),
    ]
    twin = asked("c", "Could you put the mug on the desk?", "test")
    other = asked("d", "Cool the apple in the fridge.", "test")
    kept, said = unseen([twin, other], train, tmp_path, "test")
    assert kept == [other]
    assert said == [
        "1 of 2 tasks repeat a task of another split in other words; their 1 episodes are not "
        "judged"
    ]
    assert unseen([other], train, tmp_path, "test") == ([other], [])
    assert unseen(train[:1], [*train, twin], tmp_path, "train") == (train[:1], [])
    with pytest.raises(PgvError, match=r"All 1 tasks in split 'test' .* import the logs again"):
        unseen([twin], train, tmp_path, "test")
    write_dataset(tmp_path / "data", [*train, twin, other])
    data = held_out(tmp_path / "data", "test")
    assert ([e.task_id for e in data.judged], data.notes) == (["d"], said)


def test_where_equal_texts_have_several_ids_twins_are_not_looked_for_and_that_is_said(tmp_path):
    train = [
        asked("a", "Please put the mug on the desk.", "train"),
        asked("b", "Please put the mug on the desk.", "val"),
    ]
    twin = asked("c", "Could you put the mug on the desk?", "test")
    said = [
        "2 tasks share their text with a task of another id, so texts do not tell tasks apart "
        "here; whether judged tasks repeat a task of another split in other words was not looked "
        "for"
    ]
    assert unseen([twin], train, tmp_path, "test") == ([twin], said)
    assert unseen(train[:1], [*train, twin], tmp_path, "train") == (train[:1], [])
    write_dataset(tmp_path / "data", [*train, twin])
    assert held_out(tmp_path / "data", "test").notes == said


def test_a_critic_that_was_still_improving_is_said_to_be_judged_too_early():
    manifest = {
        "objective": {"name": "gc_iql", "gamma": 0.95},
        "config": {"train": {"steps": 1000, "eval_every": 200, "early_stop": True}},
        "metrics": {"val_score": 0.7},
        "updates": 1000,
        "step": 1000,
    }
    (said,) = notes_of("test", manifest)
    assert said.startswith("not converged: the critic was best at the last look of its training")
    assert said.endswith("train it longer than 1,000 updates (train.steps)")
    assert notes_of("test", {**manifest, "step": 800}) == []
