"""Many episodes: plays them, and writes each to Episodes JSONL the moment that it is over.

One runner does both collection and comparison; only the agent differs. A file that is there is
continued: episodes that it holds are not played again, and a line that was cut off in the middle
(a crash, a full disk) is dropped first. Ctrl-C, and an error that would hit everybody, let the
decisions that are under way end: their calls are paid, and behind a cache the same run continues
from them.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    nullcontext,
)
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pgv_jax.agents.agent import Decider, Decision, View
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.propose import Turn, request_seed
from pgv_jax.data.storage.jsonl import episode_to_json, read_jsonl
from pgv_jax.errors import PgvError
from pgv_jax.llm.client import ClientError
from pgv_jax.rollout.stopping import Halted, Stop, interruptible
from pgv_jax.tasks.base import TextEnv
from pgv_jax.texts.templates import History, StepForm, observation_text, sentences, with_notes
from pgv_jax.texts.unicode import clean
from pgv_jax.types import Candidate, Episode, Step

MakeAgent = Callable[[TextEnv, EpisodeSpec], Decider]
"""An agent for one episode; a scripted model binds itself to the environment, others ignore it."""

Progress = Callable[[int, int, Episode], None]
"""Called after each episode: (episodes done, episodes asked for, the episode)."""


Note = Callable[[str, str, str, str], Awaitable[str]]
"""``summarize.Summarizer.note``: (task, note before, action, observation) -> note."""

OnDecision = Callable[[Decision], None]
"""Called after each decision, before it is acted on."""

Around = Callable[[EpisodeSpec], AbstractContextManager[Callable[[Episode], None]]]
"""Entered for each episode; what it gives is called with the episode once it is over."""


async def play(
    env: TextEnv,
    agent: Decider,
    spec: EpisodeSpec,
    *,
    max_steps: int = 0,
    critic_history: History = 0,
    critic_step: StepForm = "thought",
    model_history: int = 0,
    note: Note | None = None,
    on_decision: OnDecision | None = None,
    stop: Stop | None = None,
) -> Episode:
    """Play one episode. ``max_steps`` 0: the environment's own limit alone.

    ``critic_history`` and ``critic_step`` are the artifact's ``texts``; ``model_history`` is how
    many past turns the model is shown. ``note`` writes what a critic of notes reads in place of
    observations; steps keep it in their metadata. With a ``goal`` the model is told the goal, while
    the critic's task field stays the task's.

    Raises:
        Halted: ``stop`` has a cause; the decision that was under way has ended.
    """
    started = time.monotonic()
    observation, info = await begin(env, spec)
    steps: list[Step] = []
    task, notes = str(info["task"]), list[str]()
    terminated = truncated = reached = False
    while not (terminated or truncated or reached):
        if stop is not None:
            stop.check()
        so_far = Episode(spec.episode_id, spec.task_id, task, tuple(steps), observation)
        if note is not None:
            before, action = (notes[-1], steps[-1].action) if steps else ("", "")
            notes.append(await note(task, before, action, observation))
        read = so_far if note is None else with_notes(so_far, notes)
        scored = observation_text(read, len(steps), critic_history)
        view = replace(
            _view(so_far, spec, scored, info["admissible_actions"], critic_step, model_history),
            after=partial(_after, read, critic_history),
        )
        asked = time.monotonic()
        decision = await agent.decide(view)
        waited = time.monotonic() - asked
        if on_decision is not None:
            on_decision(decision)
        played = await _in(env, env.step, decision.chosen.action)
        following, reward, terminated, truncated, info = played
        _check_info(env, info)
        step = _step(observation, decision, float(reward), waited)
        if notes:
            step = replace(step, metadata={**step.metadata, "note": notes[-1]})
        steps.append(step)
        observation = following
        reached = spec.goal is not None and spec.goal in sentences(observation)
        truncated = truncated or 0 < max_steps <= len(steps)
    last = Episode(spec.episode_id, spec.task_id, task, tuple(steps), observation)
    ended = judged(last, spec, info, reached, terminated)
    return replace(ended, metadata=record_of(spec, len(steps), time.monotonic() - started))


def judged(
    episode: Episode, spec: EpisodeSpec, info: Mapping[str, Any], reached: bool, terminated: bool
) -> Episode:
    """An episode with its outcome: the task's own, or whether its goal was ``reached``."""
    return replace(
        episode,
        success=bool(info["success"]) if spec.goal is None else reached,
        score=float(info["score"]) if spec.goal is None else float(reached),
        is_terminal=terminated or reached,
        split=spec.split,
    )


async def begin(env: TextEnv, spec: EpisodeSpec) -> tuple[str, dict[str, Any]]:
    """Reset the task as an episode wants it, and take the actions that it starts with.

    Returns the observation and the task's ``info``.
    """
    observation, info = await _in(env, env.reset, seed=spec.seed, options={"task": spec.task_id})
    env.set_goal(spec.goal)
    _check_info(env, info, "task")
    for action in spec.start:
        observation, _, _, _, info = await _in(env, env.step, action)
    return observation, info


def _check_info(env: TextEnv, info: Mapping[str, Any], *also: str) -> None:
    """A task of somebody's own may lack what an episode is played and judged by."""
    lacking = [key for key in (*also, "admissible_actions", "success", "score") if key not in info]
    if lacking:
        raise PgvError(
            f"Task '{env.name}' gives an info without {', '.join(lacking)}; the beginning of "
            "pgv_jax/tasks/base.py says what a task's info holds."
        )


def record_of(spec: EpisodeSpec, steps: int, seconds: float) -> dict[str, Any]:
    """What an episode's metadata say of how it was played."""
    return {
        **spec.metadata,
        "arm": spec.arm,
        "seed": spec.seed,
        "steps": steps,
        "seconds": round(seconds, 3),
        **({"start": list(spec.start)} if spec.start else {}),
        **({} if spec.goal is None else {"goal": spec.goal}),
    }


def _view(
    so_far: Episode,
    spec: EpisodeSpec,
    scored: str,
    admissible: Sequence[str],
    critic_step: StepForm,
    model_history: int,
) -> View:
    """What the agent sees before its next step: the last observation is the episode's last."""
    steps, observation = so_far.steps, so_far.final_observation
    past = steps[-model_history:] if model_history else ()
    return View(
        task=so_far.task,
        observation=observation,
        scored_observation=scored,
        admissible=admissible,
        past=[Turn(step.observation, step.action, step.metadata.get("message")) for step in past],
        seed=request_seed(spec.seed, spec.proposals, len(steps), observation),
        instruction="" if spec.goal is None else instruction(spec.goal),
        step=critic_step,
    )


def _after(read: Episode, history: History, candidate: Candidate, note: str) -> str:
    """The critic's observation field if ``candidate`` were played and ``note`` were seen then."""
    step = Step(read.final_observation, candidate.thought, candidate.action)
    then = replace(read, steps=(*read.steps, step), final_observation=note)
    return observation_text(then, len(then.steps), history)


async def _in(env: TextEnv, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """``call``; in a thread where the environment waits for a model, so that others play on."""
    return await asyncio.to_thread(call, *args, **named) if env.waits else call(*args, **named)


def instruction(goal: str) -> str:
    """A run-time goal as a task for a model."""
    return f"Bring it about that this is true: {goal}"


def _step(observation: str, decision: Decision, reward: float, seconds: float) -> Step:
    facts = {
        **decision.metadata,
        "error": decision.error,
        "prompt_tokens": sum(c.prompt_tokens for c in decision.completions),
        "completion_tokens": sum(c.completion_tokens for c in decision.completions),
        "dollars": sum(c.dollars for c in decision.completions),
        "cached": sum(c.cached for c in decision.completions),
    }
    return Step(
        observation=observation,
        thought=decision.chosen.thought,
        action=decision.chosen.action,
        reward=reward,
        candidates=decision.candidates,
        metadata={key: value for key, value in facts.items() if value}
        | {"seconds": round(seconds, 6)},
    )


class EpisodeFile:
    """An Episodes JSONL file that grows by one whole line at a time."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.episodes: list[Episode] = []
        if self.path.exists():
            self._drop_torn_line()
            self.episodes = list(read_jsonl(self.path))

    def _drop_torn_line(self) -> None:
        """Cut off what follows the last newline: lines are written whole, so it is torn."""
        with self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            keep = end
            while keep > 0:
                start = max(0, keep - (1 << 16))
                file.seek(start)
                newline = file.read(keep - start).rfind(b"\n")
                if newline >= 0:
                    keep = start + newline + 1
                    break
                keep = start
            if keep < end:
                file.truncate(keep)

    def append(self, episode: Episode) -> None:
        """Write one episode and hand it to the operating system before returning."""
        line = json.dumps(episode_to_json(episode), ensure_ascii=False, allow_nan=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(clean(line).encode() + b"\n")  # a task's own text may hold half characters
        self.episodes.append(episode)


def _check(specs: Sequence[EpisodeSpec], concurrency: int) -> None:
    if concurrency < 1:
        raise PgvError(f"Concurrency is {concurrency}; at least 1 episode must run.")
    for episode_id, times in Counter(spec.episode_id for spec in specs).items():
        if times > 1:
            raise PgvError(
                f"Episode id '{episode_id}' is asked for {times} times; ids must differ."
            )


def run_episodes(
    specs: Sequence[EpisodeSpec],
    make_env: Callable[[], TextEnv],
    make_agent: MakeAgent,
    path: Path | str,
    *,
    concurrency: int = 1,
    max_steps: int = 0,
    critic_history: History = 0,
    critic_step: StepForm = "thought",
    model_history: int = 0,
    note: Note | None = None,
    progress: Progress | None = None,
    on_decision: OnDecision | None = None,
    client: AbstractAsyncContextManager[Any] | None = None,
    say: Callable[[str], None] | None = None,
    around: Around | None = None,
) -> list[Episode]:
    """Play the episodes that ``path`` lacks and return all that were asked for, in their order.

    ``concurrency`` episodes wait for the model at the same time, each in an environment of its
    own. A model that stays silent after all retries costs that episode only: the others are played,
    and the error at the end says how many are missing. ``client`` is closed at the end, in the
    event loop that used it; ``say`` is told of an interruption; ``around`` encloses each episode.

    Raises:
        PgvError: something that would hit every episode (key, budget, a broken critic), or episodes
            are missing; the same call continues.
        KeyboardInterrupt: Ctrl-C, after the decisions under way; the same call continues.
    """
    _check(specs, concurrency)
    file = EpisodeFile(path)
    crew = _Crew(specs, make_env, make_agent, file, progress)
    crew.around = around or _nothing_around
    crew.play = partial(
        play,
        max_steps=max_steps,
        critic_history=critic_history,
        critic_step=critic_step,
        model_history=model_history,
        note=note,
        on_decision=on_decision,
        stop=crew.stop,
    )
    with interruptible(crew.stop, say):
        asyncio.run(crew.run(concurrency, client))
    if crew.stop.cause is not None:
        raise crew.stop.cause
    if crew.silent:
        raise PgvError(
            f"{len(crew.silent)} of {len(specs)} episodes could not be played. The first: "
            f"{crew.silent[0]}"
        )
    return [crew.done[spec.episode_id] for spec in specs]


def _nothing_around(spec: EpisodeSpec) -> AbstractContextManager[Callable[[Episode], None]]:
    return nullcontext(lambda episode: None)


class _Crew:
    """The workers of one run and what they share."""

    def __init__(
        self,
        specs: Sequence[EpisodeSpec],
        make_env: Callable[[], TextEnv],
        make_agent: MakeAgent,
        file: EpisodeFile,
        progress: Progress | None,
    ):
        self.make_env, self.make_agent = make_env, make_agent
        self.file, self.progress = file, progress
        self.done = {episode.episode_id: episode for episode in file.episodes}
        self.queue = [spec for spec in specs if spec.episode_id not in self.done]
        self.count = len(specs)
        self.finished = len(specs) - len(self.queue)
        self.silent: list[str] = []
        self.stop = Stop()
        self.play: Callable[..., Any] = play
        self.around: Around = _nothing_around

    async def run(
        self, concurrency: int, client: AbstractAsyncContextManager[Any] | None = None
    ) -> None:
        """Play what is queued; ``stop`` holds the error, if there was one."""
        async with AsyncExitStack() as stack:
            if client is not None:
                await stack.enter_async_context(client)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(self.queue))):
                    group.create_task(self._work())

    async def _work(self) -> None:
        try:
            env = self.make_env()
            while self.queue and self.stop.cause is None:
                await self._one(env, self.queue.pop(0))
        except Halted:
            pass
        except Exception as error:  # the others end their decisions, whatever broke
            self.stop.because(error)

    async def _one(self, env: TextEnv, spec: EpisodeSpec) -> None:
        try:
            with self.around(spec) as over:
                episode = await self.play(env, self.make_agent(env, spec), spec)
                over(episode)
        except ClientError as failure:
            if failure.stops_run:
                raise
            self.silent.append(f"{spec.episode_id}: {failure}")
            return
        self.file.append(episode)
        self.done[spec.episode_id] = episode
        self.finished += 1
        if self.progress is not None:
            self.progress(self.finished, self.count, episode)
