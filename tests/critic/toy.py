"""A toy critic, which the tests of whatever reads one share (``toy_critic`` in conftest.py)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx

from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.texts.templates import template_fingerprint

D = 8
ENCODER = HashEncoder(D)
SPEC = CriticSpec(D, (6, 5), 2, True, "gelu", "sigmoid")
HISTORY = 2


@functools.cache
def params() -> dict[str, Any]:
    """Lively parameters: values all over [0, 1], biases and scales that matter."""
    shapes = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: Critic(SPEC, jax.random.key(0)))))
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda x: generator.standard_normal(x.shape, np.float32), shapes)


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "critic": SPEC.to_json(),
        "encoder": {"name": ENCODER.name, "fingerprint": ENCODER.fingerprint},
        "texts": {"history": HISTORY, "fingerprint": template_fingerprint(HISTORY)},
        "objective": {"name": "gc_iql"},
        "heads": ["q", "v"],
        **changes,
    }
