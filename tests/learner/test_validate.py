"""Model selection: an AUC within strata, which no clock and no constant can win."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pgv_jax.learner.validate import LEAST, stratified_auc


def by_hand(score, label, stratum) -> float:
    """Over all pairs of one stratum: 1 where the positive one is higher, a half for a tie."""
    right = [
        (score[i] > score[j]) + (score[i] == score[j]) / 2
        for i in range(len(score))
        for j in range(len(score))
        if label[i] and not label[j] and stratum[i] == stratum[j]
    ]
    return float(np.mean(right))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 50))
def test_it_counts_pairs_within_strata(seed, strata, values):
    generator = np.random.default_rng(seed)
    score = generator.integers(values, size=160) / values  # few values: many ties
    label, stratum = generator.random(160) < 0.5, generator.integers(strata, size=160)
    assert stratified_auc(score, label, stratum) == pytest.approx(by_hand(score, label, stratum))


def test_one_stratum_is_the_plain_auc():
    generator = np.random.default_rng(0)
    label = generator.random(200) < 0.3
    score = generator.normal(size=200) + label
    got = stratified_auc(score, label, np.zeros(200))
    assert got == pytest.approx(roc_auc_score(label, score))
    assert got > 0.6


def test_a_clock_and_a_constant_are_at_one_half():
    """Success is likelier late, so a critic that only counts steps looks good without strata."""
    generator = np.random.default_rng(0)
    time = generator.integers(10, size=500)
    label = generator.random(500) < time / 10
    assert stratified_auc(time * 1.0, label, time) == 0.5
    assert stratified_auc(np.zeros(500), label, time) == 0.5
    assert stratified_auc(time * 1.0, label, np.zeros(500)) > 0.7


def test_a_stratum_with_one_side_says_nothing():
    label = np.repeat([True, False, True], 30)
    score = np.arange(90.0)
    stratum = np.asarray([0] * 60 + [1] * 30)
    assert stratified_auc(score, label, stratum) == 0.0  # the last 30 would have been right


@pytest.mark.parametrize("positives", [0, LEAST - 1])
def test_too_few_say_nothing(positives):
    label = np.arange(100) < positives
    assert stratified_auc(np.arange(100.0), label, np.zeros(100)) is None
    assert stratified_auc(np.arange(100.0), ~label, np.zeros(100)) is None
    assert stratified_auc(np.arange(100.0), np.arange(100) < LEAST, np.zeros(100)) == 0.0
