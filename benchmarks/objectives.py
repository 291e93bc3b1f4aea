"""Every objective on the same logs, embeddings, budget and seeds; one table.

    python benchmarks/objectives.py --task textworld --task-arg folder=runs/quickstart/games \
        --dataset runs/quickstart/dataset --out runs/objectives
    python benchmarks/objectives.py --task game24 --out runs/objectives-24

Without --dataset the logs are collected first, by scripted players of mixed skill. Each seed
trains every method anew and plays the held-out tasks with proposals of its own; the logs and the
tasks are the same for all seeds. A run that is there is continued. Proposers are scripts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np

from pgv_jax.cli.collect import _arguments
from pgv_jax.cli.console import bar, console
from pgv_jax.config import Config, load_config
from pgv_jax.data.episodes import is_dataset, read_episodes, write_dataset
from pgv_jax.data.texts import SUCCESS, observation_text
from pgv_jax.learner.validate import stratified_auc
from pgv_jax.pipeline import fit, prepare
from pgv_jax.quickstart import SUCCESS_ONLY
from pgv_jax.report.arms import arms_summary
from pgv_jax.report.tries import tries_summary
from pgv_jax.rollout.collect import collect
from pgv_jax.rollout.plan import Plan
from pgv_jax.rollout.runner import EpisodeSpec, run_episodes
from pgv_jax.rollout.scripted import proposer_client
from pgv_jax.rollout.search import Limits
from pgv_jax.rollout.search_agent import SearchAgent, search_values, unfolded
from pgv_jax.rollout.studies import Arm, arm_agents, compare_specs
from pgv_jax.rollout.world import World
from pgv_jax.tasks.base import TextEnv, make_env
from pgv_jax.types import Episode
from pgv_jax.value import ValueFunction

CANDIDATES = 6
EXPERT_SKILL = 0.9
"""Logged players of at least this skill are InversePRM's experts."""
METHODS: dict[str, tuple[str, ...]] = {
    "gc_iql": (),
    "goal_free_iql": SUCCESS_ONLY,
    "monte_carlo": ("objective.name=monte_carlo", *SUCCESS_ONLY),
    "agent_prm": ("objective.name=agent_prm", "objective.by_candidates=false"),
    "inverse_prm": ("objective.name=inverse_prm",),
    "lookahead": ("objective.name=lookahead",),
}
"""Name -> what differs from the common configuration. Lookahead's base is gc_iql of its seed."""
BASE = "gc_iql"


@dataclass(frozen=True)
class Bench:
    """One benchmark: its task, its size and where it is."""

    task: str
    args: dict[str, Any]
    out: Path
    dataset: Path
    seeds: int
    steps: int
    repeats: int
    share: float
    games: int
    expansions: int

    def env(self) -> TextEnv:
        """The task."""
        return make_env(self.task, **self.args)

    def config(self, name: str, seed: int, dataset: Path) -> Config:
        """The training configuration of a method."""
        common = (
            f"data.dataset={dataset}",
            "data.encoder=sentences:minilm",
            f"data.store={self.dataset / 'embeddings'}",
            "texts.history=0",
            "objective.expectile=0.7",
            f"train.steps={self.steps}",
            f"train.eval_every={min(200, self.steps)}",
            f"train.seed={seed}",
        )
        return load_config(None, [*common, *METHODS[name]])

    def critic(self, name: str, seed: int) -> ValueFunction:
        """A method's critic of a seed, trained where it is missing."""
        folder = self.out / f"seed-{seed}" / name
        if not (folder / "artifact").exists():
            tables = self.out / "tables" / (name if name in TABLES else "rows")
            data = self.dataset
            if name == "inverse_prm":
                data = self.marked
            if name == "lookahead":
                data, tables = self.searched(seed), folder / "tables"
            config = self.config(name, seed, data)
            fit(config, prepare(config, tables, bar), folder, bar, f"{name}, seed {seed}")
        return self.load(folder / "artifact")

    def load(self, artifact: Path) -> ValueFunction:
        """Open an artifact over the common store."""
        return ValueFunction.load(artifact, store=self.dataset / "embeddings", encoder=self.encoder)

    @cached_property
    def encoder(self) -> Any:
        """The one encoder of all methods."""
        from pgv_jax.embed.encoder import open_encoder

        return open_encoder("sentences:minilm")

    @cached_property
    def marked(self) -> Path:
        """The logs with the experts' episodes marked and all outcomes deleted."""

        def episodes() -> Iterator[Episode]:
            for e in read_episodes(self.dataset, "train"):
                expert = float(e.metadata["skill"]) >= EXPERT_SKILL
                steps = tuple(replace(step, reward=None) for step in e.steps)
                about = {**e.metadata, "expert": expert}
                yield replace(e, success=None, score=None, steps=steps, metadata=about)

        write_dataset(self.out / "marked", episodes(), overwrite=True)
        return self.out / "marked"

    def searched(self, seed: int) -> Path:
        """Lookahead's data: training tasks, played by greedy search under the base's V."""
        base = self.critic(BASE, seed)
        tasks = sorted({e.task_id for e in read_episodes(self.dataset, "train")})[: self.games]
        specs = [
            EpisodeSpec(f"search/{t}", t, "search", 7000 + 1000 * seed, split="train")
            for t in tasks
        ]
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
                proposer_client(env, self.share, CANDIDATES),
                World(env, spec),
                search_values(value, ends),
                limits=Limits(self.expansions),
                candidates=CANDIDATES,
            )

        return make

    def play(
        self, words: str, specs: Sequence[EpisodeSpec], agents: Any, path: Path
    ) -> list[Episode]:
        """Play what ``path`` lacks under a progress bar."""
        with bar(words, len(specs)) as report:
            return run_episodes(
                specs, self.env, agents, path, progress=lambda done, total, e: report(done)
            )


TABLES = ("agent_prm", "inverse_prm", "lookahead")


def offline(value: ValueFunction, episodes: Sequence[Episode]) -> dict[str, float]:
    """On held-out logs: AUC of success at equal steps, top-1 of the candidates, calibration."""
    rows = [(e, t) for e in episodes if e.success is not None for t in range(len(e.steps))]
    tasks, seen, thoughts = zip(
        *((e.task, observation_text(e, t, 0), e.steps[t].thought) for e, t in rows), strict=True
    )
    q = np.asarray(value.q_pairs(tasks, seen, thoughts, [SUCCESS] * len(rows)), float)
    won = np.asarray([bool(e.success) for e, _ in rows])
    auc = stratified_auc(q, won, np.asarray([t for _, t in rows]))
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
        "auc": float("nan") if auc is None else auc,
        "top1": float(np.mean(hits)),
        "brier": float(np.square(q - won).mean()),
        "ece": float(gap),
    }


def speed(value: ValueFunction, episode: Episode, calls: int = 100) -> float:
    """Decisions a second: Q of six known thoughts for one goal."""
    step = episode.steps[0]
    thoughts = [c.thought for c in step.candidates]
    value.q(episode.task, step.observation, thoughts, [SUCCESS])
    begin = time.perf_counter()
    for _ in range(calls):
        value.q(episode.task, step.observation, thoughts, [SUCCESS])
    return calls / (time.perf_counter() - begin)


def run_seed(bench: Bench, seed: int, test: Sequence[Episode]) -> dict[str, dict[str, Any]]:
    """Train, judge and play one seed; what is there is not done again."""
    folder = bench.out / f"seed-{seed}"
    critics = {name: bench.critic(name, seed) for name in METHODS}
    tasks = sorted({e.task_id for e in test})
    arms = [Arm("first", "first"), *(Arm(n, "critic", c.q) for n, c in critics.items())]
    specs = compare_specs(tasks, arms, bench.repeats, seed=1000 * seed + 500)
    bench.play(
        f"held-out tasks, seed {seed}",
        specs,
        arm_agents(arms, bench.share, CANDIDATES),
        folder / "arms.jsonl",
    )
    base = critics[BASE]
    for name in (BASE, "lookahead") if bench.expansions else ():
        specs = [
            replace(spec, metadata={"try": again, "group": seed})
            for again in range(2)
            for spec in compare_specs(
                tasks, [Arm(f"search:{name}")], 1, seed=1000 * seed + 800 + again
            )
        ]
        agents = bench.searching(critics[name], base)
        bench.play(f"search by {name}, seed {seed}", specs, agents, folder / f"search-{name}.jsonl")
    for critic in critics.values():
        critic.flush()
    path = folder / "offline.json"
    if not path.exists():
        figures = {
            name: {**offline(critic, test), "decisions_s": speed(critic, test[0])}
            for name, critic in critics.items()
        }
        path.write_text(json.dumps(figures) + "\n", "utf-8")
    found: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found


def used(bench: Bench, seeds: int) -> dict[str, Any]:
    """Environment steps that the methods learned from, and those of lookahead's own search."""
    from pgv_jax.data.jsonl import read_jsonl

    logged = sum(len(e.steps) for e in read_episodes(bench.dataset, "train"))
    searched = [
        step.metadata
        for seed in range(seeds)
        for e in read_jsonl(bench.out / f"seed-{seed}" / "searched.jsonl")
        for step in e.steps
    ]
    return {
        "logged_steps": logged,
        "search_env_steps_a_seed": sum(m["env_steps"] + 1 for m in searched) / seeds,
        "search_expansions_a_seed": sum(m["expansions"] for m in searched) / seeds,
    }


def report(bench: Bench, offline_by_seed: list[dict[str, dict[str, Any]]]) -> None:
    """Print the table and, behind it, one JSON line of all figures."""
    from pgv_jax.data.jsonl import read_jsonl

    seeds = len(offline_by_seed)
    played: dict[str, list[Episode]] = {}
    searches: dict[str, list[Episode]] = {}
    for seed in range(seeds):
        for e in read_jsonl(bench.out / f"seed-{seed}" / "arms.jsonl"):
            played.setdefault(str(e.metadata["arm"]), []).append(e)
        for name in (BASE, "lookahead") if bench.expansions else ():
            found = read_jsonl(bench.out / f"seed-{seed}" / f"search-{name}.jsonl")
            searches.setdefault(name, []).extend(found)
    arms = arms_summary(played)
    print("| method | success [95 %] | AUC | top-1 | Brier | ECE | decisions/s |")
    print("|---|---|---|---|---|---|---|")
    lines = {}
    for name, arm in arms.items():
        low, high = arm["ci95"]
        cells = [f"{arm['success']:.0%} [{low:.0%}, {high:.0%}]"]
        if name in METHODS:
            seen = [figures[name] for figures in offline_by_seed]
            means = {key: float(np.nanmean([f[key] for f in seen])) for key in seen[0]}
            spread = {key: float(np.nanstd([f[key] for f in seen])) for key in seen[0]}
            cells += [f"{means[k]:.2f} ± {spread[k]:.2f}" for k in ("auc", "top1", "brier", "ece")]
            cells += [f"{means['decisions_s']:.0f}"]
            arm = {**arm, "offline": means, "offline_sd": spread}
        print(f"| {name} | {' | '.join(cells + [''] * (6 - len(cells)))} |")
        lines[name] = arm
    told = {name: tries_summary(episodes) for name, episodes in searches.items()}
    for name, three in told.items():
        words = []
        for pick in ("first_try", "self_selected", "oracle"):
            low, high = three[pick]["ci95"]
            words.append(f"{pick} {three[pick]['success']:.0%} [{low:.0%}, {high:.0%}]")
        print(f"\ngreedy search by {name}: {', '.join(words)}")
    print(json.dumps({"arms": lines, "search": told, "used": used(bench, seeds), "seeds": seeds}))


@click.command()
@click.option("--task", default="textworld", show_default=True)
@click.option("--task-arg", "args", multiple=True, metavar="NAME=VALUE")
@click.option("--dataset", type=click.Path(path_type=Path), help="Logs; collected if not given.")
@click.option("--episodes", default=360, show_default=True, help="Collected where no --dataset is.")
@click.option("--seeds", default=5, show_default=True)
@click.option("--steps", default=1500, show_default=True, help="Updates.")
@click.option("--repeats", default=2, show_default=True, help="Episodes a held-out task and seed.")
@click.option("--share", default=0.5, show_default=True, help="A right action is proposed with p.")
@click.option("--tasks", default=12, show_default=True, help="Held-out tasks that are played.")
@click.option("--games", default=20, show_default=True, help="Tasks that lookahead searches.")
@click.option("--expansions", default=3, show_default=True, help="Of a search's decision.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(
    task: str,
    args: tuple[str, ...],
    dataset: Path | None,
    episodes: int,
    tasks: int,
    out: Path,
    **size: Any,
) -> None:
    """Run (or continue) the seeds, then print what they show together."""
    arguments = _arguments(args)
    data = dataset or out / "dataset"
    if dataset is None and not is_dataset(data):
        collect(Plan(task, episodes, arguments, candidates=CANDIDATES), data, bar=bar)
    bench = Bench(task, arguments, out, data, **size)
    test = [e for e in read_episodes(data, "test")]
    chosen = sorted({e.task_id for e in test})[:tasks]
    test = [e for e in test if e.task_id in chosen]
    found = []
    for seed in range(bench.seeds):
        console.print(f"seed {seed}")
        found.append(run_seed(bench, seed, test))
        report(bench, found)


if __name__ == "__main__":
    main()
