"""Compiled programs by array shape: each is compiled once, ahead of its first use, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pgv_jax.embed.models.sharding import batch_sharding


class Runner:
    """Runs ``function(model, *int32 arrays)`` on a frozen model.

    ``compilations`` counts the shapes met so far; a shape that was met never compiles again.
    """

    def __init__(
        self,
        model: nnx.Module,
        function: Callable[..., jax.Array],
        mesh: Mesh | None = None,
    ):
        graph, self._state = nnx.split(model)
        self._sharding = None if mesh is None else batch_sharding(mesh)
        out = None if mesh is None else NamedSharding(mesh, PartitionSpec())

        def run(state: nnx.State, *arrays: jax.Array) -> jax.Array:
            return function(nnx.merge(graph, state), *arrays)

        self._jitted = jax.jit(run, out_shardings=out)
        self._compiled: dict[tuple[tuple[int, ...], ...], Callable[..., jax.Array]] = {}

    @property
    def compilations(self) -> int:
        """How many programs were compiled."""
        return len(self._compiled)

    def prepare(self, *shapes: tuple[int, ...]) -> Callable[..., jax.Array]:
        """The program for int32 arrays of these shapes, compiled if it is not yet."""
        if shapes not in self._compiled:
            arrays = [
                jax.ShapeDtypeStruct(shape, jnp.int32, sharding=self._sharding) for shape in shapes
            ]
            self._compiled[shapes] = self._jitted.lower(self._state, *arrays).compile()
        return self._compiled[shapes]

    def __call__(self, *arrays: np.ndarray) -> jax.Array:
        """Start the program; the result is ready once it is read."""
        program = self.prepare(*(array.shape for array in arrays))
        if self._sharding is None:
            return program(self._state, *arrays)
        return program(self._state, *jax.device_put(list(arrays), self._sharding))


def pad_ids(rows: Sequence[np.ndarray], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """ids int32 ``shape``, padded on the right, and counts int32 [rows].

    Rows that only fill the batch hold one token: a softmax over nothing would be NaN.
    """
    ids, counts = np.zeros(shape, np.int32), np.ones(shape[0], np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        counts[i] = len(row)
    return ids, counts
