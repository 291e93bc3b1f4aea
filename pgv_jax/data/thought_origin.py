"""Where the thought of a step is from, whoever wrote the episode."""

from __future__ import annotations

from pgv_jax.types import Step

OWN = ("reasoning", "given")
"""Origins that are reasoning of the agent's own, apart from what it said and did."""


def thought_origin(step: Step, task: str = "") -> str:
    """Return reasoning, words, calls, action, repeated, given or none.

    What an importer states in ``thought_from`` holds; without it a thought that is the action, the
    observation or the task once more is no reasoning, and any other is ``given``.
    """
    thought = step.thought.strip()
    if not thought:
        return "none"
    stated = step.metadata.get("thought_from")
    if isinstance(stated, str):
        return stated
    if thought == step.action.strip():
        return "action"
    return "repeated" if thought in (step.observation.strip(), task.strip()) else "given"
