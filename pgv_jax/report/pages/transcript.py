"""One episode as a person reads it: what was seen, what was offered, what the critic said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate as one bar: ``share`` of the full width, in [0, 1]; None without a value."""

    thought: str
    action: str
    value: float | None
    share: float | None
    chosen: bool
    correct: bool | None


@dataclass(frozen=True, slots=True)
class Scene:
    """A step: its number from 1, the observation, and the options in the proposer's order."""

    number: int
    observation: str
    thought: str
    action: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """An episode for the page; ``scale`` is the value that fills a bar."""

    task: str
    game: str
    goal: str
    success: bool | None
    scale: float
    scenes: tuple[Scene, ...]
    final_observation: str


def tell(episode: Episode) -> Story:
    """Lay an episode out for the page.

    Bars show each candidate's score for the episode's goal (``metadata["goal"]``, else success),
    against the largest such score in the episode, or 1 if that is above 1/2.
    """
    goal = str(episode.metadata.get("goal", SUCCESS))
    values = [
        value
        for step in episode.steps
        for candidate in step.candidates
        if (value := score_for(candidate, goal)) is not None
    ]
    scale = bar_scale(values)
    return Story(
        task=episode.task,
        game=str(episode.metadata.get("game", episode.task_id)),
        goal=goal,
        success=episode.success,
        scale=scale,
        scenes=tuple(_scene(i + 1, s, goal, scale) for i, s in enumerate(episode.steps)),
        final_observation=episode.final_observation,
    )


def pick_story(episodes_by_arm: Mapping[str, Sequence[Episode]]) -> Episode | None:
    """The episode worth telling: won by the critic, lost by its twin of the first proposal.

    Among these the one of median length; without such an episode, any of the critic's.
    """
    from pgv_jax.report.comparison.arms import pair_keys

    critic = list(episodes_by_arm.get("critic", ()))
    first = list(episodes_by_arm.get("first", ()))
    lost = {key for key, e in zip(pair_keys(first), first, strict=True) if not e.success}
    keyed = list(zip(pair_keys(critic), critic, strict=True))
    choices = (
        [e for key, e in keyed if e.success and key in lost]
        or [e for e in critic if e.success]
        or critic
    )
    choices = sorted(choices, key=lambda e: (len(e.steps), e.episode_id))
    return choices[len(choices) // 2] if choices else None


def score_for(candidate: Candidate, goal: str) -> float | None:
    """The candidate's score for a goal; for success or for the only one where it has none."""
    scores: Mapping[str, Any] = candidate.scores
    if goal in scores:
        return float(scores[goal])
    if SUCCESS in scores:
        return float(scores[SUCCESS])
    return float(next(iter(scores.values()))) if len(scores) == 1 else None


def bar_scale(values: Sequence[float]) -> float:
    """The value of a full bar: the largest one, or 1 if that is above 1/2 (or not above 0)."""
    largest = max(values, default=1.0)
    return 1.0 if largest > 0.5 or largest <= 0 else largest


def bar_share(value: float, scale: float) -> float:
    """The share of a bar's full width, in [0, 1]."""
    return min(max(value / scale, 0.0), 1.0)


def chosen_place(step: Step) -> int | None:
    """The place of the candidate that became the step: by thought and action, else by action."""
    for i, c in enumerate(step.candidates):
        if (c.thought, c.action) == (step.thought, step.action):
            return i
    for i, c in enumerate(step.candidates):
        if c.action and c.action == step.action:
            return i
    return None


def _scene(number: int, step: Step, goal: str, scale: float) -> Scene:
    chosen = chosen_place(step)
    options = tuple(
        _option(c, score_for(c, goal), scale, i == chosen) for i, c in enumerate(step.candidates)
    )
    return Scene(number, step.observation, step.thought, step.action, options)


def _option(candidate: Candidate, value: float | None, scale: float, chosen: bool) -> Option:
    share = None if value is None else bar_share(value, scale)
    return Option(candidate.thought, candidate.action, value, share, chosen, candidate.correct)
