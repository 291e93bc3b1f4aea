"""The reference formula against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.export.reference import ACTIVATIONS, head_values

CRITIC = {"hidden": [2], "layer_norm": False, "activation": "relu", "head": "linear"}


def hand_parameters() -> dict[str, np.ndarray]:
    """Two members on task and goal, D = 2, H = 2; the second member is the first with bias 1."""
    one = {
        "task/kernel": [[1.0, 0.0], [0.0, 1.0]],
        "goal/kernel": [[0.0, 2.0], [-1.0, 0.0]],
        "bias_0": [0.5, -0.5],
        "out/kernel": [[1.0], [10.0]],
        "out/bias": [0.0],
    }
    both = {name: np.array([value, value]) for name, value in one.items()}
    both["out/bias"] = np.array([[0.0], [1.0]])
    return both


INPUTS = {"task": np.array([[1.0, 2.0]]), "goal": np.array([[3.0, 4.0]])}
# h = (1, 2) + (-4, 6) + (.5, -.5) = (-2.5, 7.5); relu (0, 7.5); out 75


def test_hand_table():
    values = head_values(hand_parameters(), CRITIC, INPUTS)
    np.testing.assert_allclose(values, [[75.0], [76.0]])


def test_layer_norm_by_hand():
    # (-2.5, 7.5): mean 2.5, variance 25 -> (-1, 1); scale (3, 2), bias (4, 0) -> (1, 2)
    norm = {
        "norm_0/scale": np.array([[3.0, 2.0]] * 2),
        "norm_0/bias": np.array([[4.0, 0.0]] * 2),
    }
    values = head_values(hand_parameters() | norm, CRITIC | {"layer_norm": True}, INPUTS)
    np.testing.assert_allclose(values, [[21.0], [22.0]], rtol=1e-6)


def test_a_bounded_head_is_the_logistic_of_the_linear_one():
    parameters = hand_parameters() | {"out/kernel": np.array([[[0.0], [0.1]]] * 2)}
    values = head_values(parameters, CRITIC | {"head": "sigmoid"}, INPUTS)
    np.testing.assert_allclose(values[:, 0], [1 / (1 + np.exp(-0.75)), 1 / (1 + np.exp(-1.75))])


@pytest.mark.parametrize(
    ("name", "at_one"),
    [("gelu", 0.841192), ("relu", 1.0), ("silu", 0.731059), ("tanh", 0.761594)],
)
def test_activations(name, at_one):
    assert ACTIVATIONS[name](np.array(1.0)) == pytest.approx(at_one, abs=1e-6)
    assert ACTIVATIONS[name](np.array(0.0)) == 0
