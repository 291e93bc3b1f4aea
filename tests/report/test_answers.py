"""What a newcomer is told: each kind of log its own words, and how many more tasks, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pgv_jax.report.answers import UNKNOWN, Log, answer


def report(
    level: str,
    auc: tuple[float, float, float] | str,
    thoughts: tuple[float, float, float] = (0.05, 0.01, 0.09),
    judged: int = 10,
    passed: bool = True,
    wins: int = 4,
) -> dict[str, Any]:
    """A health report with what the answers read of it; figures are (value, low, high)."""

    def ci(figures: tuple[float, float, float], name: str) -> dict[str, Any]:
        return {name: figures[0], "ci95": list(figures[1:])}

    absent = {"testable": False, "why": "nothing of that kind"}
    section: dict[str, Any] = {"testable": False, "why": auc}
    if not isinstance(auc, str):
        exchanged = {"critic_minus": ci(thoughts, "difference")}
        section = {
            "testable": True,
            "scorers": {"critic": ci(auc, "mean"), "shuffled_thoughts": exchanged},
        }
    return {
        "verdict": {
            "level": level,
            "said": f"{level.capitalize()}: because.",
            "lines": ["A line."],
            "checks": [{"check": "auc", "passed": passed, "text": "the AUC"}],
            "limits": {"auc": 0.55},
        },
        "data": {"tasks": judged, "episodes": 8, "unknown_outcome": 0, "successes": wins},
        "auc": section,
        "leaks": {"flagged": False},
        "outcome_sum": absent,
        "controls": {"distance": absent},
        **dict.fromkeys(("top1", "calibration", "goals"), absent),
    }


HALF = Log(episodes=200, successes=100, failures=100, tasks=50, judging=0.2)


def test_without_outcomes_only_outcomes_help():
    told = answer(Log(20, 0, 0, 20, 0.2), None)
    assert (told.level, told.tasks) == (UNKNOWN, None)
    assert told.would == (
        "That cannot be known: none of the 20 episodes says whether it succeeded."
    )
    assert "--rewards" in told.change and "--success" in told.change


@pytest.mark.parametrize(("wins", "losses", "word"), [(24, 0, "success"), (0, 24, "failure")])
def test_one_outcome_alone_says_which_is_missing_and_how_many(wins, losses, word):
    told = answer(Log(24, wins, losses, 12, 0.2), None)
    assert f"every known outcome is a {word} (24 of 24)" in told.would
    other = {"success": "failure", "failure": "success"}[word]
    assert f"end in {other}: about 50 of them" in told.change  # 10 of a class in a fifth


def test_one_task_says_that_tasks_are_missing():
    told = answer(Log(20, 6, 14, 1, 0.2), None)
    assert "all 20 episodes are of one task" in told.would
    assert told.tasks == 24  # 5 that judge are a fifth of 25
    assert told.unknown[0] == "How it does on tasks that it has not learned from."


def test_too_few_to_judge_says_how_many_tasks_would_do():
    few = report(
        "do not use", "4 held-out tasks with known outcomes; at least 5 are needed", judged=4
    )
    told = answer(Log(20, 5, 15, 20, 0.2), few)
    assert told.would == (
        "That cannot be known yet: 4 held-out tasks with known outcomes; at least 5 are needed."
    )
    # A quarter succeed, one episode a task: 10 successes are in 40 tasks, a fifth of 200.
    assert told.tasks == 180 and "that takes 200 tasks" in told.change
    # Among those that judge an eighth succeed: 10 successes are in 80 tasks, a fifth of 400.
    rarer = few | {"data": few["data"] | {"successes": 1}}
    assert answer(Log(20, 5, 15, 20, 0.2), rarer).tasks == 380


def test_an_auc_that_is_not_shown_needs_tasks_by_the_width_of_its_interval():
    told = answer(HALF, report("do not use", (0.65, 0.45, 0.85), passed=False))
    assert told.would == "Not shown. Do not use: because."
    # It reaches .2 down and may reach .1: four times the 10 that judge, 30 more, a fifth of 150.
    assert told.tasks == 150
    assert "if its AUC stays at 0.65" in told.change and "begins at 0.45" in told.change


def test_an_auc_at_chance_is_not_a_matter_of_more_tasks():
    told = answer(HALF, report("do not use", (0.52, 0.45, 0.6), passed=False))
    assert told.tasks is None and "will hardly change it" in told.change
    far = answer(HALF, report("do not use", (0.551, 0.35, 0.8), passed=False))
    assert far.tasks is None and "More logs are not what is missing" in far.change


def test_a_ranking_of_states_alone_is_a_perhaps():
    told = answer(HALF, report("trust for ranking only", (0.7, 0.6, 0.8), (0.02, -0.02, 0.06)))
    assert told.would.startswith("Perhaps:")
    assert told.tasks == 150  # .04 down where .02 is allowed: four times the tasks
    assert any("Which of several thoughts is better" in line for line in told.unknown)


@pytest.mark.parametrize("level", ["trust", "trust for ranking only"])
def test_what_ranks_thoughts_is_a_probably(level):
    told = answer(HALF, report(level, (0.7, 0.6, 0.8)))
    assert told.would.startswith("Probably") and told.tasks is None
    assert told.unknown[-1].startswith("How an agent plays with its guidance")


def test_a_leak_is_said_first():
    leaking = report("do not use", (0.99, 0.9, 1.0)) | {"leaks": {"flagged": True}}
    assert answer(HALF, leaking).would.startswith("No: observations give the outcome away")


def test_episodes_without_an_outcome_are_counted():
    told = answer(Log(30, 10, 10, 20, 0.2), report("trust", (0.7, 0.6, 0.8)))
    assert told.unknown[0].startswith("How 10 of 30 episodes ended")
