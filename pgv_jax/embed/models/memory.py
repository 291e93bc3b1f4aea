"""Will the weights fit? Asked before anything is read."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from pgv_jax.embed.models.sharding import MODEL
from pgv_jax.errors import PgvError

_GIB = 2**30


def check_room(folder: Path, needed: int, dtype: jnp.dtype, mesh: Mesh | None) -> None:
    """Raise PgvError where ``needed`` bytes of weights exceed the free memory of the devices."""
    parts = 1 if mesh is None else mesh.shape[MODEL]
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    # The "devices" of a CPU mesh share one memory.
    share = needed if device.platform == "cpu" else needed // parts
    free = free_bytes(device)
    if free is not None and share > free:
        smaller = "dtype=bfloat16, " if dtype == jnp.float32 else ""
        raise PgvError(
            f"The weights of {folder} need {share / _GIB:.2f} GiB on each device as {dtype.name}, "
            f"{free / _GIB:.2f} GiB are free on {device.platform}; use {smaller}a lower layer, "
            "more devices or a smaller model."
        )


def free_bytes(device: jax.Device) -> int | None:
    """Free memory of a device (of the host for a CPU), None where nobody tells."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else int(limit - stats.get("bytes_in_use", 0))
    free = [_meminfo(), _cgroup()]
    known = [value for value in free if value is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _cgroup() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        limit = int((root / "memory.max").read_text())
        return limit - int((root / "memory.current").read_text())
    except (OSError, ValueError):
        return None
