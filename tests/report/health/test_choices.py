"""What another critic would choose, on a toss against a sure thing and by hand."""

import numpy as np

from pgv_jax.report.health.choices import CANDIDATES, LOGGED, best_differs, choices, offered
from pgv_jax.report.health.evaluation import judge
from pgv_jax.report.rows import step_rows
from pgv_jax.types import Candidate, Episode, Step
from tests.report.health.test_alike import Scores

GAMMA = 0.95
COIN, SURE = "Toss the coin.", "Take the sure way."


def worth(expectile: float) -> float:
    """The coin one step before its toss, which succeeds in .284 of the cases, known by heart.

    The expectile v of ones and zeros: tau p (1 - v) = (1 - tau) (1 - p) v.
    """
    p = 0.284
    up, down = expectile * p, (1 - expectile) * (1 - p)
    return GAMMA * up / (up + down)


def coins(tasks: int) -> list[Episode]:
    thoughts = (Candidate(COIN), Candidate(SURE))
    return [
        Episode(
            f"e{i}",
            f"t{i}",
            "Win.",
            (Step("Two ways.", COIN, "go", candidates=thoughts),),
            "end",
            i % 3 == 0,
        )
        for i in range(tasks)
    ]


def test_a_lower_expectile_takes_the_sure_thing_and_the_report_counts_it():
    """The coin is worth .27; .9 values it at .74, above the sure .57, and .5 at .27, below it."""
    assert (round(worth(0.9), 2), round(worth(0.5), 2)) == (0.74, 0.27)
    coin = {tau: worth(tau) for tau in (0.9, 0.5)}
    high = Scores(lambda task, seen, thought: coin[0.9] if thought == COIN else 0.57)
    low = Scores(lambda task, seen, thought: coin[0.5] if thought == COIN else 0.57)
    report = judge(coins(12), high, critics={"expectile 0.5": low, "the same": high})
    section = report["choices"]
    assert (section["decisions"], section["among"]) == (12, CANDIDATES)
    assert section["critics"]["expectile 0.5"]["differ"] == 12
    assert section["critics"]["expectile 0.5"]["share"] == 1.0
    assert section["critics"]["the same"]["differ"] == 0
    (line,) = [said for said in report["verdict"]["lines"] if "expectile 0.5" in said]
    assert line.startswith("In 12 of 12 decisions among candidates of the log (100 % ")
    assert line.endswith("expectile 0.5 would choose another thought.")
    assert "choices" not in judge(coins(12), high)


def test_decisions_by_hand():
    # three decisions: another best, the same best, and a tie that holds the other's best
    q = np.array([0.9, 0.1, 0.2, 0.3, 0.5, 0.5, 0.1])
    other = np.array([0.1, 0.9, 0.2, 0.8, 0.4, 0.6, 0.1])
    assert best_differs(q, other, np.array([0, 2, 4, 7])).tolist() == [True, False, False]


def test_a_thought_that_stands_twice_is_one_and_no_choice_by_itself():
    once, twice = Candidate(SURE), (Candidate(SURE), Candidate(SURE), Candidate(COIN))
    steps = (
        Step("a", SURE, "go", candidates=(once, once)),
        Step("b", SURE, "go", candidates=twice),
    )
    rows, start = offered([Episode("e", "t", "Win.", steps, "end", True)])
    assert rows.thoughts == [SURE, COIN] and start.tolist() == [0, 2]


def test_without_candidates_thoughts_of_other_steps_are_what_is_chosen_among():
    logs = [
        Episode(f"e{i}", f"t{i}", "Win.", (Step(f"o{i}", f"thought {i % 3}", "go"),), "end", True)
        for i in range(5)
    ]
    first = Scores(lambda task, seen, thought: float(thought == "thought 1"))
    second = Scores(lambda task, seen, thought: float(thought == "thought 1") - float(seen == "o4"))
    third = Scores(lambda task, seen, thought: float(thought[-1]) * float(seen == "o4"))
    others = {"second": second, "third": third}
    section = choices(first, others, logs, step_rows(logs))
    assert (section["decisions"], section["among"]) == (5, LOGGED)
    # The second lowers all thoughts of a state alike; the third prefers 2 in one, else it ties.
    assert section["critics"]["second"]["differ"] == 0
    assert section["critics"]["third"]["differ"] == 1


def test_a_log_with_one_thought_is_not_testable():
    logs = [
        Episode(f"e{i}", f"t{i}", "Win.", (Step(f"o{i}", "on", "go"),), "end", True)
        for i in range(3)
    ]
    same = Scores(lambda *_: 0.5)
    assert not choices(same, {"x": same}, logs, step_rows(logs))["testable"]
    assert not choices(same, {"x": same}, [], step_rows([]))["testable"]
