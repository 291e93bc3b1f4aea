"""Writes an artifact as StableHLO programs by ``jax.export``: they run without this package."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from pgv_jax.critic.artifact import Artifact
from pgv_jax.critic.heads import Q_FIELDS, V_FIELDS
from pgv_jax.export.folder import Form, publish
from pgv_jax.export.inputs import Inputs
from pgv_jax.export.parity import Values, jax_head

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
HEAD_FIELDS = {"q": Q_FIELDS, "v": V_FIELDS}
SUFFIX = ".jaxexport"


def export_jax(
    artifact: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    logged: Inputs | None = None,
) -> dict[str, float]:
    """Write each trained head to OUT as ``q.jaxexport`` and ``v.jaxexport``, with a card.

    A program takes float32 embeddings [batch, D], one a field in the order of ``FIELDS``, and
    gives the value [batch] and the members' [E, batch]; the batch is symbolic and the parameters
    are inside. Returns the parity by set of inputs, see ``folder.publish``.
    """
    return publish(artifact, out, Form("jax", _write, _read), logged) or {}


def _write(folder: Path, artifact: Artifact) -> None:
    (batch,) = jax.export.symbolic_shape("batch")
    rows = jax.ShapeDtypeStruct((batch, artifact.manifest["critic"]["dim"]), jnp.float32)
    for head in artifact.manifest["heads"]:
        fields = HEAD_FIELDS[head]
        # The precision is written into the program, so it holds wherever the program runs.
        with jax.default_matmul_precision("highest"):
            exported = jax.export.export(_pairs(artifact, head), platforms=PLATFORMS)(
                *[rows] * len(fields)
            )
        (folder / f"{head}{SUFFIX}").write_bytes(exported.serialize())


def _pairs(artifact: Artifact, head: str) -> jax.stages.Wrapped:
    values = jax_head(artifact, head)

    def pairs(*embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
        members_EB = values(dict(zip(HEAD_FIELDS[head], embeddings, strict=True)))
        return members_EB.mean(0), members_EB

    return jax.jit(pairs)


def _read(folder: Path) -> list[Values]:
    def values(head: str, inputs: Inputs) -> np.ndarray:
        exported = jax.export.deserialize(bytearray((folder / f"{head}{SUFFIX}").read_bytes()))
        return np.asarray(exported.call(*(inputs[field] for field in HEAD_FIELDS[head]))[1])

    return [values]
