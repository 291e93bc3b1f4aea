"""Which episodes a study consists of, and who plays them: collection, comparison, run-time goals.

All arms of a comparison meet the same tasks, seeds and, as long as they are in the same state, the
same proposals; they differ in the selector and its scores alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pgv_jax.agents.agent import Agent
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.scripted.policies import behaviour_client, proposer_client
from pgv_jax.agents.select import NEEDS_SCORES, REPEAT_PENALTY, Scorer
from pgv_jax.errors import PgvError
from pgv_jax.rollout.runner import MakeAgent
from pgv_jax.rollout.settings import TaskConfig
from pgv_jax.tasks.base import TextEnv
from pgv_jax.texts.templates import SUCCESS

SKILLS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of expert moves in collected episodes, used in turn: a critic needs failures, too."""

GOAL_STEPS = 20
"""Step limit of an episode about a run-time goal."""


class RunTimeGoal(Protocol):
    """What a task says of a sentence to bring about (``textworld.goals.Goal``)."""

    @property
    def task_id(self) -> str:
        """The task in which it is asked for."""
        ...

    @property
    def sentence(self) -> str:
        """The sentence, in the notes' own wording."""
        ...

    @property
    def kind(self) -> str:
        """Its kind, for the table of results."""
        ...


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of selecting: a selector by name, the critic that scores for it, what is asked.

    ``goals`` None asks for the episode's own goal: its sentence, or success.
    """

    name: str
    selector: str = "critic"
    scorer: Scorer | None = None
    goals: tuple[str, ...] | None = None
    repeat_penalty: float = REPEAT_PENALTY


def collect_specs(
    task_ids: Sequence[str], split: str, count: int, skills: Sequence[float] = SKILLS, seed: int = 0
) -> list[EpisodeSpec]:
    """``count`` episodes, the tasks in turn, every task with every skill."""
    specs = []
    for i in range(count):
        task_id, again = task_ids[i % len(task_ids)], i // len(task_ids)
        skill = skills[(again + i % len(task_ids)) % len(skills)]
        specs.append(
            EpisodeSpec(
                episode_id=f"collect/{task_id}/{seed + again}",
                task_id=task_id,
                arm="behaviour",
                seed=seed + again,
                split=split,
                metadata={"skill": skill},
            )
        )
    return specs


def behaviour_agents(candidates: int = 6, expert_share: float = 0.9) -> MakeAgent:
    """Agents that collect: they play the first sample; the others are recorded, not played."""

    def make(env: TextEnv, spec: EpisodeSpec) -> Agent:
        client = behaviour_client(env, float(spec.metadata["skill"]), candidates, expert_share)
        return Agent(client, candidates=candidates, repeat_penalty=1.0, correct=env.correct)

    return make


def compare_specs(
    task_ids: Sequence[str], arms: Sequence[Arm], repeats: int = 1, seed: int = 0
) -> list[EpisodeSpec]:
    """Every arm on every task, ``repeats`` times with other proposals."""
    return [
        EpisodeSpec(f"{arm.name}/{task_id}/{seed + again}", task_id, arm.name, seed + again)
        for arm in arms
        for task_id in task_ids
        for again in range(repeats)
    ]


def goal_specs(
    goals: Sequence[RunTimeGoal], arms: Sequence[Arm], seed: int = 0
) -> list[EpisodeSpec]:
    """Every arm on every run-time goal; play them with ``max_steps=GOAL_STEPS``."""
    return [
        EpisodeSpec(
            episode_id=f"{arm.name}/{goal.task_id}/{goal.sentence}",
            task_id=goal.task_id,
            arm=arm.name,
            seed=seed,
            goal=goal.sentence,
            metadata={"goal_kind": goal.kind},
        )
        for arm in arms
        for goal in goals
    ]


def arm_agents(arms: Sequence[Arm], expert_share: float | None, candidates: int = 6) -> MakeAgent:
    """Agents of a comparison with the scripted proposer: ``expert_share`` p, or None for chance."""
    by_name = {arm.name: arm for arm in arms}
    if len(by_name) < len(arms):
        raise PgvError("Two arms have the same name; give each its own.")

    def make(env: TextEnv, spec: EpisodeSpec) -> Agent:
        arm = by_name[spec.arm]
        return Agent(
            proposer_client(env, expert_share, candidates),
            selector=arm.selector,
            scorer=arm.scorer if arm.selector in NEEDS_SCORES else None,
            goals=arm.goals or (spec.goal or SUCCESS,),
            candidates=candidates,
            repeat_penalty=arm.repeat_penalty,
            oracle=env.preferences,
            correct=env.correct,
        )

    return make


def goals_asked(
    env: TextEnv, ids: Sequence[str], task: TaskConfig
) -> dict[str, list[tuple[str | None, str]]]:
    """Task -> the (goal, kind) that are asked for in it; (None, "") is the task itself."""
    if not task.goals:
        return {task_id: [(task.goal, "")] for task_id in ids}
    ask = getattr(env, "run_time_goals", None)
    if ask is None:
        raise PgvError(f"Task '{task.name}' has no run-time goals; give one with task.goal.")
    limit = {"max_steps": task.max_steps} if task.max_steps else {}
    goals = [goal for task_id in ids for goal in ask(task_id, **limit)]
    about: dict[str, list[tuple[str | None, str]]] = {task_id: [] for task_id in ids}
    count = min(len(goals), task.goals)
    for goal in (goals[i * len(goals) // count] for i in range(count)):  # evenly over the tasks
        about[goal.task_id].append((goal.sentence, goal.kind))
    return about
