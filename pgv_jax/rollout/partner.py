"""A model that plays the other seats of a task: a persuadee, the other players of Avalon.

It is asked from inside ``Env.step``, so it has a client, a loop and a budget of its own. What it
has answered is cached, and a continued run hears the same again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.llm.budget import Spend
from pgv_jax.llm.client import Request
from pgv_jax.rollout.models import api_model
from pgv_jax.rollout.settings import VoiceConfig
from pgv_jax.tasks.base import env_class
from pgv_jax.tasks.voice import voice_of


class Partner:
    """The model that ``voice.client`` names, as the ``voice`` argument of environments."""

    def __init__(self, settings: VoiceConfig, task: str, out: Path, suffix: str, shards: int):
        takes_voice(task)
        self._model = api_model(
            settings.client,
            settings.api,
            settings.budget,
            shards,
            out / f"voice-ledger{suffix}",
            out / "voice-cache",
        )
        self.identity = self._model.identity
        self.clean = self._model.clean
        self._voice = voice_of(
            self._model.shared,
            Request,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
        )

    def __call__(self, messages: Sequence[Mapping[str, Any]], seed: int) -> str:
        """Answer in a seat."""
        return self._voice(messages, seed)

    @property
    def spent(self) -> Spend:
        """What the partner has spent, also before the run was last interrupted."""
        return self._model.spent

    def close(self) -> None:
        """Close connections, ledger and cache on the loop that used them."""
        self._voice.run(self._model.__aexit__())
        self._voice.close()


def open_partner(
    settings: VoiceConfig, task: str, out: Path, suffix: str = "", shards: int = 1
) -> Partner | None:
    """The partner, or None where scripts play the other seats."""
    return Partner(settings, task, out, suffix, shards) if settings.client else None


def takes_voice(task: str) -> None:
    """Refuse a partner for a task that has no seat for one."""
    if "voice" not in inspect.signature(env_class(task)).parameters:
        raise PgvError(f"Task '{task}' has no seat for another model; leave voice.client empty.")


def without_voice(args: Mapping[str, Any]) -> None:
    """Refuse ``voice`` among a task's arguments, where only a Python function would do."""
    if "voice" in args:
        raise PgvError(
            f"The task's argument voice={args['voice']!r} cannot be written down; name the model "
            "with voice.client=MODEL in `pgv rollout`, or --voice MODEL in `pgv collect`."
        )
