from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pgv_jax.errors import PgvError
from pgv_jax.report.stats import (
    auc,
    auc_terms,
    cluster_codes,
    cluster_mean,
    cluster_weights,
    mcnemar_exact,
    paired_difference,
    paired_ratio,
    percentile_interval,
    rounded,
    weighted_auc,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 48, 0.0, 0.0741),
        (48, 48, 0.9259, 1.0),
        (45, 50, 0.7864, 0.9565),
    ],
)
def test_wilson_agrees_with_the_formula_by_hand(successes, trials, low, high):
    p, z = successes / trials, 1.959964
    center = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    found = wilson(successes, trials)
    assert found.low == pytest.approx(center - half, abs=1e-6)
    assert found.high == pytest.approx(center + half, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_wilson_of_nothing_and_of_nonsense():
    assert np.isnan(wilson(0, 0).low)
    with pytest.raises(PgvError, match="5 successes of 3 trials"):
        wilson(5, 3)


def test_the_mean_weighs_episodes_and_the_bootstrap_draws_clusters():
    # Cluster a holds 3 ones, b one zero: the mean is 3/4; a resample is aa, ab, ba or bb, so its
    # mean is 1, 3/4, 3/4 or 0, and both tails (1/4 each) reach the ends.
    found = cluster_mean([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert found == (0.75, 0.0, 1.0)


def test_one_cluster_has_no_interval():
    found = cluster_mean([1, 0, 1], ["a", "a", "a"])
    assert found.value == pytest.approx(2 / 3)
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert np.isnan(cluster_mean([], []).value)


def test_a_resample_is_the_mean_of_the_episodes_of_the_clusters_drawn():
    values = np.array([1.0, 0.0, 3.0, 5.0, 2.0])
    codes = np.array([0, 0, 1, 2, 2])
    weights = cluster_weights(3, resamples=50, seed=4)
    assert (weights.sum(1) == 3).all()
    slow = []
    for row in weights.astype(int):
        drawn = [v for c in range(3) for _ in range(row[c]) for v in values[codes == c]]
        slow.append(np.mean(drawn))
    expected = percentile_interval(values.mean(), np.array(slow))
    assert cluster_mean(values, list(codes), resamples=50, seed=4) == pytest.approx(expected)


def test_same_seed_same_interval_other_seed_another():
    values, clusters = np.random.default_rng(0).normal(size=60), [i // 3 for i in range(60)]
    assert cluster_mean(values, clusters, seed=1) == cluster_mean(values, clusters, seed=1)
    assert cluster_mean(values, clusters, seed=1) != cluster_mean(values, clusters, seed=2)


def test_the_cluster_interval_covers_where_the_independent_one_does_not():
    rng = np.random.default_rng(7)
    clustered = independent = 0
    runs = 200
    for run in range(runs):
        chance = rng.beta(0.5, 0.5, size=40)  # episodes of a game resemble each other; mean 1/2
        won = (rng.random((40, 8)) < chance[:, None]).astype(float)
        games = list(np.repeat(np.arange(40), 8))
        found = cluster_mean(won.ravel(), games, resamples=400, seed=run)
        clustered += found.low <= 0.5 <= found.high
        naive = wilson(int(won.sum()), won.size)
        independent += naive.low <= 0.5 <= naive.high
    assert 0.89 <= clustered / runs <= 0.98
    assert independent / runs < 0.75


def test_paired_difference_sees_through_shared_difficulty():
    hard = np.repeat([0.0, 1.0], 20)
    games = list(range(40))
    assert paired_difference(hard + 0.25, hard, games) == (0.25, 0.25, 0.25)
    with pytest.raises(PgvError, match="differ in length: 2 against 1"):
        paired_difference([1, 2], [1], ["a", "b"])


def test_paired_ratio_is_of_means_and_can_be_unbounded():
    assert paired_ratio([2, 4], [1, 2], ["a", "b"]).value == 2.0
    found = paired_ratio([1, 1, 1], [1, 0, 0], ["a", "b", "c"])
    assert found.value == 3.0
    assert found.high == np.inf
    assert found.as_json("ratio") == {"ratio": 3.0, "ci95": [1.0, None]}
    assert np.isnan(paired_ratio([1, 0], [0, 0], ["a", "b"]).value)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(5, 0, 2 / 32), (0, 0, 1.0), (10, 2, 2 * (1 + 12 + 66) / 4096), (3, 3, 1.0)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    a = [True] * only_a + [False] * only_b + [True, False]
    b = [False] * only_a + [True] * only_b + [True, False]
    found = mcnemar_exact(a, b)
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p == pytest.approx(p)


scored = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=40
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


@given(scored)
def test_auc_is_the_area_that_scikit_learn_computes(rows):
    labels, scores, _ = map(list, zip(*rows, strict=True))
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@given(scored, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_weighted_auc_is_the_auc_of_repeated_rows(rows, weights):
    labels, scores, clusters = (np.array(column) for column in zip(*rows, strict=True))
    terms = auc_terms(labels, scores, clusters, 4)
    found = weighted_auc(terms, np.array([weights], float))[0]
    times = np.array(weights)[clusters]
    labels, scores = np.repeat(labels, times), np.repeat(scores, times)
    if len(set(labels.tolist())) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(labels, scores))


def test_a_missing_class_has_no_auc():
    assert np.isnan(auc([True, True], [0.1, 0.2]))


def test_codes_follow_first_appearance_and_json_knows_no_nan():
    assert cluster_codes(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert rounded(float("nan")) is None
    assert rounded(None) is None
    assert rounded(1 / 3) == 0.333333
