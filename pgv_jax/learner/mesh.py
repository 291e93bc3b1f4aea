"""The device mesh, and the one table of rules that says what lies where.

No other module names an axis. Batches and tables are split over ``data``; wide layers over
``model``; everything else is replicated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pgv_jax.errors import PgvError

DATA, MODEL = "data", "model"

RULES = (
    # (part of the parameter's path, spec): the first match decides. Kernels are [E, in, out].
    ("out", PartitionSpec()),
    ("kernel", PartitionSpec(None, None, MODEL)),
    ("bias", PartitionSpec(None, MODEL)),
    ("scale", PartitionSpec(None, MODEL)),
)


def make_mesh(data: int, model: int, shards: int) -> Mesh:
    """Make the mesh [data, model]; ``data=0`` takes all devices that are present.

    Logical shards must divide over ``data``; the error names the counts that would.
    """
    present = jax.device_count()
    if model > present:
        raise PgvError(f"mesh.model is {model}, but only {present} devices are present.")
    data = data or present // model
    if data * model > present:
        raise PgvError(
            f"A mesh of data={data} x model={model} needs {data * model} devices; "
            f"{present} are present."
        )
    if shards % data:
        good = [str(n) for n in range(1, shards + 1) if shards % n == 0]
        near = data * max(1, round(shards / data))
        raise PgvError(
            f"The {shards} logical shards do not divide over {data} devices of mesh axis 'data'; "
            f"use mesh.data of {', '.join(good)}, or mesh.shards={near}."
        )
    devices = jax.devices()[: data * model]
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, model), (DATA, MODEL), axis_types=auto, devices=devices)


def check_batch(batch: int, shards: int) -> None:
    """Refuse a batch that does not divide over the logical shards; the error names neighbours."""
    if batch % shards:
        low = batch // shards * shards
        near = f"{low} or {low + shards}" if low else f"{shards}"
        raise PgvError(
            f"Batch size {batch} is not divisible by the {shards} logical shards; use {near}."
        )


def split(mesh: Mesh) -> NamedSharding:
    """Leading axis over ``data``: tables [S, ...] and batches [B, ...]."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def parameter_shardings(mesh: Mesh, tree: Any) -> Any:
    """A sharding for each leaf of a tree of parameters or optimizer moments, by ``RULES``."""
    ways = mesh.shape[MODEL]

    def rule(path: tuple, leaf: Any) -> NamedSharding:
        names = jax.tree_util.keystr(path)
        for part, spec in RULES:
            if part in names:
                fits = len(spec) <= len(leaf.shape) and (not spec or leaf.shape[-1] % ways == 0)
                return NamedSharding(mesh, spec if fits else PartitionSpec())
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(rule, tree)


def over_shards(mesh: Mesh, function: Callable) -> Callable:
    """Run ``function(scalars, shard arrays)`` on each device's own logical shards.

    The first argument is replicated, the second and the result are split along their leading axis.
    """
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(DATA)),
        out_specs=PartitionSpec(DATA),
    )
