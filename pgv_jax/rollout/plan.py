"""What is collected: which task, played how well or by which model, and how often."""

from __future__ import annotations

import hashlib
import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgv_jax.agents.episode_spec import EpisodeSpec
from pgv_jax.errors import PgvError
from pgv_jax.rollout.partner import takes_voice, without_voice
from pgv_jax.rollout.studies import SKILLS
from pgv_jax.tasks.base import TextEnv, make_env
from pgv_jax.tasks.voice import Voice

SPLITS = ("all", "train", "test")


@dataclass(frozen=True, slots=True)
class Policy:
    """A scripted player: shares of expert moves, used in turn, and the chance of an expert's
    alternative among the candidates that are recorded beside what is played."""

    skills: tuple[float, ...] = SKILLS
    expert_share: float = 0.9

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read ``scripted`` or ``scripted:skill=0.1/0.9,expert_share=0.5``."""
        name, _, rest = text.partition(":")
        known: dict[str, Any] = {}
        for pair in filter(None, rest.split(",")):
            key, _, value = pair.partition("=")
            try:
                numbers = tuple(float(part) for part in value.split("/"))
            except ValueError:
                numbers = ()
            if (
                key not in ("skill", "expert_share")
                or not all(0 <= number <= 1 for number in numbers)
                or not (numbers if key == "skill" else len(numbers) == 1)
            ):
                raise PgvError(
                    f"'{pair}' of policy '{text}' is not understood; write skill=S (0 to 1, "
                    "several as 0.1/0.5/0.9) or expert_share=P."
                )
            known["skills" if key == "skill" else key] = numbers if key == "skill" else numbers[0]
        if name != "scripted":
            raise PgvError(
                f"Policy '{text}' is unknown; write scripted or scripted:skill=0.4, or name an "
                "API model with --model."
            )
        return cls(**known)


@dataclass(frozen=True)
class Plan:
    """What is collected. A ``model`` (MODEL, anthropic:MODEL ...) plays in the policy's place, and
    a ``voice`` plays the task's other seats.

    ``split`` "all" plays training and test tasks mixed; a tenth of the training tasks become "val".
    """

    task: str
    episodes: int
    args: Mapping[str, Any] = field(default_factory=dict)
    policy: str = "scripted"
    model: str | None = None
    voice: str = ""
    split: str = "all"
    seed: int = 0
    candidates: int = 6
    max_steps: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise PgvError(f"Split '{self.split}' is unknown; use one of: {', '.join(SPLITS)}.")
        for name in ("episodes", "candidates"):
            if getattr(self, name) < 1:
                raise PgvError(f"{name} is {getattr(self, name)}; at least 1 is needed.")
        Policy.parse(self.policy)
        without_voice(self.args)
        if self.voice:
            takes_voice(self.task)
        if self.voice and self.model is None:
            raise PgvError(
                f"Voice '{self.voice}' is a model, with which scripted policies cannot play; name "
                "the agent's model, too, with --model."
            )

    @property
    def source(self) -> str:
        """The plan as the command that makes it; kept with the dataset."""
        words = ["pgv", "collect", self.task, "--episodes", str(self.episodes)]
        words += ["--model", self.model] if self.model else ["--policy", self.policy]
        words += ["--voice", self.voice] if self.voice else []
        for name in ("split", "seed", "candidates", "max_steps"):
            words += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        for key, value in sorted(self.args.items()):
            words += ["--task-arg", f"{key}={value}"]
        return shlex.join(words)

    def env(self, voice: Voice | None = None) -> TextEnv:
        """The environment."""
        try:
            return make_env(self.task, **self.args, **({"voice": voice} if voice else {}))
        except TypeError as error:
            told = str(error).partition(") ")[2] or str(error)
            raise PgvError(
                f"The arguments {dict(self.args)} do not fit the task '{self.task}': {told}. "
                "Give arguments with --task-arg NAME=VALUE."
            ) from None

    def specs(self) -> list[EpisodeSpec]:
        """The episodes; those of a longer plan begin with those of a shorter one."""
        splits = _splits(self.env())
        played = {t: s for t, s in splits.items() if self.split in ("all", _side(s))}
        if not played:
            raise PgvError(f"Task '{self.task}' has no tasks of split '{self.split}'.")
        task_ids = _mixed(played, random.Random(f"collect/{self.seed}"))
        skills = Policy.parse(self.policy).skills
        return [
            self._spec(i, task_ids, splits[task_ids[i % len(task_ids)]], skills)
            for i in range(self.episodes)
        ]

    def _spec(
        self, i: int, task_ids: Sequence[str], split: str, skills: Sequence[float]
    ) -> EpisodeSpec:
        task_id, again = task_ids[i % len(task_ids)], i // len(task_ids)
        seed = self.seed + again
        about: dict[str, Any] = {"model": self.model}
        if self.model is None:
            about = {"skill": skills[(again + i % len(task_ids)) % len(skills)]}
        arm = "model" if self.model else "behaviour"
        return EpisodeSpec(f"collect/{task_id}/{seed}", task_id, arm, seed, None, split, about)


def _side(split: str) -> str:
    return "test" if split == "test" else "train"


def _mixed(splits: Mapping[str, str], rng: random.Random) -> list[str]:
    """The tasks in an order of which every beginning has about its share of each split."""
    placed = []
    for name in sorted(set(splits.values())):
        tasks = [task for task, split in splits.items() if split == name]
        rng.shuffle(tasks)
        placed += [((i + 0.5) / len(tasks), task) for i, task in enumerate(tasks)]
    return [task for _, task in sorted(placed)]


def held_out_tasks(train: Sequence[str]) -> set[str]:
    """A tenth of the training tasks, at least one of five, by their ids' hashes."""
    ranked = sorted(train, key=lambda task: hashlib.sha256(task.encode()).digest())
    return set(ranked[: max(1, round(len(ranked) / 10)) if len(ranked) >= 5 else 0])


def _splits(env: TextEnv) -> dict[str, str]:
    """Task id -> train, val or test; val is a tenth of the training tasks, by their ids' hashes."""
    train, test = env.task_ids("train"), env.task_ids("test")
    held_out = held_out_tasks(train)
    splits = {task: "val" if task in held_out else "train" for task in train}
    return {**splits, **dict.fromkeys(test, "test")}
