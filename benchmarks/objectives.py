"""Every objective on the same logs, embeddings, budget and seeds: three tasks, one table.

    python benchmarks/objectives.py --data ../shared/data --out runs/objectives

Logs are collected once a task by scripted players of mixed skill, and each text is embedded once.
Each seed trains every method anew and plays held-out tasks, with proposals of its own. A cell
(task, seed, method) leaves ``NAME.cell.json`` and is not run again; the same call continues, and
prints the table of what is there. ``--task`` chooses tasks, so that processes may share the work:
each task has its own folder. Players and proposers are scripts.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
from entry import begin
from objectives_table import tell

from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.agents.scripted.policies import proposer_client
from pgv_jax.agents.search.search_agent import SearchAgent, search_values, unfolded
from pgv_jax.agents.search.search_world import World
from pgv_jax.agents.search.tree import Limits
from pgv_jax.cli.console import bar, console
from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.config import Config, load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import is_dataset, read_episodes, write_dataset
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.learner.validate import stratified_auc
from pgv_jax.rollout.collect import collect
from pgv_jax.rollout.plan import Plan
from pgv_jax.rollout.runner import run_episodes
from pgv_jax.rollout.studies import SKILLS, Arm, arm_agents, compare_specs
from pgv_jax.tasks.base import TextEnv
from pgv_jax.texts.templates import SUCCESS, observation_text
from pgv_jax.types import Episode
from pgv_jax.workflows.scripted import SUCCESS_ONLY
from pgv_jax.workflows.training import fit, prepare

CANDIDATES, SHARE = 6, 0.5
"""Proposals a decision; a right one is among them with this chance."""
EXPERT_SKILL = 0.9
"""Logged players of at least this skill are InversePRM's experts."""
EXPECTILE = "objective.expectile=0.7"
METHODS: dict[str, tuple[str, ...]] = {
    "gc_iql": (EXPECTILE,),
    "success_only_iql": (EXPECTILE, *SUCCESS_ONLY),
    "monte_carlo": ("objective.name=monte_carlo", *SUCCESS_ONLY),
    "agent_prm": ("objective.name=agent_prm", "objective.by_candidates=false"),
    "inverse_prm": ("objective.name=inverse_prm", "objective.next_thought=policy"),
    "lookahead": ("objective.name=lookahead",),
}
"""Name -> what differs from the common configuration. Lookahead's base is gc_iql of its seed."""
BASE, SEARCHED = "gc_iql", ("gc_iql", "lookahead")
CELLS = ("first", *METHODS, *(f"search-{name}" for name in SEARCHED))


@dataclass(frozen=True)
class Size:
    """How much of a task is done.

    ``episodes`` are logged; a seed plays ``tasks`` held-out tasks ``repeats`` times each. Lookahead
    searches ``searched`` episodes of training tasks, of each one before any again; a decision has
    ``expansions``; a search is judged on ``search_tasks`` of the tasks, ``tries`` times each.
    """

    args: tuple[tuple[str, str], ...]
    episodes: int
    tasks: int
    repeats: int
    searched: int
    search_tasks: int
    expansions: int = 2
    tries: int = 2


SIZES = {
    "textworld": Size((("folder", "{out}/games"),), 432, 12, 2, 20, 12),
    "game24": Size((("data", "{data}/game24"),), 900, 20, 2, 60, 20),
    "webshop": Size(
        (("data", "{data}/webshop"), ("observation", "note")), 600, 16, 2, 20, 8, tries=1
    ),
}


@dataclass(frozen=True)
class Bench:
    """One task of the benchmark: its size and where it is."""

    task: str
    size: Size
    data: Path | None
    out: Path
    steps: int

    @cached_property
    def args(self) -> dict[str, str]:
        """The task's arguments; without ``--data`` what would be read from there is made up."""
        kept = [(k, v) for k, v in self.size.args if self.data or "{data}" not in v]
        return {k: v.format(out=self.out, data=self.data) for k, v in kept}

    @cached_property
    def plan(self) -> Plan:
        """The logs' plan."""
        return Plan(self.task, self.size.episodes, self.args, candidates=CANDIDATES)

    @cached_property
    def env(self) -> TextEnv:
        """The one environment of this process."""
        return self.plan.env()

    @cached_property
    def dataset(self) -> Path:
        """The logs, collected where they are missing."""
        if not is_dataset(self.out / "dataset"):
            collect(self.plan, self.out / "dataset", bar=bar)
        return self.out / "dataset"

    @cached_property
    def test(self) -> list[Episode]:
        """The held-out logs."""
        return list(read_episodes(self.dataset, "test"))

    def held_out(self, seed: int, count: int) -> list[str]:
        """The tasks that a seed plays: the seeds go through a fixed shuffle of all of them."""
        tasks = sorted({e.task_id for e in self.test})
        random.Random("held out").shuffle(tasks)
        first = seed * self.size.tasks
        return [tasks[(first + i) % len(tasks)] for i in range(min(count, len(tasks)))]

    @cached_property
    def encoder(self) -> Any:
        """The one encoder of all methods."""
        return open_encoder("sentences:minilm")

    def load(self, artifact: Path) -> ValueFunction:
        """Open an artifact over the common store."""
        return ValueFunction.load(artifact, store=self.dataset / "embeddings", encoder=self.encoder)

    def config(self, name: str, seed: int, dataset: Path, *more: str) -> Config:
        """The training configuration of a method."""
        common = (
            f"data.dataset={dataset}",
            "data.encoder=sentences:minilm",
            f"data.store={self.dataset / 'embeddings'}",
            "texts.history=0",
            "critic.hidden=[64,64]",
            "critic.recipe=td",
            f"train.steps={self.steps}",
            f"train.eval_every={min(200, self.steps)}",
            "train.scan=100",  # one length of call, compiled once
            "train.log_every=100",
            f"train.seed={seed}",
        )
        return load_config(None, [*common, *METHODS[name], *more])

    def critic(self, name: str, seed: int) -> ValueFunction:
        """A method's critic of a seed, trained where it is missing."""
        folder = self.out / f"seed-{seed}" / name
        if not (folder / "artifact").exists():
            shared = name if name in ("agent_prm", "inverse_prm") else "rows"
            data, tables = self.dataset, self.out / "tables" / shared
            more: tuple[str, ...] = ()
            if name == "inverse_prm":
                data = self.marked
            if name == "lookahead":
                base = self.critic(BASE, seed)
                data, tables = self.searched(seed, base), folder / "tables"
                more = (f"train.start={self.out / f'seed-{seed}' / BASE / 'artifact'}",)
            config = self.config(name, seed, data, *more)
            fit(config, prepare(config, tables, bar), folder, bar, f"{name}, seed {seed}")
        return self.load(folder / "artifact")

    @cached_property
    def marked(self) -> Path:
        """The logs with the experts' episodes marked, the policy's thoughts beside their steps, and
        all outcomes deleted."""
        folder = self.out / "marked"
        if not is_dataset(folder):
            write_dataset(folder, map(self._marked, read_episodes(self.dataset, "train")))
        return folder

    def _marked(self, episode: Episode) -> Episode:
        steps = tuple(replace(step, reward=None) for step in episode.steps)
        episode = replace(episode, success=None, score=None, steps=steps)
        if float(episode.metadata["skill"]) < EXPERT_SKILL:
            return episode
        about = {**episode.metadata, "expert": True}
        return replace(episode, steps=tuple(self._shadowed(episode)), metadata=about)

    def _shadowed(self, episode: Episode) -> Iterator[Any]:
        """The expert's steps with what a logged player of lower skill would have thought there."""
        rng = random.Random(f"shadow/{episode.episode_id}")
        skill = rng.choice([s for s in SKILLS if s < EXPERT_SKILL])
        options = {"task": episode.task_id}
        observation, _ = self.env.reset(seed=int(episode.metadata["seed"]), options=options)
        for step in episode.steps:
            assert observation == step.observation, "the environment is not what was logged"
            expert, actions = self.env.expert_action(), self.env.admissible_actions()
            action = expert if expert and rng.random() < skill else rng.choice(actions)
            about = {**step.metadata, "policy_thought": self.env.thought_for(action)}
            observation = self.env.step(step.action)[0]
            yield replace(step, metadata=about)

    def searched(self, seed: int, base: ValueFunction) -> Path:
        """Lookahead's data: training tasks, played by greedy search under the base's V."""
        tasks = sorted({e.task_id for e in read_episodes(self.dataset, "train")})
        tasks = random.Random(f"search/{seed}").sample(tasks, min(self.size.searched, len(tasks)))
        specs = []
        for number in range(self.size.searched):
            again, task = number // len(tasks), tasks[number % len(tasks)]
            name = f"search/{task}/{again}" if again else f"search/{task}"
            start = 7000 + 1000 * seed + again
            specs.append(EpisodeSpec(name, task, "search", start, split="train"))
        path = self.out / f"seed-{seed}" / "searched.jsonl"
        played = self.play(f"lookahead's search, seed {seed}", specs, self.searching(base), path)
        base.flush()
        folder = self.out / f"seed-{seed}" / "searched"
        write_dataset(folder, (part for e in played for part in unfolded(e, 0)), overwrite=True)
        return folder

    def searching(self, value: ValueFunction, ends: ValueFunction | None = None) -> Any:
        """Agents that search under ``value``; ends are valued by the base's Q."""

        def make(env: TextEnv, spec: EpisodeSpec) -> SearchAgent:
            return SearchAgent(
                proposer_client(env, SHARE, CANDIDATES),
                World(env, spec),
                search_values(value, ends),
                limits=Limits(self.size.expansions),
                candidates=CANDIDATES,
            )

        return make

    def play(
        self, words: str, specs: Sequence[EpisodeSpec], agents: Any, path: Path
    ) -> list[Episode]:
        """Play what ``path`` lacks under a progress bar."""
        with bar(words, len(specs)) as report:
            return run_episodes(
                specs, lambda: self.env, agents, path, progress=lambda done, total, e: report(done)
            )

    def cell(self, name: str, seed: int) -> None:
        """Train, judge and play one method of a seed, unless that is done."""
        folder = self.out / f"seed-{seed}"
        path = folder / f"{name}.cell.json"
        if path.exists():
            return
        begin, cpu = time.perf_counter(), time.process_time()
        _, searches, method = name.rpartition("search-")
        critic = None if name == "first" else self.critic(method, seed)
        trained = time.perf_counter() - begin
        words, episodes = f"{self.task}: {name}, seed {seed}", folder / f"{name}.jsonl"
        if searches:
            specs = [
                replace(spec, metadata={"try": again, "group": seed})
                for again in range(self.size.tries)
                for spec in compare_specs(
                    self.held_out(seed, self.size.search_tasks),
                    [Arm(name)],
                    1,
                    seed=1000 * seed + 800 + again,
                )
            ]
            assert critic is not None
            agents = self.searching(critic, self.critic(BASE, seed))
        else:
            arm = Arm(name, "critic", critic.q) if critic else Arm(name, "first")
            tasks = self.held_out(seed, self.size.tasks)
            specs = compare_specs(tasks, [arm], self.size.repeats, seed=1000 * seed + 500)
            agents = arm_agents([arm], SHARE, CANDIDATES)
        self.play(words, specs, agents, episodes)
        figures: dict[str, Any] = {}
        if critic is not None:
            critic.flush()
        if critic is not None and not searches:
            figures = {**offline(critic, self.test), "decisions_s": speed(critic, self.test[0])}
        figures |= {
            "seconds": round(time.perf_counter() - begin, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "training_seconds": round(trained, 1),
        }
        path.write_text(json.dumps(figures) + "\n", "utf-8")
        console.print(f"{words}: {figures['seconds']:.0f} s, {figures['cpu_seconds']:.0f} s CPU")


def offline(value: ValueFunction, episodes: Sequence[Episode]) -> dict[str, float | None]:
    """On held-out logs: AUC of success at equal steps, top-1 of the candidates, calibration."""
    rows = [(e, t) for e in episodes if e.success is not None for t in range(len(e.steps))]
    tasks, seen, thoughts = zip(
        *((e.task, observation_text(e, t, 0), e.steps[t].thought) for e, t in rows), strict=True
    )
    q = np.asarray(value.q_pairs(tasks, seen, thoughts, [SUCCESS] * len(rows)), float)
    won = np.asarray([bool(e.success) for e, _ in rows])
    hits = []
    for e, t in rows[:: max(1, len(rows) // 200)]:
        offered = e.steps[t].candidates
        if any(c.correct for c in offered) and not all(c.correct for c in offered):
            scores = value.q(
                e.task, e.steps[t].observation, [c.thought for c in offered], [SUCCESS]
            )
            hits.append(bool(offered[int(scores[:, 0].argmax())].correct))
    bins = np.minimum((q * 10).astype(int), 9)
    parts = [(bins == b) for b in range(10) if (bins == b).any()]
    gap = sum(part.sum() * abs(q[part].mean() - won[part].mean()) for part in parts) / len(q)
    return {
        "auc": stratified_auc(q, won, np.asarray([t for _, t in rows])),
        "top1": float(np.mean(hits)) if hits else None,
        "brier": float(np.square(q - won).mean()),
        "ece": float(gap),
    }


def speed(value: ValueFunction, episode: Episode, calls: int = 100) -> float:
    """Decisions a second, the best of five rounds: Q of six known thoughts for one goal."""
    step = episode.steps[0]
    thoughts = [c.thought for c in step.candidates]
    value.q(episode.task, step.observation, thoughts, [SUCCESS])
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(calls):
            value.q(episode.task, step.observation, thoughts, [SUCCESS])
        rates.append(calls / (time.perf_counter() - begin))
    return max(rates)


@click.command()
@click.option("--task", "tasks", multiple=True, type=click.Choice(list(SIZES)), help="All if none.")
@click.option("--data", type=click.Path(path_type=Path), help="Has game24/ and webshop/.")
@click.option("--cell", "cells", multiple=True, type=click.Choice(CELLS), help="All if none.")
@click.option("--seeds", default=5, show_default=True)
@click.option("--first", default=0, show_default=True, help="Seed to begin with.")
@click.option("--steps", default=800, show_default=True, help="Updates.")
@click.option("--searched", type=int, help="Episodes of lookahead's search. [each task's own]")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(
    tasks: tuple[str, ...],
    cells: tuple[str, ...],
    data: Path | None,
    seeds: int,
    first: int,
    steps: int,
    searched: int | None,
    out: Path,
) -> None:
    """Run (or continue) the cells, then print what they show together."""
    keep_compiled()
    sizes = {task: SIZES[task] for task in tasks or SIZES}
    if searched is not None:
        sizes = {task: replace(size, searched=searched) for task, size in sizes.items()}
    benches = {task: Bench(task, size, data, out / task, steps) for task, size in sizes.items()}
    for seed in range(first, seeds):
        for bench in benches.values():
            for name in cells or CELLS:
                bench.cell(name, seed)
    tell({task: bench.out for task, bench in benches.items()}, CELLS, seeds)


if __name__ == "__main__":
    begin(main)
