"""Rotary positions (Su et al. 2021, arXiv:2104.09864), with the scalings that configs ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgv_jax.errors import PgvError

ROPE_TYPES = ("default", "linear", "llama3")


@dataclass(frozen=True)
class Rope:
    """Base frequency and scaling. ``low``, ``high`` and ``original`` are llama3's only.

    ``stretch`` divides each frequency, where a file states it number by number (GGUF's Llama 3).
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    stretch: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, config: Mapping[str, Any], source: str) -> Rope:
        """Read ``rope_parameters`` or the older ``rope_theta`` and ``rope_scaling``."""
        scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind not in ROPE_TYPES:
            raise PgvError(
                f"{source} asks for rope_type {kind!r}; supported are {', '.join(ROPE_TYPES)}."
            )
        if scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
            raise PgvError(f"{source} rotates a part of each head; only whole heads are supported.")
        return cls(
            theta=float(scaling.get("rope_theta", config.get("rope_theta", 10000.0))),
            kind=kind,
            factor=float(scaling.get("factor", 1.0)),
            low=float(scaling.get("low_freq_factor", 1.0)),
            high=float(scaling.get("high_freq_factor", 4.0)),
            original=int(scaling.get("original_max_position_embeddings", 8192)),
        )

    def frequencies(self, head_dim: int) -> np.ndarray:
        """float32 [head_dim / 2]: radians a token for each pair of numbers."""
        exponent = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        frequency = np.float32(1.0) / np.float32(self.theta) ** exponent
        if self.stretch:
            frequency /= np.asarray(self.stretch, np.float32)
        if self.kind == "linear":
            return frequency / np.float32(self.factor)
        if self.kind == "llama3":
            return self._llama3(frequency).astype(np.float32)
        return frequency

    def _llama3(self, frequency: np.ndarray) -> np.ndarray:
        """Slow waves are stretched by ``factor``, fast ones kept, a ramp lies between."""
        waves = self.original * frequency / (2 * math.pi)
        ramp = np.clip((waves - self.low) / (self.high - self.low), 0.0, 1.0)
        return frequency * ((1 - ramp) / self.factor + ramp)


def rotation(positions_BL: jax.Array, frequencies: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """cos and sin, float32 [B, L, 1, head_dim], of positions int32 [B, L]."""
    angles = positions_BL[..., None].astype(jnp.float32) * frequencies[None, None]
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotate the pairs (i, i + head_dim/2) of x [B, L, heads, head_dim]."""
    half = x.shape[-1] // 2
    turned = jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return (x.astype(jnp.float32) * cos + turned.astype(jnp.float32) * sin).astype(x.dtype)
