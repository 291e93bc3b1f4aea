"""The one module that says how a step is put into words.

The critic's observation field is a window of the log (``history`` past turns), or with
``history == EPISODE`` all of the episode so far, as a chain of segments that a causal encoder
reads once (see ``pgv_jax.texts.segments``).

The table, the health report, the agent and the server all take their texts from here, so a
critic is asked about exactly the wording that it was trained on. ``template_fingerprint`` goes
into every manifest; a change of any wording below must change ``VERSION``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pgv_jax.errors import PgvError
from pgv_jax.texts.segments import ACTION, OBSERVATION, join, split, window
from pgv_jax.texts.sentences import sentences
from pgv_jax.types import Episode

__all__ = [
    "EPISODE",
    "FAILURE",
    "SUCCESS",
    "History",
    "StepForm",
    "observation_text",
    "own_observation",
    "sentences",
    "step_text",
    "template_fingerprint",
    "thought_text",
    "with_notes",
    "worded",
]

EPISODE: Literal["episode"] = "episode"
History = int | Literal["episode"]
"""Past turns in the observation field, or EPISODE: everything since the task."""

StepForm = Literal["thought", "action", "both"]
"""What of a step the critic reads as its thought."""

VERSION = 1

SUCCESS = "The task is done."
FAILURE = "The task has failed."

OBSERVATION_TEMPLATE = OBSERVATION + "{observation}"
ACTION_TEMPLATE = ACTION + "{action}"
SEPARATOR = "\n"

SEGMENTS = ("Task: ", "\nObservation: ", "\nThought: ", "\nAction: ")
"""What stands before a task, an observation, a thought and an action in a chain of segments."""


def own_observation(episode: Episode, t: int) -> str:
    """Return what the agent saw at step ``t``; ``t == len(steps)`` is the final observation."""
    count = len(episode.steps)
    if not 0 <= t <= count:
        raise PgvError(
            f"Episode '{episode.episode_id}' has {count} steps, so its observations are numbered "
            f"0 to {count}; {t} was asked for."
        )
    return episode.steps[t].observation if t < count else episode.final_observation


def observation_text(episode: Episode, t: int, history: History) -> str:
    """Return the text of the observation *field* at step ``t``.

    ``history == 0``: the step's own observation, unchanged. ``history == k``: the last ``k``
    (observation, action) turns, oldest first, then the present observation. ``EPISODE``: the
    prefix of the episode that the present observation ends.
    """
    if history == EPISODE:
        return join(_segments(episode, t))
    if history < 0:
        raise PgvError(f"texts.history is {history}; it counts past turns, so use 0 or more.")
    present = own_observation(episode, t)
    if history == 0:
        return present
    past = episode.steps[max(0, t - history) : t]
    return window([text for step in past for text in (step.observation, step.action)] + [present])


def _segments(episode: Episode, t: int) -> list[str]:
    """Task, then observation, thought and action of each step before ``t``, then what is seen."""
    task, observation, thought, action = SEGMENTS
    found = [task + episode.task]
    for step in episode.steps[:t]:
        found += [observation + step.observation, thought + step.thought, action + step.action]
    return [*found, observation + own_observation(episode, t)]


def thought_text(observation: str, thought: str, history: History) -> str:
    """Return the text of the thought *field*; ``observation`` is the step's observation field.

    The thought itself, or with ``EPISODE`` the prefix that it ends.
    """
    return join([*split(observation), SEGMENTS[2] + thought]) if history == EPISODE else thought


def step_text(thought: str, action: str, form: StepForm) -> str:
    """What of a step the critic reads as its thought: the one, the other, or both in two lines.

    Where there is no action the thought stands in for it; of ``both``, an empty one is left out.
    """
    if form == "thought":
        return thought
    if form == "both" and thought and action and thought != action:
        return SEPARATOR.join([thought, ACTION_TEMPLATE.format(action=action)])
    return action or thought


def worded(episode: Episode, form: StepForm) -> Episode:
    """The episode with ``step_text`` as the thought of each step and candidate."""
    if form == "thought":
        return episode
    steps = tuple(
        replace(
            step,
            thought=step_text(step.thought, step.action, form),
            candidates=tuple(
                replace(c, thought=step_text(c.thought, c.action, form)) for c in step.candidates
            ),
        )
        for step in episode.steps
    )
    return replace(episode, steps=steps)


def with_notes(episode: Episode, notes: Sequence[str]) -> Episode:
    """The episode with ``notes`` (one a step and a final one) in place of its observations."""
    *own, final = notes
    steps = tuple(
        replace(step, observation=note) for step, note in zip(episode.steps, own, strict=True)
    )
    return replace(episode, steps=steps, final_observation=final)


def template_fingerprint(history: History, step: StepForm = "thought") -> str:
    """sha256 hex over everything here that changes a text: templates, goals, settings, version."""
    parts: dict[str, object] = {
        "version": VERSION,
        "history": history,
        "templates": [OBSERVATION_TEMPLATE, ACTION_TEMPLATE, SEPARATOR],
        "goals": [SUCCESS, FAILURE],
        "sentences": "sentencex:en",
    }
    if history == EPISODE:
        parts["segments"] = SEGMENTS
    elif history:
        parts["quoted_marks"] = "a space before"
    if step != "thought":
        parts["step"] = step
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
