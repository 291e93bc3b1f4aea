"""A head compiled for scoring: arrays in and out, shapes padded to powers of two."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.critic.heads import Head, link, width_first


class CompiledHead:
    """One head and its compiled functions; arrays in and out, [E, H] as ``Head.project`` has it."""

    def __init__(self, head: Head, params: dict[str, Any], linked: str):
        graph = nnx.graphdef(head)
        self.compilations = 0
        self._params = jax.tree.map(jnp.array, width_first(params))

        def opened(params: Any) -> Head:
            self.compilations += 1  # this line runs where a new shape is traced
            opened: Head = nnx.merge(graph, nnx.State(width_first(params)))
            return opened

        def context(params: Any, task_1D: jax.Array, goal_GD: jax.Array) -> jax.Array:
            return opened(params).project({"task": task_1D, "goal": goal_GD})

        def grid(params: Any, context_GEH: jax.Array, rows: dict[str, jax.Array]) -> jax.Array:
            head = opened(params)
            h_RGEH = head.project(rows)[:, None] + context_GEH[None]
            return link(head.finish(h_RGEH), linked)

        def pairs(params: Any, inputs: dict[str, jax.Array]) -> jax.Array:
            return link(opened(params)(inputs), linked)

        self._context, self._grid, self._pairs = jax.jit(context), jax.jit(grid), jax.jit(pairs)

    def context(self, task_D: np.ndarray, goal_GD: np.ndarray) -> jax.Array:
        """The first layer's part on a task and goals: [G, E, H], on the device."""
        return self._context(self._params, task_D[None], goal_GD)

    def grid(self, context_GEH: jax.Array, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Values of every row for every goal of the context by each member: [E, R, G].

        ``rows`` holds [R, D] or [1, D] for each other field.
        """
        return np.asarray(self._grid(self._params, context_GEH, rows))

    def pairs(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Values of aligned rows by each member, [B, D] a field: [E, B]."""
        return np.asarray(self._pairs(self._params, inputs))


def sizes(count: int) -> list[int]:
    """The powers of two that up to ``count`` rows are padded to."""
    return [1 << power for power in range((count - 1).bit_length() + 1)]


def reduced(value: Any, pessimism: float) -> Any:
    """[E, ...] -> [...]: the ensemble's mean, less ``pessimism`` standard deviations."""
    mean = value.mean(0)
    return mean - pessimism * value.std(0) if pessimism else mean
