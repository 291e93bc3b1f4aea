"""Norms of a line are those of its last update."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from pgv_jax.learner.state import State
from pgv_jax.learner.step import norms_of, scanned


def test_norms_by_hand():
    gradients = {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[4.0]])}
    before = {"a": jnp.asarray([1.0, 1.0]), "b": jnp.asarray([[2.0]])}
    after = {"a": jnp.asarray([2.0, 3.0]), "b": jnp.asarray([[4.0]])}
    told = norms_of(gradients, after, before)
    assert told == {"gradient_norm": 5.0, "update_norm": 3.0}


def test_the_last_updates_norms_stand_for_all():
    def update(state: State, batch: Any, constants: Any) -> tuple[State, Any, Any]:
        """Descends by ``constants`` along the gradient, the batch."""
        params = {"w": state.params["w"] - constants * batch}
        return state._replace(params=params), {"loss": batch.sum()}, {"w": batch}

    start = State({"w": jnp.zeros(2)}, {}, {}, {}, jnp.zeros((), jnp.int32))
    parts = jnp.asarray([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    state, metrics = scanned(update, lambda part: part, start, parts, jnp.asarray(0.5))
    np.testing.assert_allclose(state.params["w"], [-2.0, -3.0])
    np.testing.assert_allclose(metrics["loss"], [1.0, 2.0, 7.0])
    np.testing.assert_allclose(metrics["gradient_norm"], [5.0] * 3)
    np.testing.assert_allclose(metrics["update_norm"], [2.5] * 3)
