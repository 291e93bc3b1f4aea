"""pgv_jax: a goal-conditioned critic, learned from agent logs, that helps an API model plan.

The names below are the public surface; each loads its module on first use, so that
``import pgv_jax`` costs nothing and imports neither jax nor transformers nor tfds nor torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Episode": "pgv_jax.types",
    "Step": "pgv_jax.types",
    "Candidate": "pgv_jax.types",
    "PgvError": "pgv_jax.errors",
    "ValueFunction": "pgv_jax.critic.value",
    "Guide": "pgv_jax.guide.guide",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'pgv_jax' has no attribute {name!r}")
