"""The listener in a tree of doors: three doors a room, one of which leads on, five rooms deep."""

import asyncio
import json
from typing import Any

import numpy as np

from pgv_jax.agents.agent import Agent, View
from pgv_jax.agents.propose import Turn, build_messages
from pgv_jax.agents.refine import RefineOptions, Refiner
from pgv_jax.agents.scripted.listener import listener_client, listener_policy
from pgv_jax.agents.strategies import GuidedAgent
from pgv_jax.llm.client import Request
from pgv_jax.tasks.base import TextEnv
from pgv_jax.texts.templates import SUCCESS

DOORS = ("take the blue door", "take the green door", "take the red door")
ROOMS = 5


class Doors(TextEnv):
    """A wrong door ends the game."""

    name = "doors"

    def __init__(self, seed: int):
        super().__init__()
        self.right = np.random.default_rng(seed).integers(3, size=ROOMS).tolist()
        self.room, self.over = 0, False

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return ("doors",)

    def admissible_actions(self) -> list[str]:
        return [] if self.over else list(DOORS)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        self.room, self.over = 0, False
        return self._note(), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.over = DOORS[self.right[self.room]] != action
        self.room += not self.over
        won = self.room == ROOMS
        self.over = self.over or won
        return self._note(), float(won), self.over, False, {"success": won}

    def q(self, task: str, observation: str, thoughts: list[str], goals: list[str]) -> np.ndarray:
        """A perfect critic of success, and of nothing else."""
        good = [0.9 if DOORS[self.right[self.room]] in thought else 0.1 for thought in thoughts]
        return np.array([[q if goal == SUCCESS else 1 - q for goal in goals] for q in good])

    def _note(self) -> str:
        return f"You are in room {self.room}."


def won(seed: int, refined: bool = True, **options: Any) -> bool:
    env = Doors(seed)
    client = listener_client(env, plans=3)
    agent: Any = Agent(client, "first", repeat_penalty=1.0)
    if refined:
        settings = RefineOptions(goals=1, rounds=3, **options)
        agent = GuidedAgent(agent, Refiner(client, env.q, settings))
    note, _ = env.reset()

    async def play() -> bool:
        observation, over, success = note, False, False
        while not over:
            view = View("Get out.", observation, observation, env.admissible_actions(), (), seed)
            decision = await agent.decide(view)
            observation, _, over, _, info = env.step(decision.chosen.action)
            success = info["success"]
        return success

    return asyncio.run(play())


def wins(**options: Any) -> int:
    return sum(won(seed, **options) for seed in range(25))


def test_words_lead_the_listener_out_and_controls_do_not() -> None:
    assert wins() == 25
    controls = {
        name: wins(scores=name) for name in ("shuffled", "permuted", "constant", "none", "guess")
    }
    controls["react"] = wins(refined=False)
    assert all(count <= 3 for count in controls.values()), controls


def test_fresh_or_first_goals_and_a_scalar_serve_it_alike() -> None:
    assert wins(fresh_goals=False) == wins(scores="scalar") == 25


def test_a_plan_counts_half_for_each_time_it_was_taken_here() -> None:
    policy = listener_policy(Doors(0), plans=2)
    blue, green = (f"I choose to {door}." for door in DOORS[:2])

    def decision(past: list[tuple[str, str]]) -> dict[str, str]:
        turns = [Turn(*turn) for turn in past]
        situation = build_messages("Get out.", "You are in room 0.", DOORS, turns)[1]["content"]
        user = (
            f'{situation}\n\nThe plan: {green}\n- Good outcome: "A." 0.30\n'
            f'An earlier plan: {blue}\n- Good outcome: "A." 0.50'
        )
        messages = [{"role": "system", "content": '"decision"'}, {"role": "user", "content": user}]
        answer: dict[str, str] = json.loads(policy(Request(messages), 0))
        return answer

    elsewhere = [("You are in room 1.", DOORS[0])]
    here = [("You are in room 0.", DOORS[0])]
    assert decision([]) == decision(elsewhere) == {"decision": "rewrite", "thought": blue}
    assert decision(here) == {"decision": "keep", "thought": green}


def test_the_listener_is_a_function_of_the_request() -> None:
    env = Doors(0)
    policy = listener_policy(env)
    request = Request(
        [{"role": "system", "content": "act"}, {"role": "user", "content": "?"}], seed=3
    )
    assert policy(request, 0) == policy(request, 0)
    answers = {policy(Request(request.messages, seed=seed), 0) for seed in range(30)}
    assert len(answers) == 3
