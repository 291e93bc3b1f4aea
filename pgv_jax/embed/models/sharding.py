"""Where weights lie on a mesh with axes ("data", "model"): all rules in this one place.

Column-parallel products (q, k, v, gate, up) are split by outputs, row-parallel ones (out, down) by
inputs, as in Megatron-LM (Shoeybi et al. 2019, arXiv:1909.08053); tables of vectors by width.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA, MODEL = "data", "model"
# Name of a parameter -> which of its last axes is split over the model axis (negative index).
_SPLIT_AXIS = {
    "q": -1, "k": -1, "v": -1, "q_bias": -1, "k_bias": -1, "v_bias": -1,
    "gate": -1, "out": -2, "down": -2, "up": -1, "qkv": -1, "embedding": -1,
}  # fmt: skip


def make_mesh(data: int = 1, model: int | None = None) -> Mesh:
    """A mesh of ``data`` x ``model`` devices; by default all devices hold parts of the model."""
    devices = jax.devices()
    model = len(devices) // data if model is None else model
    return jax.make_mesh(
        (data, model), (DATA, MODEL), (AxisType.Auto,) * 2, devices=devices[: data * model]
    )


def weight_sharding(path: Sequence[str | int], shape: Sequence[int], mesh: Mesh) -> NamedSharding:
    """Sharding of the parameter at ``path``; sizes that do not divide are replicated."""
    names = [str(part) for part in path]
    # A linear layer's parameters are called kernel and bias: their layer's name decides.
    name = names[-2] if names[-1] in ("kernel", "bias") and len(names) > 1 else names[-1]
    axis = _SPLIT_AXIS.get(name)
    if names[-1] == "bias":
        axis = -1 if axis == -1 else None
    spec: list[str | None] = [None] * len(shape)
    if axis is not None and len(shape) >= -axis and shape[axis] % mesh.shape[MODEL] == 0:
        spec[axis] = MODEL
    return NamedSharding(mesh, PartitionSpec(*spec))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Texts of a batch are spread over the data axis."""
    return NamedSharding(mesh, PartitionSpec(DATA))
