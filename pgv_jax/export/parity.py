"""Do all forwards of one critic say the same? The formula in float64, the JAX critic, an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.critic.artifact import Artifact
from pgv_jax.critic.heads import Critic, CriticSpec, Head, link
from pgv_jax.critic.imagined import imagined_values as critic_imagined_values
from pgv_jax.critic.imagined import model_of
from pgv_jax.critic.next_note import separated
from pgv_jax.export.inputs import IMAGINED, Inputs, Sample, programs_of
from pgv_jax.export.reference import head_values, imagined_values
from pgv_jax.export.scenes import padded, question_of

PARITY_LIMIT = 1e-5
LEAST = {"L": 32, "M": 8, "N": 4, "G": 8}
"""The JAX critic meets scenes padded to this, as it does at run time, so that it compiles once."""

Values = Callable[[str, Inputs], np.ndarray]
"""What an export says: (program, inputs) -> each member's values [E, B], or [E, N, G]."""


def parity(
    forwards: Sequence[Values], artifact: Artifact, inputs: Mapping[str, Sample]
) -> dict[str, float]:
    """Largest ``difference`` of any of ``forwards`` over the programs, by sample.

    The references are the formula in float64 and the JAX critic, whichever is further away.
    """
    found: dict[str, list[float]] = {name: [] for name in inputs}
    for program in programs_of(artifact.manifest["heads"]):
        references = _references(artifact, program)
        for name, sample in inputs.items():
            for given in sample.of(program):
                if program != IMAGINED:
                    given = _with_outcomes(artifact.params[program], given)
                expected = [reference(given) for reference in references]
                for values in forwards:
                    actual = values(program, given)
                    found[name] += [difference(actual, right) for right in expected]
    # Not max(): NaN must stay NaN.
    return {name: float(np.max(differences)) for name, differences in found.items()}


def _references(artifact: Artifact, program: str) -> list[Callable[[Inputs], np.ndarray]]:
    """The formula and the JAX critic."""
    spec = CriticSpec.from_json(artifact.manifest["critic"]).to_json()
    if program != IMAGINED:
        params = artifact.params[program]
        return [
            lambda given: head_values(params, spec, given),
            lambda given: _jax_values(artifact, program, given),
        ]
    gamma = artifact.manifest["objective"]["gamma"]
    compiled = jax.jit(jax_program(artifact, program))

    def ours(given: Inputs) -> np.ndarray:
        with jax.default_matmul_precision("highest"):
            values_ENG = np.asarray(compiled(padded(given, LEAST)))
        return values_ENG[:, : len(given["thought"]), : len(given["goal"])]

    return [lambda given: imagined_values(artifact.params, spec, gamma, given), ours]


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


def jax_program(artifact: Artifact, program: str) -> Callable[[Mapping[str, Any]], jax.Array]:
    """One program of an artifact as a function of its inputs -> each member's values.

    Accelerators multiply in fewer bits unless told otherwise: trace it under
    ``jax.default_matmul_precision("highest")``.
    """
    linked = artifact.manifest["critic"]["head"]
    if program == IMAGINED:
        model = model_of(*jax.tree.map(jnp.asarray, separated(artifact.params["m"])))
        v, gamma = _opened(artifact, "v"), artifact.manifest["objective"]["gamma"]
        return lambda scene: critic_imagined_values(model, v(), question_of(scene), linked, gamma)[
            0
        ]
    head = _opened(artifact, program)
    return lambda inputs: link(head()(inputs), linked)


def _opened(artifact: Artifact, head: str) -> Callable[[], Head]:
    spec = CriticSpec.from_json(artifact.manifest["critic"])
    abstract = nnx.eval_shape(lambda: Critic(spec, jax.random.key(0)))
    graph, state = nnx.split(getattr(abstract, head))
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, artifact.params[head]))
    return lambda: nnx.merge(graph, state)


def _jax_values(artifact: Artifact, head: str, inputs: Inputs) -> np.ndarray:
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax_program(artifact, head)(inputs))
