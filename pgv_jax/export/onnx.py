"""Writes an artifact as ONNX models, once ONNX Runtime is shown to give the same values."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pgv_jax.critic.artifact import Artifact
from pgv_jax.export.folder import Form, publish
from pgv_jax.export.inputs import Inputs, Sample, fields_of, programs_of
from pgv_jax.export.parity import Values
from pgv_jax.parts import missing

NEEDS = ("torch", "onnx", "onnxscript", "onnxruntime")
OPSET = 18


def export_onnx(
    artifact: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    logged: Sample | None = None,
) -> dict[str, float]:
    """Write each trained head to OUT as ``q.onnx`` and ``v.onnx``, with config.json and a card.

    Inputs are float32 embeddings [batch, D] by field; outputs the value [batch] and the members'
    [E, batch]. A critic that imagines has ``imagined.onnx``, too, which reads what
    ``scenes.SCENE`` names and gives [N, G] and [E, N, G].
    Returns the parity by set of inputs, see ``folder.publish``.
    """
    absent = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if absent:
        raise missing("The ONNX export", ", ".join(absent), "torch,onnx")
    return publish(artifact, out, Form("onnx", _write, _read), logged) or {}


def _write(folder: Path, artifact: Artifact) -> None:
    import torch

    from pgv_jax.export.programs import program
    from pgv_jax.export.write import write_model

    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch)
        (model / "config.json").write_bytes((folder / "config.json").read_bytes())
        write_model(model, artifact)
        for name in programs_of(artifact.manifest["heads"]):
            with _quiet():
                torch.onnx.export(
                    program(model, name),
                    f=folder / f"{name}.onnx",
                    input_names=fields_of(name),
                    output_names=[name, f"{name}_members"],
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

    @functools.cache
    def opened(name: str) -> Any:
        return onnxruntime.InferenceSession(
            folder / f"{name}.onnx", providers=["CPUExecutionProvider"]
        )

    def values(name: str, inputs: Inputs) -> np.ndarray:
        feed = {field: inputs[field] for field in fields_of(name)}
        return np.asarray(opened(name).run([f"{name}_members"], feed)[0])

    return [values]
