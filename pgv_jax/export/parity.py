"""Do all forwards of one critic say the same? The formula in float64, the JAX critic, an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.critic.artifact import Artifact
from pgv_jax.critic.heads import Critic, CriticSpec, link
from pgv_jax.export.inputs import Inputs
from pgv_jax.export.reference import head_values

PARITY_LIMIT = 1e-5

Values = Callable[[str, Inputs], np.ndarray]
"""What an export says: (head, inputs) -> each member's values [E, B]."""


def parity(
    forwards: Sequence[Values], artifact: Artifact, inputs: Mapping[str, Inputs]
) -> dict[str, float]:
    """Largest ``difference`` of any of ``forwards`` over the trained heads, by set of inputs.

    The references are the formula in float64 and the JAX critic, whichever is further away.
    """
    spec = CriticSpec.from_json(artifact.manifest["critic"]).to_json()
    found = {}
    for name, plain in inputs.items():
        differences = []
        for head in artifact.manifest["heads"]:
            given = _with_outcomes(artifact.params[head], plain)
            formula = head_values(artifact.params[head], spec, given)
            ours = _jax_values(artifact, head, given)
            for values in forwards:
                actual = values(head, given)
                differences += [difference(actual, formula), difference(actual, ours)]
        found[name] = float(np.max(differences))  # not max(): NaN must stay NaN
    return found


def _with_outcomes(params: Mapping[str, Any], inputs: Inputs) -> Inputs:
    """Every third goal becomes an outcome's, where the head has an expert for outcomes."""
    if "outcome" not in params:
        return inputs
    goals = inputs["goal"].copy()
    goals[::3] = np.resize(params["outcome"]["goals"], goals[::3].shape)
    return {**inputs, "goal": goals}


def within_limit(found: Mapping[str, float]) -> bool:
    """Whether every set of inputs is within PARITY_LIMIT; NaN is not."""
    return all(value <= PARITY_LIMIT for value in found.values())


def in_words(found: Mapping[str, float]) -> str:
    """``1.2e-07 on random inputs, 8.0e-08 on logged inputs``."""
    return ", ".join(f"{value:.1e} on {name} inputs" for name, value in found.items())


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest |actual - expected| / max(1, |expected|); NaN where either is NaN."""
    return float(np.max(np.abs(actual - expected) / np.maximum(1, np.abs(expected))))


def jax_head(artifact: Artifact, head: str) -> Callable[[Mapping[str, Any]], jax.Array]:
    """One head of an artifact as a function of embeddings {field: [B, D]} -> values [E, B].

    Accelerators multiply in fewer bits unless told otherwise: trace it under
    ``jax.default_matmul_precision("highest")``.
    """
    spec = CriticSpec.from_json(artifact.manifest["critic"])
    abstract = nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))
    graph, state = nnx.split(getattr(abstract, head))
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, artifact.params[head]))
    return lambda inputs: link(nnx.merge(graph, state)(inputs), spec.head)


def _jax_values(artifact: Artifact, head: str, inputs: Inputs) -> np.ndarray:
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax_head(artifact, head)(inputs))
