"""Writes an artifact as StableHLO programs by ``jax.export``: they run without this package."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import jax
import jax.export
import numpy as np

from pgv_jax.critic.artifact import Artifact
from pgv_jax.export.folder import Form, publish
from pgv_jax.export.inputs import IMAGINED, Inputs, Sample, fields_of, programs_of
from pgv_jax.export.parity import Values, jax_program
from pgv_jax.export.scenes import SCENE, dtype_of

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
SUFFIX = ".jaxexport"


def export_jax(
    artifact: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    logged: Sample | None = None,
) -> dict[str, float]:
    """Write each trained head to OUT as ``q.jaxexport`` and ``v.jaxexport``, with a card.

    A program takes float32 embeddings [batch, D], one a field in the order of ``FIELDS``, and
    gives the value [batch] and the members' [E, batch]; the batch is symbolic and the parameters
    are inside. A critic that imagines has ``imagined.jaxexport``, too, which reads what
    ``scenes.SCENE`` names in that order and gives [N, G] and [E, N, G].
    Returns the parity by set of inputs, see ``folder.publish``.
    """
    return publish(artifact, out, Form("jax", _write, _read), logged) or {}


def _write(folder: Path, artifact: Artifact) -> None:
    for name in programs_of(artifact.manifest["heads"]):
        # The precision is written into the program, so it holds wherever the program runs.
        with jax.default_matmul_precision("highest"):
            inputs = _inputs(name, artifact.manifest["critic"]["dim"])
            exported = jax.export.export(_program(artifact, name), platforms=PLATFORMS)(*inputs)
        (folder / f"{name}{SUFFIX}").write_bytes(exported.serialize())


def _inputs(name: str, dim: int) -> list[jax.ShapeDtypeStruct]:
    """Shapes and types of a program's inputs; all sizes but D stay open."""
    axes = SCENE if name == IMAGINED else {field: ("batch", "D") for field in fields_of(name)}
    names = sorted({axis for own in axes.values() for axis in own} - {"D"})
    sizes = dict(zip(names, jax.export.symbolic_shape(",".join(names)), strict=True)) | {"D": dim}
    return [
        jax.ShapeDtypeStruct([sizes[axis] for axis in own], dtype_of(field))
        for field, own in axes.items()
    ]


def _program(artifact: Artifact, name: str) -> jax.stages.Wrapped:
    values = jax_program(artifact, name)

    def program(*inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        members = values(dict(zip(fields_of(name), inputs, strict=True)))
        return members.mean(0), members

    return jax.jit(program)


def _read(folder: Path) -> list[Values]:
    @functools.cache
    def opened(name: str) -> jax.export.Exported:
        return jax.export.deserialize(bytearray((folder / f"{name}{SUFFIX}").read_bytes()))

    def values(name: str, inputs: Inputs) -> np.ndarray:
        return np.asarray(opened(name).call(*(inputs[field] for field in fields_of(name)))[1])

    return [values]
