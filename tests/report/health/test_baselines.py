from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pgv_jax.report.health.baselines import (
    LogisticProbe,
    StepIndex,
    WordProbe,
    fit_baselines,
    task_folds,
)
from pgv_jax.report.rows import decisions, step_rows
from pgv_jax.report.stats import auc
from pgv_jax.types import Candidate, Episode, Step
from tests.report.demo import embed, make_logs


def telling(texts):
    """Embed texts so that one coordinate of a thought tells how the episode ends."""
    vectors = embed(texts).copy()
    for row, text in zip(vectors, texts, strict=True):
        if text.startswith(("good", "bad")):
            row[0] = 1.0 if text.startswith("good") else -1.0
    return vectors


def logs(first=0, tasks=8, per_task=6):
    found = []
    for episode in make_logs(tasks, per_task, first=first):
        word = "good" if episode.success else "bad"
        steps = tuple(
            replace(s, thought=f"{word} {episode.episode_id} {t}")
            for t, s in enumerate(episode.steps)
        )
        found.append(replace(episode, steps=steps))
    return found


def test_the_probe_finds_what_is_linear_in_the_embeddings_on_new_tasks():
    train, test = step_rows(logs()), step_rows(logs(first=50))
    probe = LogisticProbe(train, telling)
    assert probe.folds == 5
    assert auc(test.success_B, probe.score(test)) > 0.99


def test_a_probe_of_noise_is_shrunk_towards_the_base_rate():
    train, test = step_rows(make_logs(12, 6)), step_rows(make_logs(12, 6, first=50))
    probe = LogisticProbe(train, embed)
    assert probe.c == 0.01
    p = probe.score(test)
    nll = -np.log(np.where(test.success_B, p, 1 - p)).mean()
    rate = train.success_B.mean()
    assert nll < -np.log(np.where(test.success_B, rate, 1 - rate)).mean() + 0.02


def test_the_probe_is_the_same_again_and_can_take_fewer_rows():
    train = step_rows(logs())
    probes = [LogisticProbe(train, telling, max_rows=100) for _ in range(2)]
    assert (probes[0].score(train) == probes[1].score(train)).all()
    assert probes[0].score(train.take(np.zeros(0, int))).shape == (0,)


def test_folds_hold_whole_tasks_and_both_classes():
    rows = step_rows(make_logs(7, 4))
    tasks = np.array(rows.task_ids)
    folds = task_folds(rows, seed=0)
    assert len(folds) == 5
    for inside, outside in folds:
        assert not set(tasks[inside]) & set(tasks[outside])
        assert len(set(rows.success_B[outside])) == 2


def test_too_few_tasks_or_successes_fit_without_folds():
    one_task = step_rows(make_logs(1, 6))
    assert task_folds(one_task, seed=0) == []
    lucky = [replace(e, success=e.task_id == "log-0" and e.success) for e in make_logs(6, 6)]
    probe = LogisticProbe(step_rows(lucky), embed)
    assert (probe.folds, probe.c) == (0, 1.0)


def test_the_clock_knows_only_the_step():
    rows = step_rows(make_logs(10, 8))
    clock = StepIndex(rows).score(rows)
    for t in (0, 5, 12):
        assert len(set(clock[rows.step_B == t])) == 1
    assert auc(rows.success_B, clock) > 0.6  # failures last longer in these logs


def test_fit_baselines_says_what_it_could_not_fit():
    episodes = make_logs(6, 4)
    fitted, notes = fit_baselines(episodes, embed)
    assert [b.name for b in fitted] == [
        "constant",
        "step_index",
        "length_only",
        "logistic_regression",
        "task_only",
        "tf_idf",
        "tf_idf_task",
        "monte_carlo_regression",
    ]
    assert notes == []
    rows = step_rows(episodes)
    of_task = {
        b.name: len(set(zip(rows.task_ids, b.score(rows).tolist(), strict=True))) == 6
        for b in fitted
    }
    blind = ["constant", "task_only", "tf_idf_task"]  # one score for each of the six tasks
    assert [name for name, one_score in of_task.items() if one_score] == blind
    fitted, notes = fit_baselines([replace(e, success=True) for e in episodes], embed)
    assert [b.name for b in fitted] == ["constant"]
    assert "all training episodes succeed" in notes[0]
    fitted, notes = fit_baselines([replace(e, success=None) for e in episodes], embed)
    assert fitted == []
    assert "no training episode has a known outcome" in notes[0]


def episode(*steps, success=True):
    return Episode("e", "game", "Cook.", tuple(steps), "The end.", success)


def test_rows_count_the_steps_that_are_left_and_use_the_observation_field():
    two = episode(Step("a", "x", "go"), Step("b", "y", "eat"))
    rows = step_rows([two, replace(two, success=None)])
    assert rows.step_B.tolist() == [0, 1]
    assert rows.steps_left_B.tolist() == [2, 1]
    assert rows.observations == ["a", "b"]
    assert step_rows([two], history=1).observations[1] == (
        "Observation: a\nAction: go\nObservation: b"
    )


@pytest.mark.parametrize("marks", [(True, True), (False, False), (None, True), ()])
def test_a_decision_needs_a_right_and_a_wrong_candidate(marks):
    offered = tuple(Candidate(f"t{i}", correct=mark) for i, mark in enumerate(marks))
    assert len(decisions([episode(Step("a", "x", "go", candidates=offered))])) == 0


def test_decisions_keep_the_order_of_the_candidates():
    offered = (
        Candidate("one", correct=False),
        Candidate("unknown"),
        Candidate("two", correct=True),
    )
    step = Step("a", "x", "go", candidates=offered)
    found = decisions([episode(step, step, success=None)])
    assert found.rows.thoughts == ["one", "two", "one", "two"]
    assert found.start.tolist() == [0, 2, 4]
    assert found.correct_B.tolist() == [False, True, False, True]


def worded(first=0):
    """Logs whose task says how its episodes end in words that recur, and nothing else does."""
    return [
        replace(e, task=f"Room {e.task_id}, {'dry' if won else 'wet'} floor.", success=won)
        for e in make_logs(12, 4, first=first)
        for won in [int(e.task_id[4:]) % 2 == 0]
    ]


def test_the_words_of_the_task_tell_what_random_embeddings_lose():
    train, test = step_rows(worded()), step_rows(worded(first=50))
    alone = WordProbe(train, name="tf_idf_task", fields=("task",))
    assert auc(test.success_B, alone.score(test)) == 1.0
    assert auc(test.success_B, WordProbe(train).score(test)) > 0.9
    assert (alone.score(test) == WordProbe(train, fields=("task",)).score(test)).all()
    assert alone.score(test.take(np.zeros(0, int))).shape == (0,)


def test_a_probe_of_the_task_alone_reads_no_step():
    train, test = step_rows(logs()), step_rows(logs(first=50))
    probe = LogisticProbe(train, telling, name="task_only", fields=("task",))
    of_task = dict(zip(test.task_ids, probe.score(test), strict=True))
    assert np.array_equal(probe.score(test), [of_task[name] for name in test.task_ids])
    assert auc(test.success_B, probe.score(test)) < 0.7  # the thoughts tell, and it cannot see them
