"""How fast an update could be, and is: its arithmetic, and what a device's matrix product reaches.

The arithmetic is that of the matrix products alone, as ``step.predict`` does them; what XLA adds or
saves is not in it, nor is the next-note model of a critic that imagines.
"""

from __future__ import annotations

import functools
import itertools
import time

import jax
import jax.numpy as jnp

from pgv_jax.config import TrainConfig
from pgv_jax.critic.heads import CriticSpec

GEMM = {"cpu": 1024}
"""Side of the square matrices whose product is timed; ``GEMM_ELSEWHERE`` on an accelerator."""
GEMM_ELSEWHERE = 8192
GEMM_ROUNDS = 5


def flops_per_update(spec: CriticSpec, batch: int, goals: int, tasks: int | None) -> int:
    """Floating-point operations of one update; ``tasks`` distinct ones are projected (None: B).

    Q: forward, its slow copy's forward, backward. V: forward at s and s', backward at s. First
    layers need no gradient of their inputs.
    """
    triples = batch * goals
    widths = (*spec.hidden, 1)
    deeper = sum(a * b for a, b in itertools.pairwise(widths))
    picked = 0 if tasks is None else batch * tasks * spec.hidden[0]
    task = (batch if tasks is None else tasks) * spec.dim * spec.hidden[0] + picked
    field = batch * spec.dim * spec.hidden[0]
    # Once forward and once for the kernel's gradient; deeper layers pass a gradient on as well.
    q = spec.ensemble * (3 * (task + 3 * field) + 4 * triples * deeper)
    v = 2 * (task + 2 * field) + field + 4 * triples * deeper
    return 2 * (q + v)


class Speed:
    """Rates of the calls of a run: from the end of one to the end of the next."""

    def __init__(self, spec: CriticSpec, train: TrainConfig, devices: int, tasks: int | None):
        self._train, self._flops = train, flops_per_update(spec, train.batch, train.goals, tasks)
        self._peak = devices * gemm_rate(train.compute)  # measured now, while nothing else runs
        self._before = time.perf_counter()

    def __call__(self, updates: int) -> dict[str, float]:
        """Numbers of the call of ``updates`` that has just ended; the first includes compiling."""
        now = time.perf_counter()
        rate, self._before = updates / (now - self._before), now
        steps = self._train.batch * rate
        flops = self._flops * rate
        told = {
            "updates_per_s": rate,
            "transitions_per_s": steps,
            "triples_per_s": steps * self._train.goals,
            "flops_per_s": flops,
            "gemm_share": flops / self._peak,
        }
        peak = peak_bytes()
        return told if peak is None else {**told, "device_peak_bytes": peak}


@functools.cache
def gemm_rate(compute: str) -> float:
    """FLOP/s that one local device reaches in a large square product of ``compute``, the best."""
    side = GEMM.get(jax.default_backend(), GEMM_ELSEWHERE)
    # Random: products of constant matrices run faster than those of data.
    x = jax.random.normal(jax.random.key(0), (side, side))
    x = x.astype(jnp.bfloat16) if compute == "bfloat16" else x
    exact = compute == "float32"
    precision = jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=precision)).lower(x).compile()
    product(x).block_until_ready()
    best = float("inf")
    for _ in range(GEMM_ROUNDS):
        begin = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best


def peak_bytes() -> int | None:
    """The most memory that any local device has held; None where devices do not tell (a CPU)."""
    told = [
        (device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()
    ]
    return max((n for n in told if n is not None), default=None)
