"""Writes an artifact as a PyTorch model folder, once it is shown to give the same values."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from pgv_jax.critic.artifact import Artifact, flatten
from pgv_jax.export.folder import Form, publish
from pgv_jax.export.inputs import Sample
from pgv_jax.export.parity import Values
from pgv_jax.parts import missing


def export_torch(
    artifact: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    logged: Sample | None = None,
    programs: bool = False,
) -> dict[str, float] | None:
    """Write the artifact to OUT as config.json, model.safetensors, a model card and its modules.

    ``programs`` adds each trained head as a ``torch.export`` program, ``q.pt2`` and ``v.pt2``, and
    ``imagined.pt2`` of a critic that imagines. ``logged`` are embeddings of logged texts on which
    parity is checked as well. Returns the parity by set of inputs, None where PyTorch is not
    installed; see ``folder.publish``.
    """
    installed = importlib.util.find_spec("torch") is not None
    if programs and not installed:
        raise missing("Writing torch.export programs", "PyTorch", "torch")

    def write(folder: Path, opened: Artifact) -> None:
        write_model(folder, opened)
        if programs:
            from pgv_jax.export.programs import write_programs

            write_programs(folder, opened.manifest["heads"])

    return publish(artifact, out, Form("torch", write, _read if installed else None), logged)


def write_model(folder: Path, artifact: Artifact) -> None:
    """Add the weights, and the modules that read them and embed texts, to a folder."""
    # Only trained heads: the others' parameters are noise that nobody should score with.
    state = {
        f"{head}_head.{name.replace('/', '.')}": np.asarray(value, np.float32)
        for head in artifact.manifest["heads"]
        for name, value in flatten(artifact.params[head]).items()
    }
    # Not save_file, which leaves a file that its owner alone can read.
    (folder / "model.safetensors").write_bytes(save(state, metadata={"format": "pt"}))
    here = Path(__file__).parent
    shutil.copyfile(here / "torch.py", folder / "pgv_critic.py")
    shutil.copyfile(here / "torch_texts.py", folder / "torch_texts.py")
    if "m" in artifact.manifest["heads"]:
        shutil.copyfile(here / "torch_imagined.py", folder / "torch_imagined.py")


def _read(folder: Path) -> list[Values]:
    """The written files as PyTorch reads them: the module, and the programs where there are any."""
    from pgv_jax.export.programs import module_values, program_values

    found = [module_values(folder)]
    if any(folder.glob("*.pt2")):
        found.append(program_values(folder))
    return found
