"""An episode that is to be played: of which task, from which seed, about which goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """An episode to play. ``proposals`` names its chance: specs that share it share proposals.

    With a ``goal`` the task stays what it is, but the episode is about that sentence: success is
    that it stands in a note, and the episode ends there. The actions of ``start`` are done before
    the agent is asked, and are no part of the record.
    """

    episode_id: str
    task_id: str
    arm: str = ""
    seed: int = 0
    goal: str | None = None
    split: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    start: tuple[str, ...] = ()

    @property
    def proposals(self) -> str:
        """What the proposals depend on beside seed, step and observation; not the arm."""
        return f"{self.task_id}/{self.goal or ''}"
