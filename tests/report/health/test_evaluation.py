from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pgv_jax.errors import PgvError
from pgv_jax.report.health.baselines import Constant, fit_baselines
from pgv_jax.report.health.evaluation import Reference, Thresholds, judge
from pgv_jax.report.pages.health import write_health
from pgv_jax.report.pages.terminal import health_table
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step
from tests.report.demo import KnowingScorer, embed, make_logs, unit
from tests.report.page_checks import check_page


class Oracle:
    """Scores by a function of (observation, thought); half of the rest goes to failure."""

    def __init__(self, value):
        self.value = value

    def q_pairs(self, tasks, observations, thoughts, goals):
        rows = zip(observations, thoughts, goals, strict=True)
        return np.array([self.value(o, t) if g == SUCCESS else 0.2 for o, t, g in rows])

    def v_pairs(self, tasks, observations, goals):
        return self.q_pairs(tasks, observations, [""] * len(tasks), goals)


def told_apart(episode):
    """The episode with notes that no other episode shares, so that a critic can know them all."""
    steps = (replace(s, observation=f"{s.observation} {episode.episode_id}") for s in episode.steps)
    return replace(episode, steps=tuple(steps))


@pytest.fixture(scope="module")
def logs():
    return make_logs(20, 6)


@pytest.fixture(scope="module")
def baselines():
    return fit_baselines(make_logs(12, 5, first=100), embed)[0]


def test_a_critic_that_knows_is_found_out_and_so_is_one_that_guesses(logs, baselines):
    logs = [told_apart(e) for e in logs]
    knowing = judge(logs, KnowingScorer(logs, 0.1), baselines=baselines, gamma=0.97)
    assert knowing["auc"]["scorers"]["critic"]["mean"] > 0.95
    assert knowing["verdict"]["adds"] == "yes"
    assert knowing["verdict"]["text"].startswith("The critic knows something")
    guessing = judge(logs, Oracle(lambda o, t: unit(o, t)), baselines=baselines)
    assert guessing["verdict"]["adds"] == "no"
    assert "is not shown to add anything" in guessing["verdict"]["text"]
    assert guessing["calibration"]["success"]["critic"]["skill"]["ci95"][1] < 0


@pytest.mark.slow
def intervals(section, path=()):
    """Each interval of a report by its place, but those of thoughts that chance exchanged."""
    if isinstance(section, list):
        section = dict(enumerate(section))
    for key, found in section.items():
        if key in ("ci95", "ece_ci95"):
            yield (*path, key), found
        elif isinstance(found, dict | list) and key != "shuffled_thoughts":
            yield from intervals(found, (*path, key))


def test_every_episode_twice_narrows_no_interval(baselines):
    """A task counts once, whether it was attempted four times or eight."""
    logs = make_logs(12, 4)
    twice = [*logs, *(replace(e, episode_id=f"{e.episode_id}/again") for e in logs)]
    guessing = Oracle(lambda o, t: unit(o, t))
    once, again = (judge(each, guessing, baselines=baselines, gamma=0.97) for each in (logs, twice))
    for name in ("auc", "top1", "same_task", "spearman", "calibration"):
        found, expected = dict(intervals(again[name])), dict(intervals(once[name]))
        assert len(expected) > 9
        for place, ends in expected.items():
            assert found[place] == pytest.approx(ends, abs=1e-4), (name, place)


def test_planted_useless_critics_are_not_praised(baselines):
    logs = make_logs(16, 4)
    praised = sum(
        judge(logs, Oracle(lambda o, t, s=seed: unit(s, o, t)), baselines=baselines)["verdict"][
            "adds"
        ]
        in ("yes", "mixed")
        for seed in range(20)
    )
    assert praised <= 2


def test_a_reversed_critic_is_worse_than_chance(logs):
    reversed_ = KnowingScorer(logs, 0.1)
    reversed_.worth = {key: 1 - worth for key, worth in reversed_.worth.items()}
    found = judge(logs, reversed_)
    assert {reason["adds"] for reason in found["verdict"]["reasons"]} == {"worse"}
    assert found["verdict"]["adds"] == "no"


def test_a_clock_has_no_auc_at_a_fixed_step_but_one_over_all_steps(logs, baselines):
    found = judge(logs, KnowingScorer(logs, 0.5), baselines=baselines)["auc"]
    clock = found["scorers"]["step_index"]
    assert clock["mean"] == 0.5
    assert {entry["auc"] for entry in clock["by_step"]} == {0.5}
    assert clock["all_steps"] > 0.55
    assert found["scorers"]["constant"]["critic_minus"]["difference"] == pytest.approx(
        found["scorers"]["critic"]["mean"] - 0.5, abs=1e-6
    )


def test_steps_without_enough_of_both_ends_are_listed_and_not_tested(logs):
    found = judge(logs, KnowingScorer(logs, 0.5))["auc"]
    listed = {entry["step"]: entry for entry in found["steps"]}
    assert listed[0]["testable"]
    assert not listed[40]["testable"]
    assert [entry["step"] for entry in found["scorers"]["critic"]["by_step"]] == [0, 2, 5, 10]


def three_tasks():
    return [e for e in make_logs(3, 8)]


@pytest.mark.parametrize(
    ("episodes", "why"),
    [
        (three_tasks(), "3 held-out tasks with known outcomes; at least 5 are needed"),
        ([replace(e, success=True) for e in make_logs(6, 4)], "no step has 10 later successes"),
        (
            [replace(e, success=None) for e in make_logs(6, 4)],
            "0 held-out tasks with known outcomes",
        ),
        ([], "0 held-out tasks with known outcomes"),
    ],
)
def test_too_little_data_is_said_in_words_and_never_in_numbers(episodes, why, tmp_path):
    bare = [replace(e, steps=tuple(replace(s, candidates=()) for s in e.steps)) for e in episodes]
    found = judge(bare, KnowingScorer(bare, 0.1))
    assert why in found["auc"]["why"]
    assert not found["top1"]["testable"]
    assert found["verdict"]["adds"] == "not testable"
    assert why in found["verdict"]["text"]
    page = write_health(found, {"artifact": "a", "dataset": "d"}, tmp_path)
    assert "not testable" in page.read_text("utf-8")
    health_table(found)


def choice(scores, correct, task):
    offered = tuple(
        Candidate(f"{task} {i} {score}", correct=c)
        for i, (score, c) in enumerate(zip(scores, correct, strict=True))
    )
    step = Step(f"note of {task}", "t", "a", candidates=offered)
    return Episode(task, task, "Cook.", (step,), "End.", True)


def test_top1_shares_the_credit_of_ties_and_compares_on_the_same_decisions():
    def value(observation, thought):
        found = re.search(r"0\.\d", thought)
        return float(found.group()) if found else 0.0

    episodes = [choice((0.9, 0.1, 0.1), (True, False, False), f"a{i}") for i in range(30)]
    episodes += [choice((0.5, 0.5, 0.1), (False, True, False), f"b{i}") for i in range(30)]
    found = judge(episodes, Oracle(value))["top1"]
    assert found["decisions"] == 60
    assert found["candidates"] == 3.0
    assert found["scorers"]["critic"]["top1"] == 0.75  # sure in one half, a tie of two in the other
    assert found["scorers"]["first"]["top1"] == 0.5
    assert found["scorers"]["random"]["top1"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["scorers"]["constant"]["top1"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["scorers"]["first"]["critic_minus"]["difference"] == 0.25


def test_same_state_pairs_by_hand():
    def run(i, success, thought):
        return Episode(f"{i}{thought}", f"g{i}", "T", (Step("o", thought, "a"),), "end", success)

    episodes = [run(i, True, "right") for i in range(60)] + [
        run(i, False, "left") for i in range(60)
    ]
    found = judge(episodes, Oracle(lambda o, t: 1.0 if t == "right" else 0.0))["same_state"]
    assert (found["pairs"], found["tasks"]) == (60, 60)
    assert found["scorers"]["critic"]["better"] == 1.0
    assert found["scorers"]["constant"]["better"] == 0.5
    crowded = [replace(e, task_id=f"g{i % 5}") for i, e in enumerate(episodes * 10)]
    assert judge(crowded, Oracle(lambda o, t: 0.5))["same_state"]["pairs"] == 5 * 1000
    alike = [replace(e, steps=(Step("o", "same", "a"),)) for e in episodes]
    assert "0 pairs" in judge(alike, Oracle(lambda o, t: 0.5))["same_state"]["why"]


def test_discounted_scores_are_calibrated_against_gamma_to_the_steps_left():
    def run(i, length):
        steps = tuple(Step(f"{length - t} left {i}", "t", "a") for t in range(length))
        return Episode(f"{i}", f"g{i % 12}", "T", steps, "end", True)

    episodes = [run(i, 1 + i % 6) for i in range(48)]
    exact = Oracle(lambda o, t: 0.9 ** int(o.split()[0]))
    found = judge(episodes, exact, gamma=0.9)["calibration"]
    assert found["discounted"]["critic"]["brier"]["value"] == 0
    assert found["discounted"]["critic"]["ece"] == pytest.approx(0, abs=1e-6)
    assert found["success"]["critic"]["brier"]["value"] > 0.01
    assert set(found["discounted"]) == {"critic"}


def test_two_ends_that_exclude_each_other_raise_an_alarm(logs):
    high = judge(logs, Oracle(lambda o, t: 0.95))["outcome_sum"]
    assert high == {"testable": True, "mean": 1.15, "alarm": True}
    assert not judge(logs, Oracle(lambda o, t: 0.5))["outcome_sum"]["alarm"]


def test_a_score_that_is_no_number_is_an_error(logs):
    with pytest.raises(PgvError, match=r"scores of 'critic' are not finite"):
        judge(logs, Oracle(lambda o, t: float("nan")))


def test_other_critics_and_v_are_columns_and_everything_is_json(logs, baselines, tmp_path):
    scorer = KnowingScorer(logs, 0.5)
    found = judge(
        logs,
        scorer,
        baselines=baselines,
        critics={"monte_carlo": Oracle(lambda o, t: 0.3)},
        v_head=True,
        gamma=0.95,
        notes=["a note"],
    )
    assert set(found["scorers"]) == {
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
    }
    assert set(found["calibration"]["discounted"]) == {"critic", "critic_v", "monte_carlo"}
    page = write_health(found, {"artifact": "a", "dataset": "d"}, tmp_path).read_text("utf-8")
    assert "Monte-Carlo head" in page
    assert "a note" in page
    known = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert known["verdict"] == found["verdict"]
    json.dumps(found, allow_nan=False)


def test_a_calibration_of_state_goals_alone_is_shown_as_such(logs, baselines, tmp_path):
    states = {
        "kind": "platt",
        "slope": 1.0,
        "offset": 0.0,
        "skill": 0.1,
        "mean": 0.4,
        "fitted_on": {"split": "val", "tasks": 8, "rows": 100},
    }
    found = judge(
        logs,
        KnowingScorer(logs, 0.5),
        baselines=baselines,
        gamma=0.95,
        reference=Reference(logs, embed, {"states": states}),
    )
    assert "critic_calibrated" not in found["calibration"]["success"]
    assert found["goal_calibration"]["critic_calibrated"]["rows"] == found["goals"]["goals"]
    assert found["controls"]["distance"]["testable"]
    page = write_health(found, {"artifact": "a", "dataset": "d"}, tmp_path).read_text("utf-8")
    assert "State goals: platt, fitted on 8 tasks" in check_page(page).text


def test_thresholds_and_seed_are_settable(logs):
    scorer = KnowingScorer(logs, 0.8)
    strict = judge(logs, scorer, thresholds=Thresholds(tasks=21))
    assert not strict["auc"]["testable"]
    again = [judge(logs, scorer, baselines=[Constant(0.5)], seed=s)["auc"] for s in (0, 0, 1)]
    assert again[0] == again[1]
    assert again[0] != again[2]


def test_where_every_outcome_is_the_same_the_brier_skill_is_not_tested():
    logs = [replace(e, success=True) for e in make_logs(6, 4)]
    checks = {c["check"]: c for c in judge(logs, KnowingScorer(logs, 0.1))["verdict"]["checks"]}
    assert checks["skill"]["passed"] is None
    assert checks["skill"]["text"].endswith("every outcome is the same, so a constant is right")
