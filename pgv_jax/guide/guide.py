"""``Guide``, the critic for an agent of one's own: which candidate, with what doubt, in what words.

Conversations are put into the critic's fields by the importer's own code (``so_far``), so that what
is asked is worded as what was learned.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pgv_jax.agents.imagined_goals import Goal
from pgv_jax.agents.select import utility
from pgv_jax.agents.value_words import in_words
from pgv_jax.critic.support import Support, load_support
from pgv_jax.data.importers.conversation.asking import Conversation, so_far
from pgv_jax.errors import PgvError
from pgv_jax.guide.choice import Choice, Doubt
from pgv_jax.guide.critics import GuideCritic, open_critic
from pgv_jax.guide.worker import Worker
from pgv_jax.texts.templates import FAILURE, SUCCESS, observation_text, step_text

if TYPE_CHECKING:
    from pgv_jax.embed.encoder import Encoder


class Fields(NamedTuple):
    """A decision as the critic reads it; ``candidates`` are what the caller gave."""

    task: str
    observation: str
    thoughts: list[str]
    candidates: list[Any]


class Guide:
    """One critic, asked about conversations; it may be shared by threads and by coroutines.

    ``goals`` are asked where a call names none; the first decides unless ``weights`` (one a goal)
    are given. ``fenced``: whether the agent writes its actions as fenced blocks; None looks at the
    conversation, which in its first turns tells less than a whole log.
    """

    def __init__(
        self,
        critic: GuideCritic,
        *,
        goals: Sequence[str] = (SUCCESS,),
        weights: Sequence[float] | None = None,
        fenced: bool | None = None,
        support: Support | None = None,
    ):
        self.critic, self.fenced, self._support = critic, fenced, support
        self.goals, self.weights = _checked(goals, weights)
        # One thread: the critic answers one question at a time, and the caller's loop goes on.
        self._worker = Worker("pgv-guide")

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str],
        *,
        goals: Sequence[str] = (SUCCESS,),
        weights: Sequence[float] | None = None,
        fenced: bool | None = None,
        encoder: Encoder | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> Guide:
        """Open an artifact, an exported PyTorch folder (without JAX), or either by its hub id.

        ``store`` is a folder of embeddings for an artifact to read from and to add to; ``encoder``
        takes the place of the one that the critic names, which must be the same.
        """
        critic = open_critic(source, encoder, store)
        return cls(
            critic,
            goals=goals,
            weights=weights,
            fenced=fenced,
            support=load_support(critic.folder),
        )

    def choose(
        self,
        messages: Conversation | None = None,
        candidates: Sequence[Any] | None = None,
        *,
        goals: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        task: str | None = None,
        observation: str | None = None,
        thoughts: Sequence[str] | None = None,
    ) -> Choice:
        """The best of some candidates for the conversation's next turn.

        ``messages`` are of OpenAI's, Anthropic's or another dialect, or a request's body; a
        candidate is a text, a message (with tool calls or without), a choice or a response. Or
        give ``task``, ``observation`` (the critic's field, as ``ValueFunction.q`` has it) and
        ``thoughts`` themselves. Raises PgvError for what it cannot read.
        """
        asked, weighed = self._asked(goals, weights)
        told = self._fields(messages, candidates, task, observation, thoughts)
        if not told.candidates:
            raise PgvError("There is no candidate to choose from; give at least one.")
        members_ENG = self.critic.members(told.task, told.observation, told.thoughts, asked)
        values_NG = members_ENG.mean(0)
        utility_N = utility(values_NG, weighed)
        if np.isnan(utility_N).any():
            raise PgvError("A candidate's value is not a number; the critic's artifact is damaged.")
        index = int(np.argmax(utility_N))
        return Choice(
            index,
            told.candidates[index],
            asked,
            values_NG,
            self.critic.likelihoods(values_NG, asked),
            utility_N,
            self._doubt(told, members_ENG[:, index], weighed),
        )

    def value(
        self,
        messages: Conversation | None = None,
        goals: Sequence[str] | None = None,
        *,
        task: str | None = None,
        observation: str | None = None,
    ) -> np.ndarray:
        """V of each goal where the conversation stands: float32 [G]; to stop early, to escalate."""
        told = self._fields(messages, (), task, observation, ())
        return self.critic.v(told.task, told.observation, self._asked(goals, None)[0])

    def critique(
        self,
        messages: Conversation | None,
        thought: Any,
        goals: Sequence[str | Goal] | None = None,
        *,
        numbers: str = "raw",
        task: str | None = None,
        observation: str | None = None,
    ) -> str:
        """The natural-language critic's words on one thought: a line a goal, for a prompt.

        ``thought`` is a candidate (with ``observation`` given: the thought's text). A goal is good
        unless it is a ``Goal`` that says otherwise, or the sentence of failure. ``numbers`` is
        "raw", "calibrated" or "rank".
        """
        named = self.goals if goals is None else goals
        asked = [g if isinstance(g, Goal) else Goal(g, g != FAILURE) for g in named]
        texts = [goal.text for goal in asked]
        told = self._fields(
            messages, [thought], task, observation, None if observation is None else [thought]
        )
        value_G = self.critic.members(told.task, told.observation, told.thoughts, texts).mean(0)[0]

        def calibrated(value_G: np.ndarray) -> np.ndarray:
            likely_G = self.critic.likelihoods(value_G, texts)
            if np.isnan(likely_G).any():
                raise PgvError(
                    "The critic has no calibration for all of these goals; fit one with `pgv "
                    'evaluate`, or ask for numbers="raw" or "rank".'
                )
            return likely_G

        return in_words(asked, value_G, numbers, calibrated)

    async def achoose(self, *args: Any, **named: Any) -> Choice:
        """``choose`` without blocking the event loop."""
        return await self._worker.ask(lambda: self.choose(*args, **named))

    async def avalue(self, *args: Any, **named: Any) -> np.ndarray:
        """``value`` without blocking the event loop."""
        return await self._worker.ask(lambda: self.value(*args, **named))

    async def acritique(self, *args: Any, **named: Any) -> str:
        """``critique`` without blocking the event loop."""
        return await self._worker.ask(lambda: self.critique(*args, **named))

    def warm_up(self, candidates: int = 8) -> None:
        """Compile what decisions of at most so many candidates meet."""
        self.critic.warm_up(candidates, len(self.goals))

    def fields(
        self,
        messages: Conversation,
        candidates: Sequence[Any] = (),
        *,
        task: str | None = None,
    ) -> Fields:
        """A conversation and candidates as the critic reads them."""
        asked = so_far(messages, candidates, task=task, fenced=self.fenced)
        episode = asked.episode
        observed = observation_text(episode, len(episode.steps), self.critic.history)
        thoughts = [step_text(c.thought, c.action, self.critic.step) for c in asked.candidates]
        return Fields(episode.task, observed, thoughts, list(candidates))

    def _fields(
        self,
        messages: Conversation | None,
        candidates: Sequence[Any] | None,
        task: str | None,
        observation: str | None,
        thoughts: Sequence[str] | None,
    ) -> Fields:
        if messages is not None and observation is None:
            return self.fields(messages, candidates or (), task=task)
        if observation is None or thoughts is None or messages is not None:
            raise PgvError(
                "Give either messages and candidates, or observation and thoughts (and a task)."
            )
        if isinstance(thoughts, str):
            raise PgvError("thoughts is one text where a list belongs; put it in brackets.")
        return Fields(task or "", observation, list(thoughts), list(thoughts))

    def _asked(
        self, goals: Sequence[str] | None, weights: Sequence[float] | None
    ) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
        if goals is None:
            return self.goals, self.weights if weights is None else tuple(weights)
        return _checked(goals, weights)

    def _doubt(
        self, told: Fields, members_EG: np.ndarray, weights: tuple[float, ...] | None
    ) -> Doubt:
        spread = None
        if self.critic.has_members and len(members_EG) > 1:
            spread = float(utility(members_EG, weights).std())
        distance = None
        if self._support is not None:
            distance = self._support.distance(self.critic.vectors([told.observation])[0])
        return Doubt(spread, distance)


def _checked(
    goals: Sequence[str], weights: Sequence[float] | None
) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    if isinstance(goals, str):
        raise PgvError(f"goals is one text, '{goals[:60]}', where a list belongs; use brackets.")
    if not goals:
        raise PgvError("There is no goal to ask for; give at least one sentence.")
    if weights is not None and len(weights) != len(goals):
        raise PgvError(f"{len(weights)} weights for {len(goals)} goals; give one a goal.")
    return tuple(goals), None if weights is None else tuple(weights)
