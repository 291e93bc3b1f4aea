"""Arrays of a mesh on the host: the same values, by a program that is compiled once."""

from __future__ import annotations

import jax
import numpy as np

from pgv_jax.learner import mesh as meshes


def test_a_tree_comes_to_the_host_by_one_program() -> None:
    mesh = meshes.make_mesh(1, 1, 8)
    tree = {"a": np.arange(7, dtype=np.float32), "b": {"c": np.ones((3, 5), np.float32)}}
    placed = meshes.place_same(mesh, tree)
    traced: list[str] = []

    def listen(name: str, seconds: float, **_: object) -> None:
        if name == "/jax/core/compile/jaxpr_trace_duration":
            traced.append(name)

    found = meshes.to_host(mesh, placed)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        again = meshes.to_host(mesh, placed)
        assert not traced
        jax.jit(lambda x: x + 1)(np.float32(1))
        assert traced, "the listener hears traces"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    for one in (found, again):
        np.testing.assert_array_equal(one["a"], tree["a"])
        np.testing.assert_array_equal(one["b"]["c"], tree["b"]["c"])
