"""What a task is: a gymnasium environment whose observations and actions are text.

Conventions on top of gymnasium:

- ``reset(seed=..., options={"task": ID})`` starts the named task; without an id the seed draws one.
- ``info`` holds ``task_id``, ``task`` (the goal in words), ``admissible_actions`` (what is offered;
  empty where the task cannot list them), ``success`` and ``score`` in [0, 1].
- An observation is a *progress note* of independent simple sentences where the task can give one.
  It never tells the outcome: success is in ``info``, so that no critic reads it off the text.
- An action that the task does not understand changes nothing and is never an exception.
- ``terminated`` means that the task ended, ``truncated`` that the step limit was reached.

A task that is simulated may also know the *expert*: which action shortens the way to the goal.
Scripted clients, oracles and statistics ask it; selection never does.
"""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import gymnasium
from gymnasium import spaces

from pgv_jax.errors import PgvError
from pgv_jax.registry import Registry

NOT_UNDERSTOOD = "The last command was not understood."
"""The sentence that a note carries after an action that the task does not know."""

TASKS = {
    "alfworld": "pgv_jax.tasks.alfworld.env:AlfworldEnv",
    "avalon": "pgv_jax.tasks.avalon.env:AvalonEnv",
    "game24": "pgv_jax.tasks.game24.env:Game24Env",
    "persuasion": "pgv_jax.tasks.persuasion.env:PersuasionEnv",
    "textworld": "pgv_jax.tasks.textworld.env:TextWorldEnv",
    "webshop": "pgv_jax.tasks.webshop.env:WebShopEnv",
}
"""Name of a task of our own -> where its environment is."""


class TextEnv(gymnasium.Env[str, str]):
    """A gymnasium environment over text; subclasses say how a task starts and steps."""

    name: ClassVar[str] = ""
    waits: bool = False
    """Whether a step waits for a model: then it is done in a thread."""

    def __init__(self) -> None:
        alphabet = string.printable
        self.observation_space = spaces.Text(max_length=20_000, min_length=0, charset=alphabet)
        self.action_space = spaces.Text(max_length=2_000, min_length=0, charset=alphabet)

    @abstractmethod
    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids that ``reset`` takes, in a fixed order; of one split ("train", "test") or of all."""

    @abstractmethod
    def admissible_actions(self) -> list[str]:
        """The actions that are offered now, sorted; empty where the task cannot list them."""

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """The tools that a model may call; the same in every state. Empty: actions are text.

        Each is ``{"name": ..., "description": ..., "parameters": JSON schema}``. A call reaches
        ``step`` as its canonical text, which ``texts.calls.read_call`` reads; words without a call
        reach it, too.
        """
        return ()

    def thought_for(self, action: str) -> str:
        """A truthful sentence that says why one would take ``action`` here.

        It depends on what is known and on the action alone, never on the expert's choice.
        """
        return f"I choose to {action}."

    def correct(self, action: str) -> bool | None:
        """Whether ``action`` strictly shortens the way to success; None where nobody knows."""
        return None

    def expert_action(self) -> str | None:
        """An offered action on a shortest way to success; None where there is none or unknown."""
        return None

    def preferences(self, actions: Sequence[str]) -> list[float] | None:
        """The oracle's scores of ``actions``, higher is better; None where nobody knows."""
        return None

    def set_goal(self, goal: str | None) -> None:
        """Point the expert at a sentence instead of at success (None: success again)."""
        if goal is not None:
            raise PgvError(f"Task '{self.name}' knows no goals but success.")

    def snapshot(self) -> Any:
        """The state as a value that ``restore`` takes, as often as one likes."""
        raise PgvError(f"Task '{self.name}' cannot be copied; it has no snapshots.")

    def restore(self, snapshot: Any) -> None:
        """Go back to ``snapshot``."""
        raise PgvError(f"Task '{self.name}' cannot be copied; it has no snapshots.")

    def _choose_task(self, options: dict[str, Any] | None) -> str:
        """The id in ``options``, or one drawn by the environment's generator."""
        known = self.task_ids()
        asked = (options or {}).get("task")
        if asked is None:
            return known[int(self.np_random.integers(len(known)))]
        if asked not in known:
            shown = ", ".join(known[:3])
            raise PgvError(
                f"Task '{asked}' is not one of the {len(known)} tasks of '{self.name}'; "
                f"its ids read like {shown}."
            )
        return str(asked)


REGISTRY: Registry[type[TextEnv]] = Registry("Task", "pgv_jax.tasks", lambda: TASKS, TextEnv)
"""The tasks of ``TASKS``, of entry points and of ``FILE.py:Class``."""


def env_class(name: str) -> type[TextEnv]:
    """The class of a task's environment, by its name in ``REGISTRY``."""
    return REGISTRY.get(name)


def make_env(name: str, **settings: Any) -> TextEnv:
    """Make the environment of a task by its name in ``REGISTRY``."""
    return env_class(name)(**settings)


def register_all() -> None:
    """Register every task with gymnasium as ``pgv_jax/NAME-v0``; a second call changes nothing."""
    for name in REGISTRY.names():
        env_id = f"pgv_jax/{name}-v0"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                id=env_id,
                entry_point=partial(make_env, name),
                disable_env_checker=True,
                order_enforce=False,
            )
