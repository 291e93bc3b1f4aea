"""Tries: the first, the self-selected and the oracle's are told apart."""

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.report.comparison.attempts import tries_summary
from pgv_jax.types import Episode, Step


def attempt(task, number, success, value, group=0):
    metadata = {} if value is None else {"self_value": value}
    steps = (
        Step("a", "b", "c", metadata={"self_value": 9.0}),
        Step("a", "b", "c", metadata=metadata),
    )
    about = {"try": number, "group": group}
    name = f"{task}/{group}/{number}"
    return Episode(name, task, "T.", steps, "End.", success=success, metadata=about)


def test_each_pick_by_hand():
    episodes = [
        attempt("t1", 1, True, 0.2),  # listed out of order: the first try is number 0
        attempt("t1", 0, False, 0.9),
        attempt("t2", 0, False, 0.3),
        attempt("t2", 1, True, 0.8),
        attempt("t3", 0, True, 0.5),
        attempt("t3", 1, False, 0.5),  # of equals the first
        attempt("t3", 0, None, 0.1, group=1),
        attempt("t3", 1, False, 0.2, group=1),
    ]
    told = tries_summary(episodes)
    assert (told["groups"], told["tries"]) == (4, 2)
    assert told["first_try"]["success"] == 0.25
    assert told["self_selected"]["success"] == 0.5
    assert told["oracle"]["success"] == 0.75
    low, high = told["oracle"]["ci95"]
    assert low <= 0.75 <= high


def test_nothing_to_select_by_is_said_and_no_episodes_say_nothing():
    assert tries_summary([]) == {}
    with pytest.raises(PgvError, match="has no self_value"):
        tries_summary([attempt("t", 0, True, None), attempt("t", 1, True, 0.1)])
