import numpy as np

from pgv_jax.report.health.alike import alike, order_agreement
from pgv_jax.report.health.evaluation import judge
from pgv_jax.report.rows import step_rows
from tests.report.demo import make_logs, unit


class Scores:
    def __init__(self, value):
        self.value = value

    def q_pairs(self, tasks, observations, thoughts, goals):
        rows = zip(tasks, observations, thoughts, strict=True)
        return np.array([self.value(*row) for row in rows])

    def v_pairs(self, tasks, observations, goals):
        return self.q_pairs(tasks, observations, [""] * len(tasks))


def test_agreement_by_hand():
    # three states, three thoughts: 0 > 1 in all, 0 > 2 in two of three, 1 > 2 in one and tied once
    q = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 2.0], [1.0, 0.0, 2.0]])
    # pairs: 1, 2/3, and (1 + .5) / 3 = .5
    assert order_agreement(q) == (1 + 2 / 3 + 0.5) / 3
    assert order_agreement(np.ones((4, 3))) == 0.5


def test_a_sum_of_state_and_thought_ranks_alike_everywhere_and_the_verdict_says_so():
    logs = make_logs(20, 6)
    rows = step_rows(logs, 0)

    def added(task, seen, thought):
        return 1 / (1 + np.exp(-unit(seen) - 3 * unit(thought)))

    section = alike(Scores(added), rows, 0)
    assert (section["agreement"], section["alike"]) == (1.0, True)
    assert (section["states"], section["thoughts"]) == (16, 12)
    said = judge(logs, Scores(added))["verdict"]["lines"]
    assert any(
        line.startswith("It ranks your candidates alike everywhere: over 16") for line in said
    )


def test_one_that_reads_the_state_does_not():
    rows = step_rows(make_logs(20, 6), 0)
    section = alike(Scores(lambda task, seen, thought: unit(task, seen, thought)), rows, 0)
    assert section["testable"] and not section["alike"] and section["agreement"] < 0.8


def test_few_thoughts_are_not_testable():
    rows = step_rows(make_logs(20, 6), 0)
    few = rows.take(np.arange(3))
    assert not alike(Scores(lambda *_: 0.0), few, 0)["testable"]
    assert not alike(Scores(lambda *_: 0.0), rows.take(np.arange(0)), 0)["testable"]
