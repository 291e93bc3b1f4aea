"""Artifacts with random parameters, of every shape that the layout allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pgv_jax.critic import artifact
from pgv_jax.types import FIELDS

CRITIC = {
    "dim": 12,
    "hidden": [7, 5],
    "ensemble": 2,
    "layer_norm": True,
    "activation": "gelu",
    "head": "sigmoid",
    "outcome_members": 0,
    "outcome_hidden": [],
}


def random_head(generator, fields, members, critic) -> dict[str, np.ndarray]:
    """Parameters of one head by the layout's names and shapes, scaled to keep values lively."""

    def normal(*shape: int, fan_in: int) -> np.ndarray:
        return (generator.standard_normal((members, *shape)) / np.sqrt(fan_in)).astype(np.float32)

    dim, hidden = critic["dim"], critic["hidden"]
    own = {f"{f}/kernel": normal(dim, hidden[0], fan_in=len(fields)) for f in fields}
    own["bias_0"] = normal(hidden[0], fan_in=1)
    for i, width in enumerate(hidden):
        if i:
            own[f"dense_{i}/kernel"] = normal(hidden[i - 1], width, fan_in=hidden[i - 1])
            own[f"dense_{i}/bias"] = normal(width, fan_in=1)
        if critic["layer_norm"]:
            own[f"norm_{i}/scale"] = 1 + normal(width, fan_in=4)
            own[f"norm_{i}/bias"] = normal(width, fan_in=4)
    own["out/kernel"] = normal(hidden[-1], 1, fan_in=hidden[-1])
    own["out/bias"] = normal(1, fan_in=1)
    if critic.get("outcome_members"):
        own |= random_outcome(generator, [f for f in fields if f != "goal"], critic)
    return artifact.unflatten(own)


def random_outcome(generator, fields, critic) -> dict[str, np.ndarray]:
    """Parameters of the expert for outcome goals."""
    members, dim, hidden = critic["outcome_members"], critic["dim"], critic["outcome_hidden"]

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    own = {f"outcome/{f}/kernel": normal(members, dim, 1) for f in fields}
    own |= {"outcome/bias": normal(members, 1), "outcome/goals": normal(2, dim)}
    if hidden:
        plain = {**critic, "hidden": hidden, "outcome_members": 0}
        beside = artifact.flatten(random_head(generator, fields, members, plain))
        own |= {f"outcome/residual/{name}": value for name, value in beside.items()}
    return own


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Path]:
    """``make_artifact(heads=("q", "v"), **critic)`` -> folder of an artifact."""

    def make(heads: tuple[str, ...] = ("q", "v"), **changes: object) -> Path:
        critic = {**CRITIC, **changes}
        generator = np.random.default_rng(0)
        state = [field for field in FIELDS if field != "thought"]
        params = {
            "q": random_head(generator, FIELDS, critic["ensemble"], critic),
            "v": random_head(generator, state, 1, critic),
        }
        name = f"hash:{critic['dim']}"
        manifest = {
            "critic": critic,
            "encoder": {"name": name, "fingerprint": "e" * 64, "describe": {"family": "hash"}},
            "texts": {"history": 0, "fingerprint": "t" * 64},
            "objective": {"name": "gc_iql", "gamma": 0.99},
            "heads": list(heads),
            "goals": {"form": "sentence"},
            "data": {"fingerprint": "d" * 64, "episodes": 3, "steps": 9},
            "metrics": {"auc": 0.75},
        }
        return artifact.save(tmp_path / "artifact", params, manifest)

    return make
