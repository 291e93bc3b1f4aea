"""An environment that a search may try things out in, and put back as it was.

By snapshots where the task has them, else by starting anew and replaying actions. A world tells
what an agent sees and whether the task ended; rewards, scores and success do not pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.errors import PgvError

if TYPE_CHECKING:
    from pgv_jax.tasks.base import TextEnv


@dataclass(frozen=True, slots=True)
class Place:
    """A state to come back to: the actions that lead to it and, if any, a snapshot."""

    actions: tuple[str, ...]
    snapshot: Any = None


@dataclass(slots=True)
class World:
    """The states of one episode; ``env_steps`` counts the steps that were tried, replays included.

    ``replay`` None finds out whether the task has snapshots.
    """

    env: TextEnv
    spec: EpisodeSpec
    replay: bool | None = None
    env_steps: int = field(default=0)

    def here(self, actions: Sequence[str]) -> Place:
        """The present state, which ``actions`` led to."""
        if self.replay is None:
            try:
                self.env.snapshot()
                self.replay = False
            except PgvError:
                self.replay = True
        return Place(tuple(actions), None if self.replay else self.env.snapshot())

    def go(self, place: Place) -> None:
        """Put the environment into ``place``."""
        if place.snapshot is not None:
            self.env.restore(place.snapshot)
            return
        self.env.reset(seed=self.spec.seed, options={"task": self.spec.task_id})
        self.env.set_goal(self.spec.goal)
        for action in (*self.spec.start, *place.actions):
            self.env.step(action)
        self.env_steps += len(self.spec.start) + len(place.actions)

    def try_out(self, action: str) -> tuple[str, bool]:
        """Do ``action``: what is seen then, and whether the episode ended."""
        observation, _, terminated, truncated, _ = self.env.step(action)
        self.env_steps += 1
        return observation, terminated or truncated
