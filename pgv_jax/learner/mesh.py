"""The device mesh, and the one table of rules that says what lies where.

No other module names an axis. Batches and tables are split over ``data``; wide layers over
``model``; everything else is replicated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pgv_jax.errors import PgvError

DATA, MODEL = "data", "model"

RULES = (
    # (part of the parameter's path, spec): the first match decides. Kernels are [E, in, out], of
    # the first layer [E, out, in].
    ("['m']", PartitionSpec()),  # the next-note model is small
    ("out", PartitionSpec()),
    ("first", PartitionSpec(None, MODEL)),
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


def place_shards(mesh: Mesh, shards: int, build: Callable[[range], Any]) -> Any:
    """Arrays [S, ...] over the devices; ``build(own)`` gives numpy's [len(own), ...] of a part.

    Each process builds what its devices hold, a part once.
    """
    placement = split(mesh)
    parts = {
        device: range(*index[0].indices(shards))
        for device, index in placement.addressable_devices_indices_map((shards,)).items()
        if index is not None
    }
    built = {part: build(part) for part in dict.fromkeys(parts.values())}

    def whole(*pieces: Any) -> jax.Array:
        held = dict(zip(built, pieces, strict=True))
        local = [jax.device_put(held[part], device) for device, part in parts.items()]
        shape = (shards, *pieces[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, placement, local)

    return jax.tree.map(whole, *built.values())


def own_shards(array: jax.Array) -> dict[int, Any]:
    """The rows of an array [S, ...] that this process holds, as numpy's, by their numbers."""
    rows: dict[int, Any] = {}
    for part in array.addressable_shards:
        own = range(*part.index[0].indices(array.shape[0]))
        if own[0] not in rows:
            rows.update(zip(own, jax.device_get(part.data), strict=True))
    return rows


def place_same(mesh: Mesh, tree: Any) -> Any:
    """The same numpy arrays on every device; every process gives them."""
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, replicated(mesh), lambda index: x[index]),
        tree,
    )


def to_host(mesh: Mesh, tree: Any) -> Any:
    """Arrays that may be spread over devices and processes, as numpy's; every process calls it."""
    return jax.device_get(_gathering(replicated(mesh))(tree))


@functools.lru_cache
def _gathering(sharding: NamedSharding) -> Callable[[Any], Any]:
    """A program that spreads its argument so; kept, since a run asks for it at every look."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def own_numbers(mesh: Mesh, shards: int) -> list[int]:
    """The logical shards that this process's devices hold."""
    held = split(mesh).addressable_devices_indices_map((shards,)).values()
    return sorted({s for index in held if index for s in range(*index[0].indices(shards))})


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
