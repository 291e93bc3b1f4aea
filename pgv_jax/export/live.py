"""An exported PyTorch critic that is asked at run time, with texts, and without JAX."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pgv_jax.critic.calibration import known_likelihoods
from pgv_jax.errors import PgvError
from pgv_jax.export.torch import PgvCritic
from pgv_jax.export.torch_texts import open_encoder as open_for_torch
from pgv_jax.texts.templates import History, StepForm, thought_text

if TYPE_CHECKING:
    from pgv_jax.embed.encoder import Encoder

KEPT = 65_536
"""Texts whose vectors stay in memory; one more, and memory starts anew."""


class ExportedCritic:
    """An exported PyTorch critic. It shows no members, and needs no JAX.

    Texts are embedded by the export's own code (sentence-transformers), by a hash or an API encoder
    as in an artifact, or by the ``encoder`` given.
    """

    has_members = False

    def __init__(self, folder: Path, encoder: Encoder | None = None):
        self._critic = PgvCritic.from_pretrained(str(folder))
        texts = self._critic.texts
        self.history: History = texts.get("history", 0)
        self.step: StepForm = texts.get("step", "thought")
        self.folder, self.name = folder, folder.absolute().as_posix()
        self._known: dict[str, np.ndarray] = {}
        self.lookups = (0, 0)
        self._embed = _embedder(self._critic.encoder, encoder)
        self._critic.use_encoder(self.vectors)
        self._lock = threading.RLock()

    def members(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """Q by one that stands for all members: float32 [1, N, G]."""
        thoughts = [thought_text(observation, thought, self.history) for thought in thoughts]
        with self._lock:
            return self._critic.score(observation, thoughts, list(goals), task).numpy()[None]

    def v(self, task: str, observation: str, goals: Sequence[str]) -> np.ndarray:
        """V of every goal: float32 [G]."""
        if "v" not in self._critic.heads:
            raise PgvError(f"The critic {self.folder} has no V head, so it values no state.")
        with torch.no_grad():
            told_2D = torch.as_tensor(self.vectors([task, observation]))
            value_G = self._critic.v(told_2D[0], told_2D[1], torch.as_tensor(self.vectors(goals)))
        return np.asarray(value_G)

    def likelihoods(self, values: np.ndarray, goals: Sequence[str]) -> np.ndarray:
        """Values [..., G], calibrated; NaN for a goal without a calibration."""
        known: Mapping[str, Any] = self._critic.calibration

        def calibrated(goal: str) -> bool:
            return bool(known.get("outcomes", {}).get(goal) or known.get("states"))

        def apply(values: np.ndarray, goals: Sequence[str]) -> np.ndarray:
            told = torch.as_tensor(np.asarray(values, np.float32))
            return np.asarray(self._critic.likelihoods(told, list(goals)), np.float64)

        return known_likelihoods(values, goals, calibrated, apply)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """The embeddings of texts: float32 [len(texts), D]."""
        with self._lock:
            if len(self._known) > KEPT:
                self._known.clear()
            wanted = list(dict.fromkeys(texts))
            new = [text for text in wanted if text not in self._known]
            asked, found = self.lookups
            self.lookups = asked + len(wanted), found + len(wanted) - len(new)
            if new:
                self._known.update(zip(new, np.asarray(self._embed(new), np.float32), strict=True))
            return np.stack([self._known[text] for text in texts])

    def warm_up(self, thoughts: int, goals: int) -> None:
        """Read for the first time; nothing is compiled."""
        del thoughts, goals
        self.vectors(["Ready."])


def _embedder(described: Mapping[str, Any], encoder: Encoder | None) -> Callable[[list[str]], Any]:
    """The function that embeds texts for an exported critic; the wrong encoder is an error."""
    name = str(described.get("name", ""))
    if encoder is None and name.partition(":")[0] in ("hash", "api"):
        from pgv_jax.embed.encoder_specs import open_encoder

        encoder = open_encoder(name)
    if encoder is not None:
        if described.get("fingerprint") not in (None, encoder.fingerprint):
            raise PgvError(
                f"The exported critic was trained on embeddings of '{name}'; the encoder at hand, "
                f"'{encoder.name}', is another one."
            )
        return encoder.encode
    try:
        return open_for_torch(described)
    except (ValueError, ImportError) as error:
        raise PgvError(f"The exported critic cannot read texts here: {error}.") from None
