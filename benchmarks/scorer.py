"""The value function against the exported PyTorch head: 8 thoughts x 4 goals of one decision.

``python benchmarks/scorer.py [--rounds 9] [--calls 50]`` prints one JSON line a case. Embeddings
are at hand for both; no text is embedded. Rounds alternate in one process, and the figures are
over all calls. Columns, in microseconds a decision:

- ``fresh``: ``ValueFunction.q`` as in an episode: the task and the goals are those of the last
  decision, the observation and the thoughts were never scored before;
- ``new_goals``: the same with a task and goals that were never scored before either;
- ``torch``: ``PgvCritic.q`` of the export on stacked tensors, its default number of threads;
- ``torch_1``: the same with one thread;
- ``plain``: one jitted call of the critic as it is trained, without what ``value`` does for speed.

``ratio`` is torch / fresh, the median over rounds of the ratio of medians, with its range;
``compiled`` counts what was compiled inside the measured decisions. A load average above 1
(``load``) means that others were at work: figures of several threads suffer most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from entry import begin
from flax import nnx

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.heads import Critic, CriticSpec, link
from pgv_jax.critic.value import ValueFunction
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.export.torch import PgvCritic
from pgv_jax.export.write import export_torch
from pgv_jax.texts.templates import template_fingerprint

THOUGHTS, GOALS = 8, 4
SHAPES = ((384, (64, 64)), (384, (512, 512, 512)), (4096, (64, 64)), (4096, (512, 512, 512)))


@dataclass(frozen=True)
class Decision:
    """What is scored at a step, in words."""

    task: str
    observation: str
    thoughts: list[str]
    goals: list[str]


def decisions(count: int, name: str, *, same_goals: bool) -> list[Decision]:
    """Decisions of one episode, or each of an episode of its own."""
    made = []
    for i in range(count):
        about = name if same_goals else f"{name} {i}"
        made.append(
            Decision(
                f"Task {about}.",
                f"Note {i} of {name}.",
                [f"Thought {n} at {i} of {name}." for n in range(THOUGHTS)],
                [f"Goal {g} of {about}." for g in range(GOALS)],
            )
        )
    return made


def artifact(folder: Path, dim: int, hidden: tuple[int, ...]) -> Path:
    """A critic of random parameters."""
    spec = CriticSpec(dim, hidden, 2, True, "gelu", "sigmoid")
    params = nnx.to_pure_dict(nnx.state(Critic(spec, jax.random.key(0))))
    encoder = HashEncoder(dim)
    manifest = {
        "critic": spec.to_json(),
        "encoder": {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "describe": encoder.describe(),
        },
        "texts": {"history": 0, "fingerprint": template_fingerprint(0)},
        "objective": {"name": "gc_iql"},
        "heads": ["q", "v"],
    }
    return artifacts.save(folder / "artifact", jax.tree.map(np.asarray, params), manifest)


def plain_scorer(opened: artifacts.Artifact) -> Callable[..., Any]:
    """Q of a grid in one jitted call on the artifact's own parameters."""
    spec = CriticSpec.from_json(opened.manifest["critic"])
    graph = nnx.graphdef(nnx.eval_shape(lambda: Critic(spec, jax.random.key(0))))
    params = jax.tree.map(jax.numpy.asarray, opened.params)

    @jax.jit
    def score(params: Any, task_D: Any, obs_D: Any, thought_ND: Any, goal_GD: Any) -> jax.Array:
        head = nnx.merge(graph, nnx.State(params)).q
        h_EH = head.project({"task": task_D, "observation": obs_D})
        h_NEH = h_EH[None] + head.project({"thought": thought_ND})
        h_NGEH = h_NEH[:, None] + head.project({"goal": goal_GD})[None]
        return link(head.finish(h_NGEH), spec.head).mean(0)

    return lambda *fields: np.asarray(score(params, *fields))


class Case:
    """One shape of critic, and every way of scoring with it."""

    def __init__(self, folder: Path, dim: int, hidden: tuple[int, ...]):
        made = artifact(folder, dim, hidden)
        self.encoder = HashEncoder(dim)
        self.value = ValueFunction.load(made)
        self.value.warm_up(THOUGHTS, GOALS)
        export_torch(made, folder / "export")
        self.torch = PgvCritic.from_pretrained(str(folder / "export")).eval()
        self.plain = plain_scorer(artifacts.load(made))
        self.threads = torch.get_num_threads()
        self.rounds = 0

    def arrays(self, made: Decision) -> list[np.ndarray]:
        """Stacked embeddings: task [D], observation [D], thoughts [N, D], goals [G, D]."""
        known = self.encoder.encode([made.task, made.observation, *made.thoughts, *made.goals])
        return [known[0], known[1], known[2 : 2 + THOUGHTS], known[2 + THOUGHTS :]]

    def ours(self, made: Decision) -> np.ndarray:
        """The scores of one decision."""
        return self.value.q(made.task, made.observation, made.thoughts, made.goals)

    def theirs(self, task: Any, observation: Any, thoughts: Any, goals: Any) -> np.ndarray:
        """The same by the export."""
        with torch.inference_mode():
            return self.torch.q(task, observation, thoughts[:, None], goals).numpy()

    def round(self, calls: int) -> dict[str, list[float]]:
        """Seconds of each call, by column."""
        self.rounds += 1
        name = f"episode {self.rounds}"
        fresh = decisions(calls + 1, name, same_goals=True)
        other = decisions(calls, f"other {name}", same_goals=False)
        for made in (*fresh, *other):  # stored: no call embeds
            self.value.embed([made.task, made.observation, *made.thoughts, *made.goals])
        fields = [self.arrays(made) for made in fresh[1:]]
        tensors = [[torch.from_numpy(x) for x in arrays] for arrays in fields]
        self.ours(fresh[0])  # the episode has begun
        found = {
            "fresh": timed(self.ours, [(made,) for made in fresh[1:]]),
            "new_goals": timed(self.ours, [(made,) for made in other]),
            "torch": timed(self.theirs, tensors),
            "plain": timed(self.plain, fields),
        }
        torch.set_num_threads(1)
        found["torch_1"] = timed(self.theirs, tensors)
        torch.set_num_threads(self.threads)
        return found

    def difference(self) -> float:
        """The largest difference between the ways of scoring."""
        made = decisions(1, "check", same_goals=True)[0]
        ours, fields = self.ours(made), self.arrays(made)
        theirs = self.theirs(*(torch.from_numpy(x) for x in fields))
        return float(max(np.abs(ours - theirs).max(), np.abs(ours - self.plain(*fields)).max()))


def timed(score: Callable[..., Any], calls: list[Any]) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for arguments in calls:
        started = time.perf_counter()
        score(*arguments)
        seconds.append(time.perf_counter() - started)
    return seconds


def micro(seconds: list[float], share: float) -> float:
    """A quantile in microseconds."""
    return round(1e6 * float(np.quantile(seconds, share)), 1)


def measure(dim: int, hidden: tuple[int, ...], rounds: int, calls: int) -> dict[str, Any]:
    """One line of the result."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), dim, hidden)
        difference = case.difference()
        case.round(calls)  # warm
        compiled = case.value.compilations
        found = [case.round(calls) for _ in range(rounds)]
    ratios = [statistics.median(r["torch"]) / statistics.median(r["fresh"]) for r in found]
    line: dict[str, Any] = {
        "dim": dim,
        "hidden": list(hidden),
        "grid": [THOUGHTS, GOALS],
        "calls": rounds * calls,
    }
    for column in found[0]:
        every = [seconds for each in found for seconds in each[column]]
        line[column] = {"p50_us": micro(every, 0.5), "p95_us": micro(every, 0.95)}
    return line | {
        "ratio": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
        "compiled": case.value.compilations - compiled,
        "difference": difference,
        "threads": case.threads,
        "load": round(os.getloadavg()[0], 2),
        "versions": {"jax": jax.__version__, "torch": torch.__version__},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=50)
    asked = parser.parse_args()
    for dim, hidden in SHAPES:
        print(json.dumps(measure(dim, hidden, asked.rounds, asked.calls)), flush=True)


if __name__ == "__main__":
    begin(main)
