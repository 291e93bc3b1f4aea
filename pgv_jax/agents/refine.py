"""Refinement with a natural-language critic: imagine futures, score them, keep or rewrite.

Hong, Dragan and Levine 2025 (arXiv:2505.18098): the thought's imagined goals, good and bad, are
shown with Q(s, thought, goal) to the model, which keeps or rewrites the thought, at most m times;
then the action is made from the final thought. Whatever goes wrong on the way leads back to the
thought as it was proposed, and is counted.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from pgv_jax.agents.imagined_goals import GROUNDINGS, Goal, SentenceIndex, ground, parse_goals
from pgv_jax.agents.prompt import Answer, Prompt, ask
from pgv_jax.agents.propose import (
    MOST_ACTIONS,
    Turn,
    build_messages,
    parse_answer,
    request_seed,
)
from pgv_jax.agents.refine_forms import action_form, goals_form, guess_form, refinement_form
from pgv_jax.agents.select import Scorer
from pgv_jax.agents.value_words import (
    NUMBERS,
    SCORES,
    Calibrate,
    deal,
    in_words,
    parse_guess,
    parse_refinement,
    scalar_in_words,
)
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import Client, ClientError, Completion
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate

PROMPTS = ("goals", "refine", "refine_act", "guess")

Likelihoods = Callable[..., np.ndarray]
"""(scores [G], goals=) -> likelihoods [G]; ``ValueFunction.likelihoods`` is one."""


class Situation(Protocol):
    """What the agent is shown at a step; ``agent.View`` is one."""

    @property
    def task(self) -> str: ...
    @property
    def told(self) -> str: ...
    @property
    def observation(self) -> str: ...
    @property
    def scored_observation(self) -> str: ...
    @property
    def admissible(self) -> Sequence[str]: ...
    @property
    def past(self) -> Sequence[Turn]: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineOptions:
    """How a thought is refined: ``goals`` good and as many bad ones, at most ``rounds`` rewrites.

    ``scores`` says whose numbers are shown (``value_words.SCORES``), ``numbers`` how, ``grounding``
    what is done about paraphrased goals. ``fresh_goals``: imagine anew for each rewrite, as in the
    paper, else the first goals are scored again. ``prompts``: a folder with files of one's own;
    ``examples``: sentences that show the wording of the notes (else the observation does).
    ``structured``: answers to shipped prompts are held to JSON schemas (``refine_forms``), in which
    a sentence has at most ``length`` characters (0: no limit); a prompt of one's own says its form.
    """

    goals: int = 2
    rounds: int = 2
    scores: str = "critic"
    numbers: Literal["raw", "calibrated", "rank"] = "raw"
    grounding: Literal["off", "report", "snap"] = "off"
    fresh_goals: bool = True
    temperature: float = 0.7
    max_tokens: int = 512
    structured: bool = True
    length: int = 0
    success_goal: str = SUCCESS
    examples: tuple[str, ...] = ()
    prompts: str | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("scores", self.scores, SCORES),
            ("numbers", self.numbers, NUMBERS),
            ("grounding", self.grounding, GROUNDINGS),
        ):
            if value not in known:
                raise PgvError(f"{name} is '{value}'; use one of: {', '.join(known)}.")
        if self.goals < 1 or self.rounds < 1:
            raise PgvError(
                f"Refinement needs goals >= 1 and rounds >= 1, but they are {self.goals} and "
                f"{self.rounds}; to refine nothing, choose another strategy."
            )


@dataclass(frozen=True, slots=True)
class Round:
    """One look at a thought: its goals, what the critic gave them, what was shown and decided."""

    thought: str
    goals: tuple[Goal, ...]
    scores: tuple[float, ...]
    shown: str
    kept: bool

    def to_json(self) -> dict[str, Any]:
        """The round as JSON values."""
        goals = [goal.to_json() for goal in self.goals]
        for goal, score in zip(goals, self.scores, strict=False):
            goal["score"] = round(score, 6)
        whole = {"thought": self.thought, "goals": goals, "shown": self.shown, "kept": self.kept}
        return whole if goals else whole | {"score": self.scores[0] if self.scores else None}


@dataclass(frozen=True, slots=True)
class Refinement:
    """What came of refining a candidate. ``outcome``: kept, rewritten or fallback (``reason``)."""

    candidate: Candidate
    outcome: str
    reason: str
    rounds: tuple[Round, ...]
    completions: tuple[Completion, ...]
    malformed: int
    prompts: dict[str, str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The record of a step: JSON values."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "rounds": [each.to_json() for each in self.rounds],
            "malformed": self.malformed,
            "prompts": dict(self.prompts),
            "seconds": round(self.seconds, 4),
        }


class _FallBackError(Exception):
    """Go back to the thought as it was proposed; the message is counted."""


@dataclass(slots=True)
class Refiner:
    """Refines candidates; ``counts`` holds outcomes, reasons of fallbacks and malformed answers.

    ``scorer`` is ``ValueFunction.q`` or anything of its form; the sources "none", "guess" and
    "constant" go without one. ``likelihoods`` is what ``numbers="calibrated"`` shows. ``met`` holds
    the thoughts that were looked at, in order: "shuffled" draws from them, so a refiner belongs
    to one episode.
    """

    client: Client
    scorer: Scorer | None = None
    options: RefineOptions = field(default_factory=RefineOptions)
    likelihoods: Likelihoods | None = None
    index: SentenceIndex | None = None
    counts: Counter[str] = field(default_factory=Counter)
    met: dict[str, None] = field(default_factory=dict)
    _prompts: dict[str, Prompt] = field(default_factory=dict)
    _structured: set[str] = field(default_factory=set)
    """Names of the prompts whose answers are held to a schema."""

    def __post_init__(self) -> None:
        options = self.options
        if self.scorer is None and options.scores not in ("none", "guess", "constant"):
            raise PgvError(f"Refinement with '{options.scores}' scores needs a critic.")
        if options.grounding != "off" and self.index is None:
            raise PgvError(f"Grounding '{options.grounding}' needs the training sentences.")
        if options.numbers == "calibrated" and self.likelihoods is None:
            raise PgvError("Calibrated numbers need a calibration; show raw numbers or ranks.")
        self._prompts = {name: Prompt.load(name, options.prompts) for name in PROMPTS}
        if options.structured:
            self._structured = {n for n in PROMPTS if self._prompts[n] == Prompt.load(n)}

    @property
    def versions(self) -> dict[str, str]:
        """Name of each prompt -> the hash of its text."""
        return {name: prompt.version for name, prompt in self._prompts.items()}

    async def refine(self, situation: Situation, candidate: Candidate) -> Refinement:
        """Keep or rewrite ``candidate``; a ``ClientError`` that stops the run passes through."""
        started = time.monotonic()
        work = _Work(self, situation, candidate)
        try:
            refined = await work.run()
            outcome, reason = ("kept" if refined is candidate else "rewritten"), ""
        except _FallBackError as error:
            refined, outcome, reason = candidate, "fallback", str(error)
        except ClientError as error:
            if error.stops_run or error.kind == "exhausted":
                raise
            refined, outcome, reason = candidate, "fallback", error.kind
        self.counts[outcome] += 1
        self.counts["malformed"] += work.malformed
        if reason:
            self.counts[f"fallback_{reason}"] += 1
        return Refinement(
            candidate=refined,
            outcome=outcome,
            reason=reason,
            rounds=tuple(work.rounds),
            completions=tuple(work.completions),
            malformed=work.malformed,
            prompts=self.versions,
            seconds=time.monotonic() - started,
        )


def _earlier(rounds: Sequence[Round]) -> str:
    """The plans that were left behind in words: a number alone says little, a comparison more."""
    if not rounds:
        return "No other plan has been considered yet."
    plans = [f"An earlier plan: {each.thought}\n{each.shown}" for each in rounds]
    return "\n\n".join(["Plans that were considered before, with the critic's words:", *plans])


class _Work:
    """One refinement under way."""

    def __init__(self, refiner: Refiner, situation: Situation, candidate: Candidate):
        self.refiner, self.options = refiner, refiner.options
        self.situation, self.candidate = situation, candidate
        self.rounds: list[Round] = []
        self.completions: list[Completion] = []
        self.malformed = 0
        past = situation.past
        messages = build_messages(situation.told, situation.observation, situation.admissible, past)
        self.told = str(messages[-1]["content"])

    async def run(self) -> Candidate:
        thought = self.candidate.thought
        goals: tuple[Goal, ...] = ()
        for number in range(self.options.rounds):
            self.refiner.met[thought] = None
            if self.options.scores == "scalar":
                score_G, shown = self._scalar(thought)
            else:
                if not goals or self.options.fresh_goals:
                    goals = await self._imagine(thought, number)
                score_G = await self._score(thought, goals, number)
                shown = self._shown(goals, score_G, number)
            keep, following = await self._ask(
                "refine",
                lambda text, thought=thought: parse_refinement(text, thought),
                number,
                refinement_form(self.options.length),
                thought=thought,
                value=shown,
                earlier=_earlier(self.rounds),
            )
            known = tuple(float(s) for s in score_G if not np.isnan(s))
            self.rounds.append(Round(thought, goals, known, shown, keep))
            if keep:
                break
            thought = following
        if thought == self.candidate.thought:
            return self.candidate
        return Candidate(thought, await self._act(thought), self._scores_of(thought))

    async def _imagine(self, thought: str, number: int) -> tuple[Goal, ...]:
        count = self.options.goals
        examples = self.options.examples or (self.situation.observation,)
        goals = await self._ask(
            "goals",
            lambda text: parse_goals(text, count),
            number,
            goals_form(count, self.options.length),
            thought=thought,
            count=count,
            examples="\n".join(examples),
        )
        if self.options.grounding == "off" or self.refiner.index is None:
            return goals
        return ground(goals, self.refiner.index, self.options.grounding)

    async def _score(self, thought: str, goals: Sequence[Goal], number: int) -> np.ndarray:
        """The critic's (or the model's own) scores of the goals, before they are dealt: [G]."""
        if self.options.scores == "guess":
            lines = "\n".join(f"- {goal.text}" for goal in goals)
            return await self._ask(
                "guess",
                lambda text: parse_guess(text, len(goals)),
                number,
                guess_form(len(goals)),
                thought=thought,
                goals=lines,
                count=len(goals),
            )
        if self.refiner.scorer is None:
            return np.full(len(goals), np.nan)
        if self.options.scores == "shuffled":
            if len(self.refiner.met) == 1:
                return np.full(len(goals), 0.5)
            seed = request_seed(self.situation.seed, "other", number, self.situation.observation)
            thought = random.Random(f"other/{seed}").choice(list(self.refiner.met))
        return self._critic(thought, [goal.text for goal in goals])

    def _scalar(self, thought: str) -> tuple[np.ndarray, str]:
        score_G = self._critic(thought, [self.options.success_goal])
        calibrate = self._calibrate([self.options.success_goal])
        return score_G, scalar_in_words(float(score_G[0]), self.options.numbers, calibrate)

    def _calibrate(self, goals: Sequence[str]) -> Calibrate | None:
        likelihoods = self.refiner.likelihoods
        return None if likelihoods is None else partial(likelihoods, goals=goals)

    def _critic(self, thought: str, goals: list[str]) -> np.ndarray:
        scorer, situation = self.refiner.scorer, self.situation
        assert scorer is not None
        try:
            score_NG = scorer(situation.task, situation.scored_observation, [thought], goals)
            score_G = np.asarray(score_NG, np.float64).reshape(len(goals))
        except Exception as error:  # the show goes on unguided, whatever broke
            self.refiner.counts[f"scorer_{type(error).__name__}"] += 1
            raise _FallBackError("scorer_failed") from error
        if np.isnan(score_G).any():
            raise _FallBackError("scorer_failed")
        return score_G

    def _shown(self, goals: Sequence[Goal], score_G: np.ndarray, number: int) -> str:
        seed = request_seed(self.situation.seed, "deal", number, self.situation.observation)
        shown_G = deal(score_G, self.options.scores, seed)
        calibrate = self._calibrate([goal.text for goal in goals])
        return in_words(goals, shown_G, self.options.numbers, calibrate)

    async def _act(self, thought: str) -> str:
        admissible = list(self.situation.admissible)

        def parse(text: str) -> str | None:
            action = parse_answer(text, admissible).action
            return action if action and (not admissible or action in admissible) else None

        form = action_form(admissible if len(admissible) <= MOST_ACTIONS else ())
        return await self._ask("refine_act", parse, len(self.rounds), form, thought=thought)

    async def _ask(
        self, name: str, parse: Any, number: int, form: Mapping[str, Any], **values: object
    ) -> Any:
        """Fill a prompt, ask (twice at most), and count; falls back where nothing can be read."""
        options, prompt = self.options, self.refiner._prompts[name]
        key = f"{name}/{values['thought']}"
        answer: Answer[Any] = await ask(
            self.refiner.client,
            prompt.messages(situation=self.told, **values),
            parse,
            seed=request_seed(self.situation.seed, key, number, self.situation.observation),
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            form=form if name in self.refiner._structured else None,
        )
        self.completions.extend(answer.completions)
        self.malformed += answer.malformed
        if answer.value is None:
            raise _FallBackError(f"malformed_{name}")
        return answer.value

    def _scores_of(self, thought: str) -> dict[str, float]:
        """Scores of the final thought, where a round has looked at it."""
        for each in self.rounds:
            if each.thought == thought and len(each.goals) == len(each.scores):
                return {g.text: s for g, s in zip(each.goals, each.scores, strict=True)}
        return {}
