from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as scipy_t
from sklearn.metrics import roc_auc_score

from pgv_jax.errors import PgvError
from pgv_jax.report.stats import (
    auc,
    auc_terms,
    cluster_codes,
    cluster_interval,
    cluster_mean,
    cluster_share,
    interval_ends,
    left_out,
    mean_values,
    paired_difference,
    paired_ratio,
    rounded,
    sign_test,
    weighted_auc,
)


def wilson_by_hand(p, trials, q):
    center = (p + q**2 / (2 * trials)) / (1 + q**2 / trials)
    half = q * np.sqrt(p * (1 - p) / trials + q**2 / (4 * trials**2)) / (1 + q**2 / trials)
    return p, center - half, center + half


def test_a_share_is_wilsons_over_tasks():
    # Twelve tasks, three successes: se^2 = p (1 - p) / 11; the kurtosis of three deviations of .75
    # and nine of -.25 is 7/3, so 24 / (4/3) = 18 degrees of freedom, of which 11 can be.
    found = cluster_share([1] * 3 + [0] * 9, range(12))
    assert found == pytest.approx(wilson_by_hand(0.25, 11, 2.200985))
    again = cluster_share(np.repeat([1] * 3 + [0] * 9, 5), np.repeat(range(12), 5).tolist())
    assert again == pytest.approx(found)  # five like episodes of a task are one
    # One success: (11^4 + 11) / (11^2 + 11)^2 * 12 = 10.0909 is the kurtosis: 2.64 degrees.
    rare = cluster_share([1] + [0] * 11, range(12))
    assert rare == pytest.approx(wilson_by_hand(1 / 12, 11, scipy_t.ppf(0.975, 2.64)))


@pytest.mark.parametrize("won", [0, 1])
def test_where_all_end_alike_the_interval_of_a_share_has_the_width_of_its_tasks(won):
    found = cluster_share([won] * 48, np.repeat(range(12), 4).tolist())
    edge = 2.200985**2 / (12 + 2.200985**2)
    assert found == pytest.approx((won, won * (1 - edge), won + (1 - won) * edge))


def test_a_mean_is_students_over_tasks_and_weighs_episodes():
    # Tasks of 1 and 1 and 4 episodes with means 0, 6 and 3: 18 / 6 = 3; without each in turn
    # 18/5, 12/5 and 6/2. se^2 = 2/3 * ((.6)^2 + (-.6)^2 + 0) = .48; kurtosis 1.5, 12 degrees: 2.
    found = cluster_mean([0, 6, 3, 3, 3, 3], ["a", "b", "c", "c", "c", "c"])
    half = 4.30265273 * np.sqrt(0.48)
    assert found == pytest.approx((3, 3 - half, 3 + half))
    narrow = cluster_mean([0, 6, 3, 3, 3, 3], ["a", "b", "c", "c", "c", "c"], level=0.6827)
    assert 0 < narrow.high - 3 < half


def test_one_cluster_has_no_interval():
    found = cluster_mean([1, 0, 1], ["a", "a", "a"])
    assert found.value == pytest.approx(2 / 3)
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert np.isnan(cluster_mean([], []).value)


def test_what_is_undefined_without_a_cluster_has_no_interval():
    assert cluster_interval(np.array([0.9, 0.8, np.nan, 0.9]), "share")[0] == 0.9
    assert np.isnan(cluster_interval(np.array([0.9, 0.8, np.nan, 0.9]), "share").low)
    assert np.isnan(cluster_interval(np.ones(13), "share", units=1).low)


def test_a_ratio_is_judged_by_its_logarithm_and_a_correlation_by_its_artanh():
    values = np.array([1.0, 1.2, 0.9, 1.1, 0.8, 1.0])
    for scale, to, back in (("ratio", np.log, np.exp), ("correlation", np.arctanh, np.tanh)):
        drawn = values / (2 if scale == "correlation" else 1)
        found = cluster_interval(drawn, scale)
        assert found[1:] == pytest.approx(back(cluster_interval(to(drawn), "mean")[1:]))
    nothing = cluster_interval(np.zeros(6), "ratio")
    assert nothing == (0, 0, 0)


def test_a_statistic_of_all_and_of_all_but_each():
    assert left_out(2).tolist() == [[1, 1], [0, 1], [1, 0]]
    found = mean_values(np.array([2.0, 0.0, 1.0]), np.array([2.0, 1.0, 1.0]))
    assert found == pytest.approx([3 / 4, 1 / 2, 3 / 3, 2 / 3])
    assert np.isnan(mean_values(np.array([2.0]), np.array([2.0]))[1])


@pytest.mark.parametrize("tasks", [12, 50, 200])
@pytest.mark.parametrize(("mean", "both"), [(0.05, 3.0), (0.05, 0.5), (0.5, 3.0)])
def test_the_intervals_hold_the_truth(tasks, mean, both):
    """Rare and common success, four episodes a task that resemble each other: 1,000 draws each."""
    rng = np.random.default_rng(tasks)
    chance = rng.beta(mean * both, (1 - mean) * both, (1000, tasks))
    won, size = rng.binomial(4, chance), np.full((1000, tasks), 4.0)
    other = rng.binomial(4, chance + 0.1 * (1 - chance))
    for sums, scale, truth in ((won, "share", mean), (other - won, "difference", 0.1 * (1 - mean))):
        low, high = interval_ends(mean_values(sums, size), scale)
        assert ((low <= truth) & (truth <= high)).mean() >= 0.93


def test_paired_difference_sees_through_shared_difficulty():
    hard = np.repeat([0.0, 0.5], 20)
    games = list(range(40))
    found = paired_difference(hard + 0.25, hard, games)
    edge = 2.022691**2 / (40 + 2.022691**2)  # no game differs; a few more still might
    assert found == pytest.approx((0.25, 0.25 - edge * 1.25, 0.25 + edge * 0.75))
    moved = paired_difference(hard + np.tile([0.2, 0.3], 20), hard, games)
    half = 2.022691 * 0.05 / np.sqrt(39)
    assert moved == pytest.approx((0.25, 0.25 - half, 0.25 + half))
    with pytest.raises(PgvError, match="differ in length: 2 against 1"):
        paired_difference([1, 2], [1], ["a", "b"])


def test_paired_ratio_is_of_means_and_can_be_unbounded():
    assert paired_ratio([2, 4], [1, 2], ["a", "b"]).value == 2.0
    found = paired_ratio([1, 1, 1], [1, 0, 0], ["a", "b", "c"])
    assert found.value == 3.0
    assert found.high == np.inf and 0 < found.low < 1
    assert found.as_json("ratio")["ci95"][1] is None
    assert np.isnan(paired_ratio([1, 0], [0, 0], ["a", "b"]).value)
    # Fieller's ends are where a - r b is q standard errors from 0.
    a, b = [3, 4, 5, 4, 3, 5], [2, 2, 3, 2, 2, 2]
    ratio = paired_ratio(a, b, range(6))
    for end in ratio[1:]:
        gap = np.asarray(a) - end * np.asarray(b)
        assert abs(gap.mean()) == pytest.approx(2.570582 * gap.std(ddof=1) / np.sqrt(6), rel=1e-5)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(5, 0, 2 / 32), (0, 0, 1.0), (10, 2, 2 * (1 + 12 + 66) / 4096), (3, 3, 1.0)],
)
def test_the_sign_test_of_one_pair_a_task_is_mcnemars(only_a, only_b, p):
    a = [True] * only_a + [False] * only_b + [True, False]
    b = [False] * only_a + [True] * only_b + [True, False]
    found = sign_test(a, b, range(len(a)))
    assert (found.better, found.worse) == (only_a, only_b)
    assert found.p == pytest.approx(p)


def test_a_task_counts_once_in_the_sign_test():
    # Task a: 3 of 4 pairs; b: 1 to 1; c: one pair the other way.
    a = [1, 1, 1, 0, 1, 0, 0]
    b = [0, 0, 0, 0, 0, 1, 1]
    assert sign_test(a, b, list("aaaabbc")) == (1, 1, 1.0)


def test_a_true_null_is_rejected_no_more_often_than_the_level_says():
    """Four pairs a task, whose arms are alike over tasks and unlike in each: 500 draws."""
    rng = np.random.default_rng(0)
    tasks = np.repeat(range(50), 4).tolist()
    low = 0
    for _ in range(500):
        chance = rng.beta(1.5, 1.5, (2, 50))
        won = rng.random((2, 200)) < np.repeat(chance, 4, axis=1)
        low += sign_test(*won, tasks).p < 0.05
    assert low / 500 <= 0.05


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
