"""How far a text is from what the critic was trained on.

``support.safetensors`` stands beside an artifact's parameters, where ``pgv evaluate`` put it: the
unit vectors of at most some hundred training observations (``observation`` [K, D], float16), and
the distance that is ``usual`` among them, the 95th percentile of 1 - cosine from one to the
nearest of another task.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgv_jax.errors import PgvError
from pgv_jax.files import write_whole

FILE = "support.safetensors"


@dataclass(frozen=True)
class Support:
    """Unit vectors of training observations [K, D], and the usual distance to another task's."""

    vector_KD: np.ndarray
    usual: float

    def distance(self, vector_D: np.ndarray) -> float:
        """1 - cosine to the nearest training observation, as a multiple of the usual distance."""
        norm = max(float(np.linalg.norm(vector_D)), 1e-12)
        gap = 1.0 - float((self.vector_KD @ (vector_D / norm)).max())
        return max(gap, 0.0) / max(self.usual, 1e-6)


def save_support(folder: str | os.PathLike[str], support: Support) -> None:
    """Put the support beside an artifact's parameters, whole or not at all."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {
        "observation": support.vector_KD.astype(np.float16),
        "usual": np.array([support.usual], np.float32),
    }
    write_whole(Path(folder) / FILE, save(arrays))


def load_support(folder: str | os.PathLike[str]) -> Support | None:
    """The support of a critic's folder; None where it holds none."""
    path = Path(folder) / FILE
    if not path.exists():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(path.read_bytes())
        return Support(found["observation"].astype(np.float32), float(found["usual"][0]))
    except (SafetensorError, KeyError, IndexError, ValueError) as error:
        raise PgvError(
            f"{path} is damaged ({error}); remove it, or write it again with `pgv evaluate`."
        ) from None
