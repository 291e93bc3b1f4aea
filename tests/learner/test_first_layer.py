from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.learner.first_layer import nets, stacked, unstacked
from pgv_jax.learner.state import graph_of

SPEC = CriticSpec(6, (5, 4), 2, False, "gelu", "sigmoid")
NEAR = {"observation": 1, "thought": 2, "goal": 3}


def params():
    return nnx.to_pure_dict(nnx.state(Critic(SPEC, jax.random.key(0))))


def test_the_learners_form_goes_back_to_the_same_parameters():
    there_and_back = unstacked(stacked(params()))
    jax.tree.map(np.testing.assert_array_equal, there_and_back, params())
    assert set(there_and_back["v"]) == set(params()["v"])


def test_fields_multiplied_at_once_are_the_sum_of_their_projections():
    graph, own = graph_of(SPEC), params()
    net = nets(graph, stacked(own), "float32")["q"]
    critic = nnx.merge(graph, nnx.State(jax.tree.map(jnp.asarray, own)))
    inputs = {name: jax.random.normal(jax.random.key(i), (7, 6)) for name, i in NEAR.items()}
    step = {name: inputs[name] for name in ("observation", "thought")}
    np.testing.assert_allclose(
        net.project("step", *step.values()), critic.q.project(step), atol=1e-6
    )
    goal = {"goal": inputs["goal"]}
    np.testing.assert_allclose(net.project("goal", goal["goal"]), critic.q.project(goal), atol=1e-6)


def test_bfloat16_rounds_and_the_others_do_not_on_a_cpu():
    graph, own = graph_of(SPEC), stacked(params())
    x_BD = jax.random.normal(jax.random.key(0), (7, 6))
    exact, device, half = (
        nets(graph, own, compute)["q"].project("goal", x_BD)
        for compute in ("float32", "tensorfloat32", "bfloat16")
    )
    np.testing.assert_array_equal(exact, device)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - exact).max() < 2e-2
