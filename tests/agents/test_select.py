import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.agents.select import (
    SELECTORS,
    Ballot,
    choose,
    critic,
    first,
    majority,
    oracle,
    penalise,
    shuffled,
    utility,
)
from pgv_jax.errors import PgvError

scores = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8)


def test_first_takes_the_first_and_critic_the_highest():
    ballot = Ballot(3, np.array([0.2, 0.9, 0.4]))
    assert choose(first, ballot, [0, 0, 0])[0] == 0
    assert choose(critic, ballot, [0, 0, 0])[0] == 1
    assert choose(oracle, Ballot(3, oracle_N=np.array([0.0, 0.1, 0.5])), [0, 0, 0])[0] == 2


def test_the_majority_has_most_votes():
    ballot = Ballot(3, np.array([0.9, 0.1, 0.1]), votes_N=np.array([1, 3, 2]))
    assert choose(majority, ballot, [0, 0, 0])[0] == 1
    with pytest.raises(PgvError, match="'majority' needs votes"):
        choose(majority, Ballot(3), [0, 0, 0])


def test_ties_go_to_the_first():
    assert choose(critic, Ballot(3, np.array([0.1, 0.7, 0.7])), [0, 0, 0])[0] == 1


@given(scores)
def test_the_critic_takes_a_highest_score_and_no_selector_changes_its_input(values):
    score_N = np.array(values)
    kept = score_N.copy()
    ballot = Ballot(len(values), score_N, score_N, votes_N=score_N)
    assert values[choose(critic, ballot, [0] * len(values))[0]] == max(values)
    for selector in SELECTORS.values():
        assert selector(ballot).shape == (len(values),)
    np.testing.assert_array_equal(score_N, kept)


@given(scores, st.integers(0, 2**31))
def test_shuffled_deals_the_same_scores_and_repeats_itself(values, seed):
    ballot = Ballot(len(values), np.array(values), seed=seed)
    assert sorted(shuffled(ballot)) == sorted(values)
    np.testing.assert_array_equal(shuffled(ballot), shuffled(ballot))


def test_shuffled_is_blind_to_the_candidates():
    """Over seeds each of three candidates is taken about equally often (closed form: 1/3)."""
    taken = [
        choose(shuffled, Ballot(3, np.array([0.1, 0.5, 0.9]), seed=seed), [0, 0, 0])[0]
        for seed in range(600)
    ]
    assert all(150 < taken.count(i) < 250 for i in range(3))


def test_the_repeat_penalty_by_hand():
    got = penalise(np.array([0.8, 0.8, 0.8, -0.8, 0.0]), [0, 1, 2, 1, 3], 0.5)
    np.testing.assert_allclose(got, [0.8, 0.4, 0.2, -1.6, 0.0])


@given(st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3), st.integers(0, 5), st.floats(0.1, 0.9))
def test_a_repeat_always_lowers_a_preference(value, times, factor):
    once, again = penalise(np.array([value, value]), [times, times + 1], factor)
    assert again < once


def test_every_arm_is_given_the_penalty():
    ballot = Ballot(2, np.array([0.6, 0.5]), np.array([0.6, 0.5]))
    for name in ("first", "critic", "oracle"):
        assert choose(SELECTORS[name], ballot, [0, 0])[0] == 0
        assert choose(SELECTORS[name], ballot, [1, 0])[0] == 1
        assert choose(SELECTORS[name], ballot, [1, 0], factor=1.0)[0] == 0


def test_utility_is_the_first_goal_or_a_weighted_sum():
    score_NG = np.array([[0.1, 0.9], [0.4, 0.2]])
    np.testing.assert_allclose(utility(score_NG), [0.1, 0.4])
    np.testing.assert_allclose(utility(score_NG, [1, -1]), [-0.8, 0.2])
    with pytest.raises(PgvError, match="3 weights for 2 goals"):
        utility(score_NG, [1, 2, 3])


def test_what_is_missing_is_named():
    with pytest.raises(PgvError, match="'critic' needs scores"):
        critic(Ballot(2))
    with pytest.raises(PgvError, match="'oracle' needs a simulator's preferences"):
        oracle(Ballot(2, np.zeros(2)))
    with pytest.raises(PgvError, match=r"shape \(3,\) for 2 candidates"):
        critic(Ballot(2, np.zeros(3)))
    with pytest.raises(PgvError, match="not a number"):
        choose(critic, Ballot(2, np.array([0.1, np.nan])), [0, 0])
    with pytest.raises(PgvError, match="repeat penalty is 0"):
        penalise(np.ones(1), [0], 0)
