"""The heads: the additive first layer is the concatenated one, and members do not meet."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pgv_jax.critic.heads import ACTIVATIONS, Q_FIELDS, V_FIELDS, Critic, CriticSpec, link

B, D = 5, 6
SPEC = CriticSpec(
    dim=D, hidden=(7, 4), ensemble=3, layer_norm=True, activation="gelu", head="linear"
)


def spec(**changes: Any) -> CriticSpec:
    return CriticSpec(**{**SPEC.__dict__, **changes})


def params_of(spec: CriticSpec) -> dict[str, Any]:
    """Parameters that are all alive: no bias 0, no scale 1."""
    generator = np.random.default_rng(0)
    shapes = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))))
    return jax.tree.map(lambda x: 0.5 * generator.standard_normal(x.shape, np.float32), shapes)


def critic_of(spec: CriticSpec, params: Any) -> Critic:
    graph = nnx.graphdef(nnx.eval_shape(lambda: Critic(spec, jax.random.key(0))))
    return nnx.merge(graph, nnx.State(params))


@functools.cache
def forward(spec: CriticSpec) -> Callable:
    """``forward(spec)(params, inputs) -> (q [E, B], v [1, B])``, compiled."""

    def both(params: Any, given: Mapping) -> tuple[jax.Array, jax.Array]:
        critic = critic_of(spec, params)
        return critic.q(given), critic.v(given)

    return jax.jit(both)


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


@pytest.mark.parametrize(("head", "fields"), [("q", Q_FIELDS), ("v", V_FIELDS)])
def test_the_additive_first_layer_is_the_concatenated_one(head, fields):
    params, given = params_of(SPEC), inputs()

    @jax.jit
    def project(params, given):
        return getattr(critic_of(SPEC, params), head).project(given)

    kernel = np.concatenate([params[head][name]["kernel"] for name in fields], axis=1)
    x = np.concatenate([given[name] for name in fields], axis=-1)
    wanted = np.einsum("bd,edh->beh", x.astype(float), kernel.astype(float))
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(project(params, given) / scale, wanted / scale, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        *({"activation": name, "layer_norm": True} for name in ACTIVATIONS),
        {"layer_norm": False},
        {"hidden": (5,)},
        {"hidden": (5, 4, 3), "ensemble": 1},
    ],
    ids=str,
)
def test_the_forward_pass_is_the_textbooks(changes):
    mine = spec(**changes)
    params, given = params_of(mine), inputs()
    q, v = forward(mine)(params, given)
    np.testing.assert_allclose(q, by_hand(params["q"], Q_FIELDS, given, mine), atol=5e-6)
    np.testing.assert_allclose(v, by_hand(params["v"], V_FIELDS, given, mine), atol=5e-6)


def test_fields_broadcast_so_that_thoughts_meet_goals():
    params, given = params_of(SPEC), inputs()

    @jax.jit
    def meet(params, given):
        head = critic_of(SPEC, params).q
        base = head.project({name: given[name][0] for name in ("task", "observation")})
        rows = head.project({"thought": given["thought"]})
        goals = head.project({"goal": given["goal"]})
        return head.finish(base[None, None] + rows[:, None] + goals[None])

    grid = meet(params, given)
    assert grid.shape == (SPEC.ensemble, B, B)
    for n in range(B):
        one = {name: np.repeat(x[:1], B, 0) for name, x in given.items()}
        one |= {"thought": np.repeat(given["thought"][n : n + 1], B, 0), "goal": given["goal"]}
        np.testing.assert_allclose(grid[:, n], forward(SPEC)(params, one)[0], atol=5e-6)


def test_v_does_not_read_the_thought():
    params, given = params_of(SPEC), inputs()
    (q, v), (other_q, other_v) = (
        forward(SPEC)(params, {**given, "thought": sign * given["thought"]}) for sign in (1, -1)
    )
    np.testing.assert_array_equal(v, other_v)
    assert (np.asarray(q) != np.asarray(other_q)).all()


def test_members_of_the_ensemble_are_independent():
    given = inputs()
    first = jax.jit(jax.grad(lambda params: critic_of(SPEC, params).q(given)[0].sum()))
    for path, leaf in jax.tree_util.tree_leaves_with_path(first(params_of(SPEC))["q"]):
        assert np.any(leaf[0]), path
        assert not np.any(leaf[1:]), path


@functools.cache
def start(spec: CriticSpec) -> Callable:
    """``start(spec)(key)``: parameters as they are initialised."""
    return jax.jit(lambda key: nnx.to_pure_dict(nnx.state(Critic(spec, key))))


WIDE = spec(dim=300, hidden=(200, 100), head="sigmoid")


def test_members_start_different_and_the_seed_decides():
    one, again, other = (start(WIDE)(jax.random.key(seed))["q"] for seed in (0, 0, 1))
    goal, task = one["goal"]["kernel"], one["task"]["kernel"]
    assert not np.array_equal(goal[0], goal[1]) and not np.array_equal(task, goal)
    np.testing.assert_array_equal(goal, again["goal"]["kernel"])
    assert not np.array_equal(goal, other["goal"]["kernel"])


@pytest.mark.parametrize(("head", "fields"), [("q", Q_FIELDS), ("v", V_FIELDS)])
def test_layers_start_with_variance_one_over_the_fan_in(head, fields):
    """The fan-in of the first one counts all fields: it is one dense layer on all of them."""
    params = start(WIDE)(jax.random.key(0))[head]
    kernels = [(params[name]["kernel"], 300 * len(fields)) for name in fields]
    for kernel, fan_in in [*kernels, (params["dense_1"]["kernel"], 200)]:
        assert kernel.std() == pytest.approx(fan_in**-0.5, rel=0.02)
        assert abs(kernel.mean()) < 0.05 * kernel.std()
    for leaf in (params["bias_0"], params["dense_1"]["bias"]):
        assert not np.any(leaf)


def test_bounded_heads_start_low():
    """What is never reached sinks slowly, by gamma a backup, and what is reached rises at once."""
    params = start(WIDE)(jax.random.key(0))
    given = {name: np.zeros((B, 300), np.float32) for name in Q_FIELDS}
    for raw in forward(WIDE)(params, given):
        np.testing.assert_allclose(link(raw, "sigmoid"), 0.12, atol=0.005)


def test_link_is_the_logistic_function_of_bounded_heads():
    raw = jnp.asarray([-800.0, -math.log(3), 0.0, math.log(3), 800.0])
    np.testing.assert_allclose(link(raw, "sigmoid"), [0, 0.25, 0.5, 0.75, 1], atol=1e-7)
    np.testing.assert_array_equal(link(raw, "linear"), raw)


def test_the_spec_survives_json():
    assert CriticSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
