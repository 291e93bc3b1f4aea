"""The anchor: exact on raw embeddings, and judged on tasks that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.recipe.outcomes import FIELDS, components_of, outcomes_of
from pgv_jax.recipe.probe import fit_probe, fit_without, log_likelihood, refitted
from tests.recipe import logs


@pytest.fixture(scope="module")
def outcomes():
    return outcomes_of(logs.log(logs.linear), logs.lookup, 0, 0)


def test_folds_are_whole_tasks_and_cover_the_steps(outcomes):
    tasks = np.asarray(outcomes.rows.task_ids)
    held = [set(tasks[held_out]) for _, held_out in outcomes.folds]
    assert len(held) == 5
    assert sum(map(len, held)) == len(set(tasks)) == 20
    for fitted_on, held_out in outcomes.folds:
        assert not set(tasks[fitted_on]) & set(tasks[held_out])


def test_a_kernel_on_components_is_the_same_on_embeddings(outcomes):
    components = components_of(outcomes, FIELDS)
    kernel = np.random.default_rng(0).standard_normal((components.x_BR.shape[1], 3))
    kernels, bias = components.unfold(kernel)
    raw = sum(outcomes.vectors[field] @ kernels[field] for field in FIELDS) + bias
    np.testing.assert_allclose(raw, components.x_BR @ kernel, atol=1e-4)


def test_each_step_is_judged_by_the_member_that_has_not_seen_its_task(outcomes):
    components = components_of(outcomes, FIELDS)
    probe = fit_probe(outcomes, components)
    for k, (_, held_out) in enumerate(outcomes.folds):
        own = components.x_BR[held_out] @ probe.weight_MR[k] + probe.bias_M[k]
        np.testing.assert_allclose(probe.crossfit_B[held_out], own)
        weight, bias = fit_without(outcomes, components, held_out, probe.c)
        np.testing.assert_allclose([*weight, bias], [*probe.weight_MR[k], probe.bias_M[k]])


def test_what_is_published_has_the_mean_of_the_probe_of_all_tasks(outcomes):
    components = components_of(outcomes, FIELDS)
    probe = fit_probe(outcomes, components)
    found = refitted(probe, outcomes, components)
    weight, bias = fit_without(outcomes, components, np.zeros(0, int), probe.c)
    np.testing.assert_allclose(found.weight_MR.mean(0), weight)
    assert found.bias_M.mean() == pytest.approx(bias)
    apart = probe.weight_MR - probe.weight_MR[:1]
    np.testing.assert_allclose(found.weight_MR - found.weight_MR[:1], apart)
    np.testing.assert_array_equal(found.crossfit_B, probe.crossfit_B)


def test_what_is_planted_is_found_and_chance_is_left_at_the_base_rate(outcomes):
    found = fit_probe(outcomes, components_of(outcomes, FIELDS)).crossfit_B
    gain = log_likelihood(found, outcomes.success_B).mean() - np.log(0.5)
    assert gain > 0.2  # a sign that is right nine times in ten is worth .37 nats on average
    noise = outcomes_of(logs.log(logs.chance), logs.lookup, 0, 0)
    rate = noise.success_B.mean()
    base = log_likelihood(np.log(rate / (1 - rate)), noise.success_B).mean()
    found = fit_probe(noise, components_of(noise, FIELDS)).crossfit_B
    assert abs(log_likelihood(found, noise.success_B).mean() - base) < 0.02


def test_log_likelihood_by_hand():
    found = log_likelihood(np.asarray([0.0, 2.0, 2.0, -800.0]), np.asarray([1.0, 1.0, 0.0, 1.0]))
    expected = [np.log(0.5), -np.log(1 + np.exp(-2)), -np.log(1 + np.exp(2)), -800.0]
    np.testing.assert_allclose(found, expected)
