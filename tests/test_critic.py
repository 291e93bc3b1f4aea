"""The heads: the additive first layer is the concatenated one, and members do not meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pgv_jax.critic import ACTIVATIONS, Q_FIELDS, V_FIELDS, Critic, CriticSpec, link

B, D = 5, 6
SPEC = CriticSpec(
    dim=D, hidden=(7, 4), ensemble=3, layer_norm=True, activation="gelu", head="linear"
)


def spec(**changes: Any) -> CriticSpec:
    return CriticSpec(**{**SPEC.__dict__, **changes})


def lively(spec: CriticSpec, seed: int = 0) -> Critic:
    """A critic whose biases and scales are not the zeros and ones that they start with."""
    critic = Critic(spec, jax.random.key(seed))
    generator = np.random.default_rng(seed)
    tree = nnx.to_pure_dict(nnx.state(critic))
    tree = jax.tree.map(lambda x: x + 0.3 * generator.standard_normal(x.shape, np.float32), tree)
    return nnx.merge(nnx.graphdef(critic), nnx.State(tree))


def inputs(seed: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal((B, D), np.float32) for name in Q_FIELDS}


def by_hand(params: Mapping, fields: tuple[str, ...], given: Mapping, spec: CriticSpec) -> Any:
    """The textbook's network on the concatenated fields, member by member, in float64: [E, B]."""
    activation = {
        "relu": lambda h: np.maximum(h, 0),
        "tanh": np.tanh,
        "silu": lambda h: h / (1 + np.exp(-h)),
        "gelu": lambda h: 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))),
    }[spec.activation]
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x = np.concatenate([given[name].astype(np.float64) for name in fields], axis=-1)
    out = []
    for e in range(wide["bias_0"].shape[0]):
        h = x @ np.concatenate([wide[name]["kernel"][e] for name in fields]) + wide["bias_0"][e]
        for i in range(len(spec.hidden)):
            if i:
                h = h @ wide[f"dense_{i}"]["kernel"][e] + wide[f"dense_{i}"]["bias"][e]
            if spec.layer_norm:
                h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
                h = h * wide[f"norm_{i}"]["scale"][e] + wide[f"norm_{i}"]["bias"][e]
            h = activation(h)
        out.append((h @ wide["out"]["kernel"][e] + wide["out"]["bias"][e])[:, 0])
    return np.stack(out)


@pytest.mark.parametrize("fields", [Q_FIELDS, V_FIELDS])
def test_the_additive_first_layer_is_the_concatenated_one(fields):
    critic = lively(SPEC)
    head = critic.q if fields == Q_FIELDS else critic.v
    given = inputs()
    kernel = np.concatenate([getattr(head, name).kernel[...] for name in fields], axis=1)
    x = np.concatenate([given[name] for name in fields], axis=-1)
    wanted = np.einsum("bd,edh->beh", x, kernel)
    np.testing.assert_allclose(head.project(given), wanted, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_forward_pass_is_the_textbooks(activation, layer_norm):
    mine = spec(activation=activation, layer_norm=layer_norm)
    critic, given = lively(mine), inputs()
    params = nnx.to_pure_dict(nnx.state(critic))
    for head, fields in (("q", Q_FIELDS), ("v", V_FIELDS)):
        got = getattr(critic, head)(given)
        assert got.shape == (3 if head == "q" else 1, B)
        np.testing.assert_allclose(got, by_hand(params[head], fields, given, mine), atol=2e-6)


def test_one_hidden_layer_is_enough():
    mine = spec(hidden=(5,))
    critic, given = lively(mine), inputs()
    params = nnx.to_pure_dict(nnx.state(critic))
    np.testing.assert_allclose(
        critic.q(given), by_hand(params["q"], Q_FIELDS, given, mine), atol=2e-6
    )


def test_fields_broadcast_so_that_thoughts_meet_goals():
    critic, given = lively(SPEC), inputs()
    head = critic.q
    base = head.project({name: given[name][0] for name in ("task", "observation")})
    rows = head.project({"thought": given["thought"]})
    goals = head.project({"goal": given["goal"]})
    grid = head.finish(base[None, None] + rows[:, None] + goals[None])
    for n in range(B):
        for g in range(B):
            one = {
                "task": given["task"][:1],
                "observation": given["observation"][:1],
                "thought": given["thought"][n : n + 1],
                "goal": given["goal"][g : g + 1],
            }
            np.testing.assert_allclose(grid[n, g], head(one)[:, 0], atol=2e-6)


def test_v_does_not_read_the_thought():
    critic, given = lively(SPEC), inputs()
    other = {**given, "thought": -given["thought"]}
    np.testing.assert_array_equal(critic.v(given), critic.v(other))
    assert (np.asarray(critic.q(given)) != np.asarray(critic.q(other))).all()


def test_members_of_the_ensemble_are_independent():
    critic, given = lively(SPEC), inputs()
    graph, state = nnx.split(critic)
    params = nnx.to_pure_dict(state)["q"]
    full = nnx.to_pure_dict(state)

    def first(params):
        head = nnx.merge(graph, nnx.State({**full, "q": params})).q
        return head(given)[0].sum()

    gradient = jax.jit(jax.grad(first))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(leaf[0]), path
        assert not np.any(leaf[1:]), path


def test_members_start_different_and_the_seed_decides():
    one, again, other = (Critic(SPEC, jax.random.key(seed)) for seed in (0, 0, 1))
    kernel = one.q.goal.kernel[...]
    assert not np.array_equal(kernel[0], kernel[1])
    assert not np.array_equal(one.q.task.kernel[...], kernel)
    np.testing.assert_array_equal(kernel, again.q.goal.kernel[...])
    assert not np.array_equal(kernel, other.q.goal.kernel[...])


def test_the_first_layer_has_the_spread_of_one_dense_layer():
    """Variance 1 / fan-in, where the fan-in counts all fields."""
    critic = Critic(spec(dim=300, hidden=(200,)), jax.random.key(0))
    for head, fields in ((critic.q, 4), (critic.v, 3)):
        kernel = np.asarray(head.observation.kernel[...])
        assert kernel.std() == pytest.approx((300 * fields) ** -0.5, rel=0.02)
        assert abs(kernel.mean()) < 0.1 * kernel.std()


def test_bounded_heads_start_low_and_linear_ones_at_nothing():
    given = {name: 0 * x for name, x in inputs().items()}
    bounded = Critic(spec(head="sigmoid"), jax.random.key(0))
    value = link(bounded.q(given), "sigmoid")
    assert float(value.min()) == pytest.approx(float(value.max())) == pytest.approx(0.12, abs=0.005)
    assert not np.any(Critic(SPEC, jax.random.key(0)).q(given))


def test_link_is_the_logistic_function_of_bounded_heads():
    raw = jnp.asarray([-800.0, -math.log(3), 0.0, math.log(3), 800.0])
    np.testing.assert_allclose(link(raw, "sigmoid"), [0, 0.25, 0.5, 0.75, 1], atol=1e-7)
    np.testing.assert_array_equal(link(raw, "linear"), raw)


def test_the_spec_survives_json():
    import json

    assert CriticSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
