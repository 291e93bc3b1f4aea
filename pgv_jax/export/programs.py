"""The critic's heads as ``torch.export`` programs on aligned pairs; the step before ONNX, too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pgv_jax.export.inputs import Inputs
from pgv_jax.export.parity import Values
from pgv_jax.export.torch import PgvCritic
from pgv_jax.types import FIELDS

EXAMPLE_ROWS = 3
"""Rows of the example that is traced; 0 and 1 would be taken for fixed sizes."""


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


PAIRS: dict[str, type[nn.Module]] = {"q": QPairs, "v": VPairs}


def fields_of(head: str) -> list[str]:
    """What a head reads, in the order of its program's inputs."""
    return [field for field in FIELDS if head == "q" or field != "thought"]


def program(folder: Path, head: str) -> Any:
    """One head of a PyTorch folder as a ``torch.export.ExportedProgram``; B is any from 1 on."""
    critic = PgvCritic.from_pretrained(folder)
    for other in set(critic.heads) - {head}:
        delattr(critic, f"{other}_head")  # a program holds its own parameters only
    example = {field: torch.zeros(EXAMPLE_ROWS, critic.dim) for field in fields_of(head)}
    batch = torch.export.Dim("batch", min=1)
    shapes = {field: {0: batch} for field in example}
    pairs = PAIRS[head](critic).eval().requires_grad_(False)
    return torch.export.export(pairs, args=(), kwargs=example, dynamic_shapes=shapes)


def write_programs(folder: Path, heads: Iterable[str]) -> None:
    """Add ``q.pt2`` and ``v.pt2`` to a PyTorch folder."""
    for head in heads:
        torch.export.save(program(folder, head), folder / f"{head}.pt2")


def module_values(folder: Path) -> Values:
    """The values of a PyTorch folder, by the module."""
    critic = PgvCritic.from_pretrained(folder)

    def values(head: str, inputs: Inputs) -> np.ndarray:
        tensors = {field: torch.from_numpy(inputs[field]) for field in fields_of(head)}
        with torch.no_grad():
            members = critic.q_ensemble if head == "q" else critic.v_ensemble
            return np.asarray(members(**tensors).numpy())

    return values


def program_values(folder: Path) -> Values:
    """The values of a PyTorch folder, by its ``torch.export`` programs."""

    def values(head: str, inputs: Inputs) -> np.ndarray:
        module = torch.export.load(folder / f"{head}.pt2").module()
        tensors = {field: torch.from_numpy(inputs[field]) for field in fields_of(head)}
        return np.asarray(module(**tensors)[1].detach().numpy())

    return values
