"""Writes an artifact as ONNX models, once ONNX Runtime is shown to give the same values."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pgv_jax.critic.artifact import Artifact
from pgv_jax.errors import PgvError
from pgv_jax.export.folder import Form, publish
from pgv_jax.export.inputs import Inputs
from pgv_jax.export.parity import Values

NEEDS = ("torch", "onnx", "onnxscript", "onnxruntime")
OPSET = 18


def export_onnx(
    artifact: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    logged: Inputs | None = None,
) -> dict[str, float]:
    """Write each trained head to OUT as ``q.onnx`` and ``v.onnx``, with config.json and a card.

    Inputs are float32 embeddings [batch, D] by field; outputs the value [batch] and the members'
    [E, batch]. Returns the parity by set of inputs, see ``folder.publish``.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise PgvError(
            f"The ONNX export needs {', '.join(missing)}, not installed here; install the extras "
            "torch and onnx (pip install 'pgv-jax[torch,onnx]')."
        )
    return publish(artifact, out, Form("onnx", _write, _read), logged) or {}


def _write(folder: Path, artifact: Artifact) -> None:
    import torch

    from pgv_jax.export.programs import fields_of, program
    from pgv_jax.export.write import write_model

    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch)
        (model / "config.json").write_bytes((folder / "config.json").read_bytes())
        write_model(model, artifact)
        for head in artifact.manifest["heads"]:
            with _quiet():
                torch.onnx.export(
                    program(model, head),
                    f=folder / f"{head}.onnx",
                    input_names=fields_of(head),
                    output_names=[head, f"{head}_members"],
                    opset_version=OPSET,
                    external_data=False,
                    verbose=False,
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself: a missing torchvision, names of its own."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _read(folder: Path) -> list[Values]:
    import onnxruntime

    from pgv_jax.export.programs import fields_of

    def values(head: str, inputs: Inputs) -> np.ndarray:
        session = onnxruntime.InferenceSession(
            folder / f"{head}.onnx", providers=["CPUExecutionProvider"]
        )
        feed = {field: inputs[field] for field in fields_of(head)}
        return np.asarray(session.run([f"{head}_members"], feed)[0])

    return [values]
