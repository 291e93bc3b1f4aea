"""The scripted quickstart: play, store, embed, train, judge, guide, export, report.

Every stage is the real one that logs and API models of one's own go through; only the model is
scripted, and so plays many games in minutes. Each stage leaves files behind and picks up where they
end, so an interrupted run is continued by the same call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pgv_jax import __version__
from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.config import Config, load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes, write_dataset
from pgv_jax.data.storage.jsonl import read_jsonl
from pgv_jax.export.inputs import logged
from pgv_jax.export.write import export_torch
from pgv_jax.learner.metrics import metrics_of
from pgv_jax.report.pages.quickstart import arms_summary, build_report, goals_summary, pick_story
from pgv_jax.rollout.runner import MakeAgent, run_episodes
from pgv_jax.rollout.studies import (
    GOAL_STEPS,
    Arm,
    arm_agents,
    behaviour_agents,
    collect_specs,
    compare_specs,
    goal_specs,
)
from pgv_jax.tasks.textworld.env import TextWorldEnv
from pgv_jax.tasks.textworld.games import ensure_games
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode
from pgv_jax.versions import PACKAGES, versions_of
from pgv_jax.workflows.claim import claim
from pgv_jax.workflows.judging import judge_offline
from pgv_jax.workflows.stages import Clock
from pgv_jax.workflows.training import Bar, Prepared, fit, prepare, silent

CANDIDATES = 6
SUCCESS_ONLY = ("goals.current=0", "goals.future=0", "goals.random=0", "goals.failure=0")
"""The goal mixture of a critic that knows one goal only: a value in the classical sense."""
# Chosen on seed 0's held-out training games; docs/log.md has the comparison.
EXPECTILE = "objective.expectile=0.7"
CRITICS: Mapping[str, tuple[str, ...]] = {
    "critic": (EXPECTILE, "critic.q=imagined"),
    "success_only": (EXPECTILE, *SUCCESS_ONLY),
    "monte_carlo": ("objective.name=monte_carlo", *SUCCESS_ONLY),
}
"""Name of a critic -> what differs from the default configuration."""


@dataclass(frozen=True)
class Size:
    """How much of everything is done."""

    train_games: int = 24
    val_games: int = 4
    test_games: int = 12
    train_episodes: int = 360
    test_episodes: int = 72
    repeats: int = 4
    steps: int = 3000
    goals: int = 180
    shares: tuple[float, ...] = (0.9, 0.5)
    """Chances that a right command is among the candidates; the first is the headline."""


QUICK = Size(8, 2, 4, 72, 16, 1, 600, 20, (0.9,))


@dataclass(frozen=True)
class Run:
    """One quickstart: where it is, what it does and how it shows its progress."""

    out: Path
    seed: int
    size: Size
    reasons: bool
    bar: Bar

    def env(self) -> TextWorldEnv:
        """The games of this seed; other seeds play other games."""
        return TextWorldEnv(
            self.out / "games",
            train=self.size.train_games,
            test=self.size.test_games,
            first=100 * self.seed,
            reasons=self.reasons,
        )

    def config(self, name: str) -> Config:
        """The training configuration of one of ``CRITICS``."""
        common = (
            f"data.dataset={self.out / 'dataset'}",
            "data.encoder=sentences:minilm",
            "texts.history=0",
            "critic.recipe=td",
            f"train.steps={self.size.steps}",
            f"train.seed={self.seed}",
        )
        return load_config(None, [*common, *CRITICS[name]])

    def play(
        self,
        words: str,
        specs: Sequence[EpisodeSpec],
        agents: MakeAgent,
        file: str,
        max_steps: int = 0,
    ) -> list[Episode]:
        """Run episodes into ``out/file`` under a progress bar."""
        with self.bar(words, len(specs)) as report:
            return run_episodes(
                specs,
                self.env,
                agents,
                self.out / file,
                max_steps=max_steps,
                progress=lambda done, total, episode: report(done),
            )


def scripted_quickstart(
    out: Path,
    seed: int = 0,
    quick: bool = False,
    reasons: bool = True,
    bar: Bar = silent,
) -> dict[str, Any]:
    """Run or continue it in ``out``; returns the report that it writes there.

    ``reasons=False`` is the control in which thoughts say what is done and not why. Raises
    PgvError where ``out`` holds a run with other settings.
    """
    run = Run(out, seed, QUICK if quick else Size(), reasons, bar)
    settings = {
        "version": __version__,
        "model": "scripted",
        "seed": seed,
        "reasons": reasons,
        **asdict(run.size),
    }
    claim(out / "settings.json", "a scripted quickstart", settings)
    clock = Clock(out / "seconds.json")
    with clock("play"):
        play(run)
    with clock("store"):
        store(run)
    with clock("embed"):
        prepared = prepare(run.config("critic"), out / "tables", bar)
    with clock("train"):
        critics = learn(run, prepared)
    with clock("judge"):
        offline = judge_offline(run.out / "dataset", critics, prepared.store, seed, bar)
    with clock("guide"):
        arms = {share: guide(run, critics, share) for share in run.size.shares}
        goals = pursue_goals(run, critics)
    with clock("export"):
        steps = logged(critics["critic"], read_episodes(out / "dataset", "val"))
        parity = export_torch(out / "critic" / "artifact", out / "torch", logged=steps)
    headline, *others = run.size.shares
    return build_report(
        {
            "arms": arms_summary(arms[headline]),
            "goals": goals_summary(goals),
            "offline": offline,
            "torch_parity": None if parity is None else max(parity.values()),
            "seconds": clock.seconds,
            "versions": versions_of(PACKAGES),
            "settings": {
                "candidates": CANDIDATES,
                "expert_in_candidates": headline,
                "proposer": "scripted",
                "reasons": reasons,
                "seed": seed,
                "quick": quick,
                "train_games": run.size.train_games,
                "train_episodes": run.size.train_episodes,
            },
            "arms_at": {str(share): arms_summary(arms[share]) for share in others},
            "metrics": metrics_of(out / "critic"),
            "best_step": critics["critic"].manifest["step"],
            "story": pick_story(arms[headline]),
        },
        out,
    )


def play(run: Run) -> list[Episode]:
    """Generate the games and collect episodes of mixed skill on all of them."""
    env = run.env()
    specs = [*env.specs["train"], *env.specs["test"]]
    with run.bar("generating games", len(specs)) as report:
        ensure_games(env.folder, specs, lambda done, total: report(done))
    train_ids, test_ids = env.task_ids("train"), env.task_ids("test")
    seed = 1000 * run.seed
    train = collect_specs(train_ids, "train", run.size.train_episodes, seed=seed)
    test = collect_specs(test_ids, "test", run.size.test_episodes, seed=seed)
    return run.play("playing", [*train, *test], behaviour_agents(CANDIDATES), "collected.jsonl")


def store(run: Run) -> None:
    """Write the collected episodes as an RLDS dataset; some training games are held out as val."""
    held_out = set(run.env().task_ids("train")[-run.size.val_games :])

    def with_splits() -> Iterator[Episode]:
        for episode in read_jsonl(run.out / "collected.jsonl"):
            yield replace(episode, split="val") if episode.task_id in held_out else episode

    write_dataset(
        run.out / "dataset",
        with_splits(),
        source="TextWorld cooking games, played by scripted policies of mixed skill",
        licence="generated",
    )


def learn(run: Run, prepared: Prepared) -> dict[str, ValueFunction]:
    """Train (or continue) ``CRITICS``; ``direct`` is the Q head of the one that imagines."""
    for name in CRITICS:
        fit(run.config(name), prepared, run.out / name, run.bar, f"training: {name}")
    return {
        name: ValueFunction.load(
            run.out / (name if name in CRITICS else "critic") / "artifact",
            store=prepared.store.folder,
            encoder=prepared.encoder,
            imagine=name == "critic",
        )
        for name in (*CRITICS, "direct")
    }


def guide(run: Run, critics: Mapping[str, ValueFunction], share: float) -> dict[str, list[Episode]]:
    """Play the held-out games with every arm; all see the same proposals in the same state."""
    arms = [
        Arm("first", "first"),
        Arm("critic", "critic", critics["critic"].q),
        Arm("direct", "critic", critics["direct"].q),
        Arm("success_only", "critic", critics["success_only"].q),
        Arm("monte_carlo", "critic", critics["monte_carlo"].q),
        Arm("shuffled", "shuffled", critics["critic"].q),
        Arm("oracle", "oracle"),
    ]
    specs = compare_specs(
        run.env().task_ids("test"), arms, run.size.repeats, seed=1000 * run.seed + 500
    )
    words = f"guiding, right command among {CANDIDATES} with p={share}"
    file = f"arms-{share}.jsonl"
    return _by_arm(run.play(words, specs, arm_agents(arms, share, CANDIDATES), file))


def pursue_goals(run: Run, critics: Mapping[str, ValueFunction]) -> dict[str, list[Episode]]:
    """Ask the same critic for goals that were never the task; random candidates, no expert."""
    env = run.env()
    goals = [goal for game in env.task_ids("test") for goal in env.run_time_goals(game)]
    arms = [
        Arm("first", "first"),
        Arm("critic", "critic", critics["critic"].q),
        Arm("direct", "critic", critics["direct"].q),
        Arm("success_only", "critic", critics["success_only"].q, goals=(SUCCESS,)),
        Arm("shuffled", "shuffled", critics["critic"].q),
        Arm("oracle", "oracle"),
    ]
    step = max(1, len(goals) // run.size.goals)
    specs = goal_specs(goals[::step], arms, seed=1000 * run.seed + 900)
    agents = arm_agents(arms, None, CANDIDATES)
    return _by_arm(run.play("pursuing goals", specs, agents, "goals.jsonl", GOAL_STEPS))


def _by_arm(episodes: Sequence[Episode]) -> dict[str, list[Episode]]:
    arms: dict[str, list[Episode]] = {}
    for episode in episodes:
        arms.setdefault(str(episode.metadata["arm"]), []).append(episode)
    return arms
