"""The loop of AgentPRM, InversePRM and self-taught lookahead: play, label, learn, play with it.

``OUT/iteration-I`` holds an iteration's rollout, dataset and critic; ``OUT/iterations.jsonl`` says
how each went. Every stage leaves files and continues where they end, so an interrupted run is
continued by the same call.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pgv_jax.agents.agent import Decider, Decision, View
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.search.search_agent import unfolded
from pgv_jax.config import Config, check_imagined
from pgv_jax.critic import artifact as artifacts
from pgv_jax.data.episodes import is_dataset, read_episodes, write_dataset
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.errors import PgvError
from pgv_jax.files import write_whole
from pgv_jax.learner.loop import check_start
from pgv_jax.learner.state import critic_spec
from pgv_jax.objectives.base import ExampleObjective
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.plan import held_out_tasks
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.tasks.base import TextEnv
from pgv_jax.texts.templates import EPISODE
from pgv_jax.types import Episode
from pgv_jax.workflows.claim import claim
from pgv_jax.workflows.training import Bar, fit, prepare, silent, without_outcome

SEEDS = 1000
"""Seeds of an iteration's episodes: the first counts on by so many from iteration to iteration."""


class IterateConfig(BaseModel):
    """A whole iteration of collecting and learning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(3, ge=1)
    rollout: RolloutConfig = RolloutConfig()
    learn: Config = Config()
    base: str | None = Field(None, description="artifact that iteration 0 plays with; none: alone")
    aggregate: bool = Field(True, description="learn from all iterations so far, not the latest")
    reset: float = Field(
        0.0, ge=0, le=1, description="share of episodes that begin midway in an earlier one's"
    )
    steer: float = Field(0.0, ge=0, le=1, description="chance that an episode is given a strategy")
    steering: tuple[str, ...] = Field((), description="sentences that are added to the prompt")
    expert: str = Field(
        "scripted:player:1", description="InversePRM: a client, or the folder of a dataset"
    )
    expert_repeats: int = Field(1, ge=1, description="an expert client's episodes a task")
    search: Literal["greedy-search", "bfs", "mcts"] = Field(
        "greedy-search", description="lookahead: what makes the data"
    )
    refit: Literal["base", "new"] = Field(
        "base", description="lookahead: what each fit starts from, base's parameters or new ones"
    )


def iterate(
    method: str, settings: IterateConfig, out: Path, bar: Bar = silent
) -> list[dict[str, Any]]:
    """Run or continue all iterations; returns one record an iteration, also written to ``out``."""
    _check(method, settings)
    asked = {"method": method, **settings.model_dump(mode="json", exclude={"iterations"})}
    claim(out / "iterate.json", "an iteration", asked)  # ``iterations`` alone may grow
    records = []
    artifact = Path(settings.base) if settings.base else None
    for number in range(settings.iterations):
        folder = out / f"iteration-{number}"
        episodes = _play(settings, out, number, artifact, bar)
        data = folder / "dataset"
        write_dataset(
            data,
            _learnt_from(settings, out, number, artifact, episodes, bar),
            source=f"pgv iterate {method}, iteration {number}",
            licence="generated",
            overwrite=True,
        )
        config = _learn_config(settings, out, data)
        artifact = fit(config, prepare(config, folder / "tables", bar), folder / "critic", bar)
        records.append(_record(number, episodes, artifact))
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_whole(out / "iterations.jsonl", text)
    return records


def _check(method: str, settings: IterateConfig) -> None:
    named = settings.learn.objective.name
    if named != method:
        raise PgvError(
            f"learn.objective.name is {named}, and the method is {method}; name the same twice."
        )
    if _iterated(settings).plays == "search" and settings.base is None:
        raise PgvError("Self-taught lookahead starts from a value; give base=ARTIFACT.")
    if settings.steer and not settings.steering:
        raise PgvError(f"steer = {settings.steer} needs sentences to steer by; give steering.")
    if _iterated(settings).plays == "search":
        _check_base(_from_base(settings))


def _check_base(learn: Config) -> None:
    """Whether the fits can start from the base, said before a search is played for them."""
    if not learn.train.start:
        return
    base = artifacts.load(learn.train.start)
    check_imagined(learn)
    spec = critic_spec(learn.critic, learn.objective, int(base.manifest["critic"]["dim"]))
    remedy = "fit new parameters to its values (refit=new)"
    check_start(base, spec, open_encoder(learn.data.encoder).fingerprint, remedy)


def _from_base(settings: IterateConfig) -> Config:
    """What is learned by lookahead: from the base's parameters, unless another start is named."""
    learn = settings.learn
    if settings.refit != "base" or learn.train.start:
        return learn
    train = learn.train.model_copy(update={"start": settings.base})
    return learn.model_copy(update={"train": train})


def _iterated(settings: IterateConfig) -> ExampleObjective:
    """The objective, which must say what makes its data (``ExampleObjective.plays``)."""
    objective = settings.learn.objective
    if not isinstance(objective, ExampleObjective) or not objective.plays:
        raise PgvError(
            f"The objective {objective.name} learns from a log as it is; use `pgv train`."
        )
    return objective


def _learn_config(settings: IterateConfig, out: Path, dataset: Path) -> Config:
    searched = _iterated(settings).plays == "search"
    learn = _from_base(settings) if searched else settings.learn
    store = learn.data.store or str(out / "embeddings")
    data = learn.data.model_copy(update={"dataset": str(dataset), "store": store})
    return learn.model_copy(update={"data": data})


def _play(
    settings: IterateConfig, out: Path, number: int, artifact: Path | None, bar: Bar
) -> list[Episode]:
    """The episodes of one iteration: the model alone, or guided by the critic so far."""
    objective, plain = _iterated(settings), artifact is None
    chosen = settings.search if objective.plays == "search" else "best-of-n"
    base = settings.rollout
    task = base.task.model_copy(update={"seed": base.task.seed + SEEDS * number})
    played = base.model_copy(
        update={
            "task": task,
            "strategy": "proposals" if plain else chosen,
            "artifact": None if plain else str(artifact),
            "store": str(out / "embeddings"),
            "search": base.search.model_copy(
                update={
                    "ends": settings.base,
                    "hindsight": objective.state_goals,
                }
            ),
        }
    )
    run = Rollout(played, out / f"iteration-{number}" / "rollout")
    earlier = _episodes_of(out, number - 1) if number and settings.reset else []
    run.specs = [_explored(spec, settings, earlier) for spec in run.specs]
    words = f"iteration {number}: playing ({'alone' if plain else chosen})"
    with bar(words, len(run.specs)) as report:
        return run.run(lambda done, total, episode: report(done))


def _explored(
    spec: EpisodeSpec, settings: IterateConfig, earlier: Sequence[Episode]
) -> EpisodeSpec:
    """The spec, perhaps with a start midway in an earlier episode and a strategy to follow."""
    rng = random.Random(f"explore/{spec.episode_id}")
    if rng.random() < settings.reset:
        same = [e for e in earlier if e.task_id == spec.task_id and len(e.steps) > 1]
        if same:
            visited = rng.choice(same)
            kept = rng.randrange(1, len(visited.steps))
            before = tuple(visited.metadata.get("start", ()))
            actions = tuple(step.action for step in visited.steps[:kept])
            spec = replace(spec, seed=int(visited.metadata["seed"]), start=(*before, *actions))
    if settings.steering and rng.random() < settings.steer:
        steering = rng.choice(settings.steering)
        spec = replace(spec, metadata={**spec.metadata, "steering": steering})
    return spec


def _episodes_of(out: Path, number: int) -> list[Episode]:
    return list(read_jsonl(out / f"iteration-{number}" / "rollout" / "episodes.jsonl"))


def _learnt_from(
    settings: IterateConfig,
    out: Path,
    number: int,
    artifact: Path | None,
    episodes: list[Episode],
    bar: Bar,
) -> Iterator[Episode]:
    """What iteration ``number`` learns from; a tenth of the tasks is held out where outcomes
    judge the critic."""
    objective = _iterated(settings)
    if objective.plays == "search":
        history = settings.learn.texts.history
        if history == EPISODE:
            raise PgvError(
                "Lookahead learns from windows of turns; set learn.texts.history=0 or more."
            )
        yield from (replace(part, split="train") for e in episodes for part in unfolded(e, history))
        return
    first = 0 if settings.aggregate else number
    before = [e for k in range(first, number) for e in _named(_episodes_of(out, k), k)]
    everything = [*before, *_named(episodes, number)]
    if objective.plays == "expert":
        everything = [without_outcome(episode) for episode in everything]
        everything += _expert(settings, out, number, artifact, bar)
    tasks = sorted({episode.task_id for episode in everything})
    held_out = held_out_tasks(tasks) if objective.reads_outcome else set()
    for episode in everything:
        yield replace(episode, split="val" if episode.task_id in held_out else "train")


def _named(episodes: Iterable[Episode], number: int) -> Iterator[Episode]:
    """Episodes under ids that tell their iteration."""
    for episode in episodes:
        yield replace(episode, episode_id=f"{number}/{episode.episode_id}")


def _expert(
    settings: IterateConfig, out: Path, number: int, artifact: Path | None, bar: Bar
) -> list[Episode]:
    """The expert's episodes: of a dataset, or played by a client; their outcomes are left out.

    Where the objective ``asks_policy``, the policy of this iteration thinks beside the client.
    """
    if is_dataset(Path(settings.expert)):
        found = list(read_episodes(settings.expert, "train"))
    else:
        shadowed = _iterated(settings).asks_policy
        task = settings.rollout.task.model_copy(update={"repeats": settings.expert_repeats})
        update: dict[str, Any] = {"client": settings.expert, "task": task, "strategy": "react"}
        if shadowed and artifact is not None:
            update["artifact"] = str(artifact)
        folder = out / (f"iteration-{number}/expert" if shadowed else "expert")
        run = Rollout(settings.rollout.model_copy(update=update), folder)
        if shadowed:
            run = _Shadowed(settings, run, artifact, out)
        with bar(f"iteration {number}: the expert plays", len(run.specs)) as report:
            found = run.run(lambda done, total, episode: report(done))
    return [
        replace(
            without_outcome(episode),
            episode_id=f"expert/{episode.episode_id}",
            metadata={**episode.metadata, "expert": True},
        )
        for episode in found
    ]


class _Shadowed(Rollout):
    """A rollout of the expert in which the policy says at each step what it would think."""

    def __init__(self, settings: IterateConfig, expert: Rollout, artifact: Path | None, out: Path):
        super().__init__(expert.settings, expert.out)
        policy = settings.rollout.model_copy(
            update={
                "strategy": "proposals" if artifact is None else "best-of-n",
                "artifact": None if artifact is None else str(artifact),
                "store": str(out / "embeddings"),
            }
        )
        self._policy = Rollout(policy, expert.out)

    def _agent(self, env: TextEnv, spec: EpisodeSpec) -> Decider:
        return _Pair(super()._agent(env, spec), self._policy._agent(env, spec))


class _Pair:
    """Two deciders, of whom the first is followed and the second is recorded."""

    def __init__(self, expert: Decider, policy: Decider):
        self._expert, self._policy = expert, policy

    async def decide(self, view: View) -> Decision:
        """The expert's decision, with the policy's thought beside it."""
        followed = await self._expert.decide(view)
        other = await self._policy.decide(view)
        about = {**followed.metadata, "policy_thought": other.chosen.thought}
        return replace(followed, metadata=about)


def _record(number: int, episodes: Sequence[Episode], artifact: Path) -> dict[str, Any]:
    done = sum(episode.success is True for episode in episodes)
    steps = sum(len(episode.steps) for episode in episodes)
    return {
        "iteration": number,
        "episodes": len(episodes),
        "success": round(done / len(episodes), 4),
        "mean_steps": round(steps / len(episodes), 2),
        "artifact": str(artifact),
    }
