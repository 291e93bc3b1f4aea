"""The one module that says how a step is put into words.

The table, the health report, the agent and the server all take their texts from here, so a
critic is asked about exactly the wording that it was trained on. ``template_fingerprint`` goes
into every manifest; a change of any wording below must change ``VERSION``.
"""

from __future__ import annotations

import hashlib
import json

from pgv_jax.errors import PgvError
from pgv_jax.sentences import sentences
from pgv_jax.types import Episode

__all__ = [
    "FAILURE",
    "SUCCESS",
    "observation_text",
    "own_observation",
    "sentences",
    "template_fingerprint",
]

VERSION = 1

SUCCESS = "The task is done."
FAILURE = "The task has failed."

OBSERVATION_TEMPLATE = "Observation: {observation}"
ACTION_TEMPLATE = "Action: {action}"
SEPARATOR = "\n"


def own_observation(episode: Episode, t: int) -> str:
    """Return what the agent saw at step ``t``; ``t == len(steps)`` is the final observation."""
    count = len(episode.steps)
    if not 0 <= t <= count:
        raise PgvError(
            f"Episode '{episode.episode_id}' has {count} steps, so its observations are numbered "
            f"0 to {count}; {t} was asked for."
        )
    return episode.steps[t].observation if t < count else episode.final_observation


def observation_text(episode: Episode, t: int, history: int) -> str:
    """Return the text of the observation *field* at step ``t``.

    ``history == 0``: the step's own observation, unchanged. ``history == k``: the last ``k``
    (observation, action) turns, oldest first, then the present observation.
    """
    if history < 0:
        raise PgvError(f"texts.history is {history}; it counts past turns, so use 0 or more.")
    present = own_observation(episode, t)
    if history == 0:
        return present
    lines = []
    for step in episode.steps[max(0, t - history) : t]:
        lines.append(OBSERVATION_TEMPLATE.format(observation=step.observation))
        lines.append(ACTION_TEMPLATE.format(action=step.action))
    lines.append(OBSERVATION_TEMPLATE.format(observation=present))
    return SEPARATOR.join(lines)


def template_fingerprint(history: int) -> str:
    """sha256 hex over everything here that changes a text: templates, goals, history, version."""
    parts = {
        "version": VERSION,
        "history": history,
        "templates": [OBSERVATION_TEMPLATE, ACTION_TEMPLATE, SEPARATOR],
        "goals": [SUCCESS, FAILURE],
        "sentences": "sentencex:en",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
