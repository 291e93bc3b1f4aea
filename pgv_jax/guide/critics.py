"""What a guide asks: a published artifact (JAX), or an exported folder (PyTorch, without JAX)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pgv_jax.critic.calibration import known_likelihoods
from pgv_jax.errors import PgvError
from pgv_jax.texts.templates import History, StepForm

if TYPE_CHECKING:
    from pgv_jax.embed.encoder import Encoder

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FILES = ["*.json", "*.safetensors"]
"""What is fetched of a model on the hub; programs of strangers are not."""


class GuideCritic(Protocol):
    """What a guide needs of a critic."""

    name: str
    history: History
    step: StepForm
    folder: Path
    has_members: bool

    def members(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """Q by each member, or by one that stands for all: float32 [E, N, G]."""
        ...

    def v(self, task: str, observation: str, goals: Sequence[str]) -> np.ndarray:
        """V of every goal: float32 [G]."""
        ...

    def likelihoods(self, values: np.ndarray, goals: Sequence[str]) -> np.ndarray:
        """Values [..., G], calibrated; NaN for a goal without a calibration."""
        ...

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """The embeddings of texts: float32 [len(texts), D]."""
        ...

    def warm_up(self, thoughts: int, goals: int) -> None:
        """Make ready for decisions of at most so many thoughts and goals."""
        ...

    @property
    def lookups(self) -> tuple[int, int]:
        """Distinct texts that calls asked for so far, and how many of them were in memory."""
        ...


def open_critic(
    source: str | os.PathLike[str],
    encoder: Encoder | None = None,
    store: str | os.PathLike[str] | None = None,
) -> GuideCritic:
    """Open an artifact, an exported PyTorch folder, or either by its id on the Hugging Face hub."""
    folder = _folder(source)
    if (folder / "manifest.json").exists():
        return ArtifactCritic(folder, encoder, store)
    if (folder / "config.json").exists() and (folder / "model.safetensors").exists():
        if store is not None:
            raise PgvError(f"{folder} is an exported critic, which reads no store of embeddings.")
        try:
            from pgv_jax.export.live import ExportedCritic
        except ImportError as error:
            raise PgvError(
                f"{folder} is an exported critic, which needs PyTorch ({error}); install it, or "
                "load the artifact."
            ) from None
        return ExportedCritic(folder, encoder)
    raise PgvError(
        f"{source} is neither an artifact (`pgv train` writes one to WORKDIR/artifact) nor an "
        "exported critic (`pgv export torch` writes one)."
    )


def _folder(source: str | os.PathLike[str]) -> Path:
    folder = Path(source)
    if folder.exists() or not HUB_ID.fullmatch(str(source)):
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise PgvError(
            f"{source} is no folder here, and the hub did not give a model of that name ({why})."
        ) from None


class ArtifactCritic:
    """A published artifact; one call at a time, as its caches are shared."""

    has_members = True

    def __init__(
        self,
        folder: Path,
        encoder: Encoder | None = None,
        store: str | os.PathLike[str] | None = None,
    ):
        from pgv_jax.critic.value import ValueFunction

        self._critic = ValueFunction.load(folder, encoder=encoder, store=store)
        self._lock = threading.Lock()
        self.folder, self.name = folder, folder.absolute().as_posix()
        self.history, self.step = self._critic.history, self._critic.step

    def members(
        self, task: str, observation: str, thoughts: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """See ``GuideCritic``."""
        with self._lock:
            return self._critic.q_ensemble(task, observation, thoughts, goals)

    def v(self, task: str, observation: str, goals: Sequence[str]) -> np.ndarray:
        """See ``GuideCritic``."""
        with self._lock:
            return self._critic.v(task, observation, goals)

    def likelihoods(self, values: np.ndarray, goals: Sequence[str]) -> np.ndarray:
        """See ``GuideCritic``."""
        return known_likelihoods(values, goals, self._critic.calibrated, self._critic.likelihoods)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """See ``GuideCritic``."""
        with self._lock:
            return self._critic.vectors(texts)

    def warm_up(self, thoughts: int, goals: int) -> None:
        """See ``GuideCritic``."""
        with self._lock:
            self._critic.warm_up(thoughts, goals)

    @property
    def lookups(self) -> tuple[int, int]:
        """See ``GuideCritic``."""
        return self._critic.lookups
