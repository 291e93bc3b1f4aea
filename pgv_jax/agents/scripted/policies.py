"""Scripted models: what ``ScriptedClient`` answers in a simulated task.

They know the simulator and answer in a model's words, "Thought: ... / Action: ...". Their chance
comes from ``Request.seed`` alone, so equal requests are answered equally.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgv_jax.llm.client import Request, ScriptedClient

if TYPE_CHECKING:
    from pgv_jax.tasks.base import TextEnv

Policy = Callable[[Request, int], str]


def _scripted(env: TextEnv, draw: Callable[[random.Random], list[str]]) -> Policy:
    """A policy that draws its actions once a request and words the one of each sample."""
    last: tuple[Request | None, list[str]] = (None, [])

    def policy(request: Request, index: int) -> str:
        nonlocal last
        if last[0] is not request:
            last = (request, draw(random.Random(f"scripted/{request.seed}")))
        actions = last[1]
        if not actions:
            return "Thought: Nothing can be done here.\nAction: "
        action = actions[min(index, len(actions) - 1)]  # too few to go round: the last one again
        return f"Thought: {env.thought_for(action)}\nAction: {action}"

    return policy


def behaviour_policy(
    env: TextEnv, skill: float, count: int = 1, expert_share: float = 0.9
) -> Policy:
    """A player of some skill, for collecting episodes.

    Sample 0 is what it plays: the expert's action with probability ``skill``, else a random
    admissible one. The other ``count - 1`` are distinct alternatives, to be scored and not played;
    where the expert's action is not played, it is among them with probability ``expert_share``.
    """

    def draw(rng: random.Random) -> list[str]:
        actions, expert = env.admissible_actions(), env.expert_action()
        if not actions:
            return []
        played = expert if expert and rng.random() < skill else rng.choice(actions)
        others = [action for action in actions if action not in (played, expert)]
        rng.shuffle(others)
        others = others[: count - 1]
        if expert and expert != played and rng.random() < expert_share and count > 1:
            others = others[: count - 2]
            others.insert(rng.randrange(len(others) + 1), expert)
        return [played, *others]

    return _scripted(env, draw)


def proposer_policy(env: TextEnv, expert_share: float | None, count: int = 6) -> Policy:
    """A proposer for comparing selectors: ``count`` distinct admissible actions in random order.

    With probability ``expert_share`` the expert's action is among them, at a random position, and
    else it is not, unless that left fewer than two: being made to spoil the game by the only action
    on offer says nothing about selection. None plants nothing and removes nothing.
    """

    def draw(rng: random.Random) -> list[str]:
        actions = env.admissible_actions()
        rng.shuffle(actions)
        expert = env.expert_action() if expert_share is not None else None
        if expert_share is not None and expert is not None:
            planted = rng.random() < expert_share
            position = rng.randrange(min(count, len(actions)))
            actions.remove(expert)
            if planted or len(actions) < 2:
                actions.insert(position, expert)
        return actions[:count]

    return _scripted(env, draw)


def behaviour_client(
    env: TextEnv, skill: float, count: int = 1, expert_share: float = 0.9
) -> ScriptedClient:
    """``behaviour_policy`` as a client."""
    policy = behaviour_policy(env, skill, count, expert_share)
    return ScriptedClient(policy, f"scripted player, skill {skill}")


def proposer_client(env: TextEnv, expert_share: float | None, count: int = 6) -> ScriptedClient:
    """``proposer_policy`` as a client."""
    policy = proposer_policy(env, expert_share, count)
    return ScriptedClient(policy, f"scripted proposer, p={expert_share}, K={count}")
