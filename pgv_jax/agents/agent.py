"""One decision: propose, score, select. The loop around it is in ``runner``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pgv_jax.agents.propose import Choice, Turn, propose
from pgv_jax.agents.rating import Rater
from pgv_jax.agents.select import (
    NEEDS_SCORES,
    REPEAT_PENALTY,
    SELECTORS,
    Ballot,
    Oracle,
    Scorer,
    choose,
    utility,
)
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client, Completion
from pgv_jax.texts.templates import SUCCESS, StepForm, step_text
from pgv_jax.types import Candidate

Correct = Callable[[str], bool | None]
"""Whether an action is right, where a simulator knows; recorded, never used to select."""


def _note_alone(candidate: Candidate, note: str) -> str:
    return note


@dataclass(frozen=True, slots=True)
class View:
    """What the agent is shown at a step.

    ``scored_observation`` is the critic's observation field (with its history); the model reads
    ``observation`` and ``past``. ``instruction`` is what the model is told to do, where that is
    not the task: a goal that is asked for at run time. ``step`` is what of a
    candidate the critic reads (``texts.step``). ``after`` is the critic's observation field once a
    candidate was played and a note was seen.
    """

    task: str
    observation: str
    scored_observation: str
    admissible: Sequence[str] = ()
    past: Sequence[Turn] = ()
    seed: int = 0
    instruction: str = ""
    step: StepForm = "thought"
    after: Callable[[Candidate, str], str] = _note_alone

    @property
    def told(self) -> str:
        """What stands as the task in a prompt."""
        return self.instruction or self.task


@dataclass(frozen=True, slots=True)
class Decision:
    """What the agent does: one of the candidates, all of which are recorded with their scores.

    ``metadata`` holds JSON values for the step's record, such as how its thought was refined;
    ``proposals`` are the counts of ``propose.proposal_counts``.
    """

    candidates: tuple[Candidate, ...]
    index: int
    completions: tuple[Completion, ...]
    error: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    proposals: Mapping[str, int] = field(default_factory=dict)

    @property
    def chosen(self) -> Candidate:
        """The candidate that is acted on."""
        return self.candidates[self.index]


class Decider(Protocol):
    """What plays an episode: an ``Agent``, or something around one."""

    async def decide(self, view: View) -> Decision:
        """Choose what to do at a step."""
        ...


@dataclass(slots=True)
class Agent:
    """A model that proposes and a selector that chooses; one agent an episode.

    ``scorer`` is ``ValueFunction.q`` or anything of its form. ``goals[0]`` decides unless
    ``weights`` says otherwise; all goals are scored and recorded. ``oracle`` and ``correct`` come
    from a simulator: only the selector "oracle" selects by it. ``system`` replaces the shipped
    system prompt; ``choice`` holds answers to the actions that are offered; with ``tools`` they are
    calls of these. ``rater`` scores in the place of ``scorer``. ``fall_back``: where the scorer
    fails, take the first proposal and record why; a study rather fails with it.
    """

    client: Client
    selector: str = "first"
    scorer: Scorer | None = None
    goals: tuple[str, ...] = (SUCCESS,)
    weights: tuple[float, ...] | None = None
    candidates: int = 1
    temperature: float = 1.0
    max_tokens: int = 256
    repeat_penalty: float = REPEAT_PENALTY
    oracle: Oracle | None = None
    correct: Correct | None = None
    system: str = ""
    choice: Choice | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    rater: Rater | None = None
    fall_back: bool = False
    _chosen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.selector not in SELECTORS:
            raise PgvError(
                f"Selector '{self.selector}' is unknown; use one of: {', '.join(SELECTORS)}."
            )
        if self.selector in NEEDS_SCORES and self.scorer is None and self.rater is None:
            raise PgvError(f"Selector '{self.selector}' needs a critic; give a scorer.")
        if self.candidates < 1:
            raise PgvError(f"{self.candidates} candidates are asked for; at least 1 is needed.")

    async def decide(self, view: View) -> Decision:
        """Ask the model for candidates, score them, and take one."""
        proposal = await propose(
            self.client,
            view.told,
            view.observation,
            view.admissible,
            n=self.candidates,
            seed=view.seed,
            past=view.past,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            system=self.system,
            choice=self.choice,
            tools=self.tools,
        )
        candidates, failure = self._annotated(proposal.candidates, view)
        score_N, selector = None, SELECTORS["first" if failure else self.selector]
        completions = proposal.completions
        about: dict[str, Any] = {"scorer_failed": failure} if failure else {}
        # Those without an action stand last; they are taken where there is nothing else.
        playable = tuple(c for c in candidates if c.action) or candidates
        if self.rater is not None:
            rating = await self.rater.rate(view, playable, self.goals)
            candidates = (*rating.candidates, *candidates[len(playable) :])
            playable, completions = rating.candidates, (*completions, *rating.completions)
            score_N = utility(rating.score_NG, self.weights)
            about[self.rater.name] = dict(rating.about)
        elif self.scorer is not None and not failure:
            score_NG = np.asarray([[c.scores[g] for g in self.goals] for c in playable])
            score_N = utility(score_NG, self.weights)
        actions = [c.action for c in playable]
        oracle_N = self.oracle(actions) if self.oracle and self.selector == "oracle" else None
        ballot = Ballot(
            len(playable),
            score_N,
            None if oracle_N is None else np.asarray(oracle_N),
            view.seed,
            np.asarray(proposal.votes[: len(playable)]),
        )
        times_N = [self._chosen[view.observation, action] for action in actions]
        index, _ = choose(selector, ballot, times_N, self.repeat_penalty)
        self._chosen[view.observation, actions[index]] += 1
        if (message := proposal.messages.get(actions[index])) is not None:
            about["message"] = message
        return Decision(candidates, index, completions, proposal.error, about, proposal.counts)

    def _annotated(
        self, candidates: Sequence[Candidate], view: View
    ) -> tuple[tuple[Candidate, ...], str]:
        """The candidates with scores and, where known, whether they are right; why not, or ""."""
        failure = ""
        if self.scorer is not None:
            try:
                candidates = self._scored(self.scorer, candidates, view)
            except Exception as error:  # the show goes on unguided, whatever broke
                if not self.fall_back:
                    raise
                failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if self.correct is not None:
            candidates = [replace(c, correct=self.correct(c.action)) for c in candidates]
        return tuple(candidates), failure

    def _scored(
        self, scorer: Scorer, candidates: Sequence[Candidate], view: View
    ) -> list[Candidate]:
        thoughts = [step_text(c.thought, c.action, view.step) for c in candidates]
        goals = list(self.goals)
        score_NG = np.asarray(scorer(view.task, view.scored_observation, thoughts, goals))
        wanted = (len(candidates), len(goals))
        if score_NG.shape != wanted:
            raise PgvError(f"The scorer gave shape {score_NG.shape}; {wanted} was asked for.")
        return [
            replace(c, scores=dict(zip(goals, map(float, row), strict=True)))
            for c, row in zip(candidates, score_NG, strict=True)
        ]
