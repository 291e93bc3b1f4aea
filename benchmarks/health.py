"""Does the health report tell a good critic from a useless one? Planted critics, many seeds.

    python benchmarks/health.py --seeds 20

Episodes are made up: a door opens for whoever holds three keys after six steps, and each thought
takes a key or wastes the step. A critic is trained on them by the ordinary pipeline and judged
four times a seed:

true      the labels are what happened, so a critic can know something
random    the labels are dealt out anew among all episodes, so that nothing can be known
leaky     the same, but a later observation names the result
perfect   no training: a critic that knows each episode's end (its texts do not tell)

Prints one JSON line: how often each got which verdict, and how often a leak was flagged.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from entry import begin

from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.config import load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes, write_dataset
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.report.health.baselines import fit_baselines
from pgv_jax.report.health.calibrators import fit_calibration
from pgv_jax.report.health.evaluation import Reference, judge
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode, Step
from pgv_jax.workflows.training import fit, prepare

PLANTS = ("true", "random", "leaky", "perfect")
STEPS, KEYS = 6, 3
SETTINGS = (
    "data.encoder=hash:32",
    "texts.history=0",
    "critic.hidden=[32]",
    "critic.recipe=td",
    "objective.expectile=0.5",
    "objective.gamma=0.97",
    "train.batch=128",
    "train.lr=0.003",
    "mesh.shards=1",
)


def make(seed: int, tasks: int, each: int) -> list[Episode]:
    """Episodes of ``tasks`` tasks; at each step a key is taken with a chance of one half."""
    rng = random.Random(f"keys/{seed}")
    episodes = []
    for task in range(tasks):
        for run in range(each):
            keys, steps = 0, []
            for _ in range(STEPS):
                takes = rng.random() < 0.5
                noise = f"There is a {rng.choice(('cat', 'dog', 'bird'))} in the room."
                thought = "I take the key." if takes else "I look around."
                steps.append(Step(f"You have {keys} keys.\n{noise}", thought, thought))
                keys += takes
            name = f"{task}-{run}"
            done = keys >= KEYS
            note = f"You have {keys} keys."
            episodes.append(
                Episode(name, f"room {task}", "Open the door.", tuple(steps), note, done)
            )
    order = ("train", "train", "train", "val", "test")
    return [
        replace(e, is_terminal=True, split=order[int(e.task_id.split()[1]) % len(order)])
        for e in episodes
    ]


def shuffled(episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """The episodes with each other's outcomes."""
    outcomes = [e.success for e in episodes]
    random.Random(f"labels/{seed}").shuffle(outcomes)
    return [replace(e, success=won) for e, won in zip(episodes, outcomes, strict=True)]


def leaky(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes with the result in the observation of their last step."""
    told = []
    for episode in episodes:
        score = "Your score: 1.0." if episode.success else "Your score: 0.0."
        last = episode.steps[-1]
        steps = (*episode.steps[:-1], replace(last, observation=f"{last.observation}\n{score}"))
        told.append(replace(episode, steps=steps))
    return told


class Knowing:
    """Knows how the episode of a text ended; ids stand in the texts, no other word tells."""

    def __init__(self, episodes: Sequence[Episode]):
        self._won = {s.observation: bool(e.success) for e in episodes for s in e.steps}

    def q_pairs(
        self,
        tasks: Sequence[str],
        observations: Sequence[str],
        thoughts: Sequence[str],
        goals: Sequence[str],
    ) -> np.ndarray:
        """0.95 for how it ended, 0.05 for how it did not."""
        rows = zip(observations, goals, strict=True)
        return np.array([0.95 if self._won[o] == (g == SUCCESS) else 0.05 for o, g in rows])

    def v_pairs(
        self, tasks: Sequence[str], observations: Sequence[str], goals: Sequence[str]
    ) -> np.ndarray:
        """The same for every thought."""
        return self.q_pairs(tasks, observations, [""] * len(tasks), goals)


def numbered(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes with a number of its own in each observation."""
    return [
        replace(
            e,
            steps=tuple(
                replace(s, observation=f"{s.observation}\nThis is note {e.episode_id}-{t}.")
                for t, s in enumerate(e.steps)
            ),
        )
        for e in episodes
    ]


def train(episodes: Sequence[Episode], seed: int, updates: int, folder: Path) -> dict[str, Any]:
    """Import, train and judge as the commands do; returns the report."""
    write_dataset(folder / "dataset", episodes)
    config = load_config(
        None,
        [
            *SETTINGS,
            f"data.dataset={folder / 'dataset'}",
            f"train.steps={updates}",
            f"train.seed={seed}",
        ],
    )
    prepared = prepare(config, folder / "tables")
    critic = ValueFunction.load(
        fit(config, prepared, folder / "run"), encoder=prepared.encoder, store=prepared.store.folder
    )
    return report(folder / "dataset", critic, prepared.encoder.encode, seed)


def report(dataset: Path, critic: Any, embed: Any, seed: int) -> dict[str, Any]:
    """The health report of a critic on a dataset, as ``pgv evaluate`` makes it."""
    known, val, test = (list(read_episodes(dataset, name)) for name in ("train", "val", "test"))
    calibration, _ = fit_calibration(critic, val, split="val", gamma=0.97, seed=seed)
    return judge(
        test,
        critic,
        baselines=fit_baselines(known, embed, gamma=0.97, seed=seed)[0],
        reference=Reference(known, embed, calibration),
        gamma=0.97,
        seed=seed,
    )


def planted(
    name: str, logs: Sequence[Episode], seed: int, updates: int, folder: Path
) -> dict[str, Any]:
    """The report of one planted critic."""
    if name == "true":
        return train(logs, seed, updates, folder)
    episodes = shuffled(logs, seed)
    if name == "random":
        return train(episodes, seed, updates, folder)
    if name == "leaky":
        return train(leaky(episodes), seed, updates, folder)
    episodes = numbered(episodes)
    write_dataset(folder / "dataset", episodes)
    encoder = open_encoder("hash:32")
    return report(folder / "dataset", Knowing(episodes), encoder.encode, seed)


def main() -> None:
    """Plant, judge, count."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--tasks", type=int, default=100)
    options.add_argument("--episodes", type=int, default=6, help="a task")
    options.add_argument("--updates", type=int, default=300)
    options.add_argument("--plants", nargs="+", choices=PLANTS, default=list(PLANTS))
    asked = options.parse_args()
    keep_compiled()
    levels: dict[str, Counter[str]] = {name: Counter() for name in asked.plants}
    flagged: Counter[str] = Counter()
    for seed in range(asked.first, asked.first + asked.seeds):
        logs = make(seed, asked.tasks, asked.episodes)
        for name in asked.plants:
            with tempfile.TemporaryDirectory() as folder:
                found = planted(name, logs, seed, asked.updates, Path(folder))
            levels[name][found["verdict"]["level"]] += 1
            flagged[name] += found["leaks"]["flagged"]
            print(seed, name, found["verdict"]["said"], flush=True)
    print(json.dumps({"seeds": asked.seeds, "levels": levels, "leaks_flagged": flagged}))


if __name__ == "__main__":
    begin(main)
