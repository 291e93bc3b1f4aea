"""A scripted model that follows the critic's words: what refinement is rehearsed and tested with.

It knows which actions there are and how to word a reason for one, and nothing of their worth: it
proposes at random, looks at a few other plans, and ends with the one that the critic's words
speak for. So whatever it achieves above chance came to it through the words alone.
"""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING

from pgv_jax.agents.scripted.policies import Policy
from pgv_jax.agents.select import REPEAT_PENALTY
from pgv_jax.llm.client import Request, ScriptedClient
from pgv_jax.texts.templates import FAILURE, SUCCESS

if TYPE_CHECKING:
    from pgv_jax.tasks.base import TextEnv

_NUMBER = re.compile(r"(?m)^- (?:Good outcome: \".*\"|The task will succeed:) ([\d.]+)( %)?$")
_PLAN = re.compile(r"(?m)^(?:The|An earlier) plan: (.*)$")


def listener_policy(
    env: TextEnv, plans: int = 4, good: str = SUCCESS, bad: str = FAILURE
) -> Policy:
    """Weighs up to ``plans`` thoughts by the mean number of their good outcomes.

    Run it with as many rounds. Without numbers it keeps its first thought. The goals it imagines
    are always ``good`` and ``bad``. Where it is shown past turns, a plan counts half for each time
    that its action was taken at this same note, whatever the critic says (``REPEAT_PENALTY``).
    """

    def policy(request: Request, index: int) -> str:
        system, user = (str(message["content"]) for message in request.messages[:2])
        chance = random.Random(f"listener/{request.seed}/{index}")
        actions = {env.thought_for(action): action for action in env.admissible_actions()}
        if '"positive"' in system:
            return json.dumps({"positive": [good], "negative": [bad]})
        if '"probabilities"' in system:
            return json.dumps({"probabilities": [round(chance.random(), 2) for _ in range(2)]})
        if '"decision"' in system:
            return _refined(user, actions, plans, chance)
        if '{"action"' in system:
            thought = _PLAN.findall(user)[0]
            return f"Action: {actions.get(thought, '')}"
        if not actions:
            return "Thought: Nothing can be done here.\nAction: "
        thought = chance.choice(list(actions))
        return f"Thought: {thought}\nAction: {actions[thought]}"

    return policy


def listener_client(
    env: TextEnv, plans: int = 4, good: str = SUCCESS, bad: str = FAILURE
) -> ScriptedClient:
    """``listener_policy`` as a client."""
    return ScriptedClient(listener_policy(env, plans, good, bad), f"scripted listener, {plans}")


def _refined(user: str, actions: dict[str, str], plans: int, chance: random.Random) -> str:
    """Keep or rewrite: see another plan while there are some to see, then take the best."""
    values = _values(user)
    current = next(iter(values))
    untried = [thought for thought in actions if thought not in values]
    if any(value is None for value in values.values()):
        choice = current
    elif len(values) < plans and untried:
        choice = chance.choice(untried)
    else:
        note = user.partition("What you know now:\n")[2].partition("\n\n")[0]
        weighed = {
            thought: (value or 0.0) * REPEAT_PENALTY ** _times(user, note, actions.get(thought, ""))
            for thought, value in values.items()
        }
        choice = max(weighed, key=lambda thought: weighed[thought])
    decision = "keep" if choice == current else "rewrite"
    return json.dumps({"decision": decision, "thought": choice})


def _times(user: str, note: str, action: str) -> int:
    """How often ``action`` was taken at ``note``, by the past turns that the prompt shows."""
    lines = (user.partition("What you know now:")[0] + "\n").split("Observation: ")
    return sum(turn.strip() == f"{note}\nAction: {action}" for turn in lines)


def _values(user: str) -> dict[str, float | None]:
    """Thought -> mean of its good numbers (None without any), the present plan first."""
    starts = [match.start() for match in _PLAN.finditer(user)]
    values: dict[str, float | None] = {}
    for start, end in zip(starts, [*starts[1:], len(user)], strict=True):
        part = user[start:end]
        numbers = [
            float(number) / (100.0 if percent else 1.0) for number, percent in _NUMBER.findall(part)
        ]
        thought = _PLAN.findall(part)[0]
        values.setdefault(thought, sum(numbers) / len(numbers) if numbers else None)
    return values
