from __future__ import annotations

import pytest

from pgv_jax.report.comparison.arms import arms_summary, goals_summary, pair_keys
from pgv_jax.types import Episode, Step


def played(game, seed, success, length=3, **metadata):
    steps = tuple(Step("o", "t", "a") for _ in range(length))
    return Episode(
        f"{game}/{seed}/{metadata}",
        game,
        "Cook.",
        steps,
        "end",
        success,
        metadata={"seed": seed, **metadata},
    )


def test_an_arm_by_hand():
    arm = [played("a", 0, True, 2), played("a", 1, True, 4), played("b", 0, False, 9)]
    found = arms_summary({"critic": arm})["critic"]
    assert found["success"] == pytest.approx(2 / 3, abs=1e-6)
    low, high = found["ci95"]
    assert low < 0.01 and high > 0.99  # two games, one always won, one always lost
    assert (found["episodes"], found["games"], found["unknown"]) == (3, 2, 0)
    assert found["mean_steps"] == 5.0
    assert found["minus"] == {}


def test_twins_are_found_whatever_the_order():
    won = {("a", 0), ("a", 1), ("b", 0), ("c", 0)}
    games = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)]
    critic = [played(*key, key in won) for key in games]
    first = [played(*key, key == ("c", 1)) for key in reversed(games)]
    found = arms_summary({"first": first, "critic": critic})["critic"]["minus"]["first"]
    assert found["pairs"] == 6
    assert found["difference"] == pytest.approx(3 / 6)
    # Game a is won twice to none, b once, c once each.
    assert found["sign_test"] == {"tasks_better": 2, "tasks_worse": 0, "p": pytest.approx(0.5)}


@pytest.mark.parametrize("times", [1, 5])
def test_a_game_counts_once_however_often_it_is_played(times):
    """Twelve games: six won by the critic alone, one by the first alone."""
    arms = {
        name: [played(f"g{i}", seed, i in won) for i in range(12) for seed in range(times)]
        for name, won in (("critic", (1, 2, 4, 5, 7, 8, 10, 11)), ("first", (0, 4, 8)))
    }
    found = arms_summary(arms)["critic"]["minus"]["first"]
    assert (found["pairs"], found["difference"]) == (12 * times, pytest.approx(5 / 12))
    # p = 2 (1 + 7) / 2^7; se^2 = (7 - 25/12) / 11 / 12 with 11 degrees of freedom.
    assert found["sign_test"] == {"tasks_better": 6, "tasks_worse": 1, "p": 0.125}
    half = 2.200985 * (59 / 12 / 132) ** 0.5
    assert found["ci95"] == pytest.approx([5 / 12 - half, 5 / 12 + half], abs=1e-6)


def test_only_twins_are_compared():
    critic = [played("a", 0, True), played("b", 0, True)]
    found = arms_summary({"critic": critic, "first": [played("b", 0, False), played("z", 0, True)]})
    assert found["critic"]["minus"]["first"]["pairs"] == 1
    assert found["first"]["minus"] == {}
    none = arms_summary({"critic": critic, "first": [played("z", 0, True)]})
    assert none["critic"]["minus"] == {}


def test_repeats_of_one_seed_are_paired_in_their_order():
    again = [played("a", 0, True), played("a", 0, False)]
    assert len(set(pair_keys(again))) == 2
    found = arms_summary({"critic": again, "first": again})["critic"]["minus"]["first"]
    assert (found["pairs"], found["difference"]) == (2, 0.0)


def test_where_all_ends_are_alike_the_interval_still_has_a_width():
    episodes = [played(f"g{i % 12}", i, False) for i in range(48)]
    found = arms_summary({"first": episodes})["first"]
    edge = 2.200985**2 / (12 + 2.200985**2)  # Wilson's, of 12 games
    assert found["ci95"] == [0.0, pytest.approx(edge, abs=1e-5)]


def test_an_unknown_end_counts_as_a_failure_and_is_counted():
    found = arms_summary({"critic": [played("a", 0, None), played("b", 0, True)]})["critic"]
    assert (found["success"], found["unknown"]) == (0.5, 1)


def test_an_arm_without_episodes_is_left_out():
    assert arms_summary({"critic": [], "first": []}) == {}
    assert goals_summary({"critic": []}) == {}


def goal_episodes(reached):
    return [
        played(
            f"g{i % 4}",
            i,
            success,
            goal_kind="open" if i < 8 else "have",
            goal=f"Thing {i} is open.",
        )
        for i, success in enumerate(reached)
    ]


def test_goals_by_kind_and_ratio_to_the_first_proposal():
    critic = goal_episodes([True] * 8 + [False] * 4)
    first = goal_episodes([True, False] * 2 + [False] * 8)
    found = goals_summary({"first": first, "critic": critic})
    assert (found["goals"], found["games"]) == (12, 4)
    assert found["arms"]["critic"]["reached"] == pytest.approx(8 / 12, abs=1e-6)
    assert found["arms"]["critic"]["ratio_to_first"]["ratio"] == 4.0
    assert "ratio_to_first" not in found["arms"]["first"]
    assert found["arms"]["critic"]["minus"]["first"]["pairs"] == 12
    assert list(found["kinds"]) == ["open", "have"]
    assert found["kinds"]["open"]["goals"] == 8
    assert found["kinds"]["open"]["arms"]["first"]["reached"] == 0.25
    assert found["kinds"]["have"]["arms"]["critic"]["reached"] == 0.0


def test_one_goal_sentence_in_two_games_is_two_goals():
    episodes = [played(game, 0, True, goal_kind="open", goal="The door is open.") for game in "ab"]
    assert goals_summary({"critic": episodes})["goals"] == 2
