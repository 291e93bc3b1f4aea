"""The critic's heads as ``torch.export`` programs, and imagined Q; the step before ONNX, too."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pgv_jax.export.inputs import IMAGINED, Inputs, fields_of, programs_of
from pgv_jax.export.parity import Values
from pgv_jax.export.scenes import SCENE, dtype_of
from pgv_jax.export.torch import PgvCritic

EXAMPLE_ROWS = 3
"""Rows of the example that is traced; 0 and 1 would be taken for fixed sizes."""
EXAMPLE_SIZES = {"L": 5, "M": 3, "N": 2, "G": 4}
"""The same of a scene; equal sizes would be taken for one."""


class QPairs(nn.Module):
    """Embeddings [B, D] a field -> Q [B], and by member of the ensemble [E, B]."""

    def __init__(self, critic: PgvCritic):
        super().__init__()
        self.critic = critic

    def forward(
        self, task: Tensor, observation: Tensor, thought: Tensor, goal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Q of aligned rows."""
        members = self.critic.q_ensemble(task, observation, thought, goal)
        return members.mean(0), members


class VPairs(nn.Module):
    """Embeddings [B, D] a field -> V [B], and by member [E, B]."""

    def __init__(self, critic: PgvCritic):
        super().__init__()
        self.critic = critic

    def forward(self, task: Tensor, observation: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """V of aligned rows."""
        members = self.critic.v_ensemble(task, observation, goal)
        return members.mean(0), members


class ImaginedGrid(nn.Module):
    """One step's scene -> imagined Q [N, G], and by member of the ensemble [E, N, G]."""

    def __init__(self, critic: PgvCritic):
        super().__init__()
        self.critic = critic

    def forward(
        self,
        task: Tensor,
        note_parts: Tensor,
        note_there: Tensor,
        task_parts: Tensor,
        task_there: Tensor,
        rest: Tensor,
        thought: Tensor,
        goal: Tensor,
        at: Tensor,
        kind: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Imagined Q of every thought for every goal."""
        note, tasks = (note_parts, note_there), (task_parts, task_there)
        given = (task, *note, *tasks, rest, thought, goal, at, kind)
        members = self.critic.imagined_ensemble(**dict(zip(SCENE, given, strict=True)))
        return members.mean(0), members


MODULES: dict[str, type[nn.Module]] = {"q": QPairs, "v": VPairs, IMAGINED: ImaginedGrid}
HEADS_OF = {"q": {"q"}, "v": {"v"}, IMAGINED: {"v", "m"}}


def program(folder: Path, name: str) -> Any:
    """One program of a PyTorch folder as a ``torch.export.ExportedProgram``.

    Its rows, or the sizes of its scene, are any from 1 on.
    """
    critic = PgvCritic.from_pretrained(folder)
    for other in set(critic.heads) - HEADS_OF[name]:
        delattr(critic, f"{other}_head")  # a program holds its own parameters only
    module = MODULES[name](critic).eval().requires_grad_(False)
    example, shapes = _example(name, critic.dim)
    return torch.export.export(module, args=(), kwargs=example, dynamic_shapes=shapes)


def _example(name: str, dim: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inputs to trace a program on, and which of their sizes stay open."""
    if name != IMAGINED:
        example = {field: torch.zeros(EXAMPLE_ROWS, dim) for field in fields_of(name)}
        batch = torch.export.Dim("batch", min=1)
        return example, {field: {0: batch} for field in example}
    sizes = EXAMPLE_SIZES | {"D": dim}
    open_ = {axis: torch.export.Dim(axis, min=1) for axis in EXAMPLE_SIZES}
    example = {
        field: torch.from_numpy(np.zeros([sizes[axis] for axis in axes], dtype_of(field)))
        for field, axes in SCENE.items()
    }
    shapes = {
        field: {i: open_[axis] for i, axis in enumerate(axes) if axis in open_}
        for field, axes in SCENE.items()
    }
    return example, shapes


def write_programs(folder: Path, heads: Iterable[str]) -> None:
    """Add ``q.pt2`` and ``v.pt2`` to a PyTorch folder, and ``imagined.pt2`` of an imagining one."""
    for name in programs_of(heads):
        torch.export.save(program(folder, name), folder / f"{name}.pt2")


def module_values(folder: Path) -> Values:
    """The values of a PyTorch folder, by the module."""
    critic = PgvCritic.from_pretrained(folder)

    def values(name: str, inputs: Inputs) -> np.ndarray:
        tensors = {field: torch.from_numpy(inputs[field]) for field in fields_of(name)}
        with torch.no_grad():
            members = getattr(critic, f"{name}_ensemble")
            return np.asarray(members(**tensors).numpy())

    return values


def program_values(folder: Path) -> Values:
    """The values of a PyTorch folder, by its ``torch.export`` programs."""
    opened = functools.cache(lambda name: torch.export.load(folder / f"{name}.pt2").module())

    def values(name: str, inputs: Inputs) -> np.ndarray:
        tensors = {field: torch.from_numpy(inputs[field]) for field in fields_of(name)}
        return np.asarray(opened(name)(**tensors)[1].detach().numpy())

    return values
