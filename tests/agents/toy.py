"""A corridor in words: rooms 0 to ``last``, a step left or right, success at the far end.

Small enough that every law of the runner can be worked out by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pgv_jax.llm.client import Request, ScriptedClient
from pgv_jax.tasks.base import NOT_UNDERSTOOD, TextEnv

ACTIONS = ["go left", "go right", "wait"]


class Corridor(TextEnv):
    """Room ``last`` ends the task with success; ``max_steps`` truncates."""

    name: ClassVar[str] = "corridor"

    def __init__(self, last: int = 3, max_steps: int = 10):
        super().__init__()
        self.last, self.max_steps = last, max_steps
        self.room = self.steps = 0
        self.goal: str | None = None
        self.visited: list[int] = []

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return ("north wing", "south wing")

    def admissible_actions(self) -> list[str]:
        return list(ACTIONS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.task_id = self._choose_task(options)
        self.room = self.steps = 0
        self.goal, self.visited = None, [0]
        return f"You are in room {self.room}.", self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        move = {"go left": -1, "go right": 1, "wait": 0}.get(action)
        self.room = max(0, self.room + (move or 0))
        self.steps += 1
        self.visited.append(self.room)
        note = f"You are in room {self.room}."
        if move is None:
            note += f" {NOT_UNDERSTOOD}"
        won = self.room == self.last
        truncated = not won and self.steps >= self.max_steps
        return note, float(won), won, truncated, self._info()

    def set_goal(self, goal: str | None) -> None:
        self.goal = goal

    def correct(self, action: str) -> bool | None:
        return action == "go right"

    def expert_action(self) -> str | None:
        return "go right"

    def preferences(self, actions: Sequence[str]) -> list[float] | None:
        return [1.0 if action == "go right" else 0.1 for action in actions]

    def _info(self) -> dict[str, Any]:
        return {
            "task_id": self.task_id,
            "task": "Reach the last room.",
            "admissible_actions": self.admissible_actions(),
            "success": self.room == self.last,
            "score": self.room / self.last,
        }


def says(*actions: str) -> ScriptedClient:
    """A model whose samples propose these actions in turn, whatever it is asked."""

    def policy(request: Request, index: int) -> str:
        action = actions[index % len(actions)]
        return f"Thought: I would {action}.\nAction: {action}"

    return ScriptedClient(policy)
