"""How long a warm choice takes of a critic that imagines: 8 thoughts for 4 goals, milliseconds.

    python benchmarks/imagined_choice.py ARTIFACT --dataset DATASET [--rounds 9] [--calls 40]

Decisions are the dataset's: its tasks and observations, thoughts and sentences of its notes drawn
from it. Embeddings are in memory. ``imagined`` and ``direct`` are Q of the artifact by JAX,
``torch`` is its export to PyTorch, from the same vectors. They take turns within a round; ratios
are medians over rounds. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np
import torch
from entry import begin
from scorer import timed

from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import read_episodes
from pgv_jax.errors import PgvError
from pgv_jax.export.torch import PgvCritic
from pgv_jax.export.write import export_torch
from pgv_jax.texts.sentences import sentences
from pgv_jax.texts.templates import FAILURE, SUCCESS, observation_text, step_text

THOUGHTS, GOALS = 8, 4
Decision = tuple[str, str, list[str], list[str]]


def decisions(dataset: str, critic: ValueFunction, count: int) -> list[Decision]:
    """Steps of the dataset in a drawn order, with thoughts and sentences of other steps."""
    found, thoughts, parts = [], set(), set()
    for episode in read_episodes(dataset):
        for t, step in enumerate(episode.steps):
            observation = observation_text(episode, t, critic.history)
            found.append((episode.task, observation))
            thoughts.add(step_text(step.thought, step.action, critic.step))
            parts.update(sentences(observation))
    draw, said, known = random.Random(0), sorted(thoughts), sorted(parts)
    if len(said) < THOUGHTS or len(known) < GOALS:
        raise PgvError(f"{dataset} has too few distinct thoughts or sentences for a choice.")
    return [
        (
            *draw.choice(found),
            draw.sample(said, THOUGHTS),
            [SUCCESS, FAILURE, *draw.sample(known, GOALS - 2)],
        )
        for _ in range(count)
    ]


def measure(artifact: Path, dataset: str, rounds: int, calls: int) -> dict[str, Any]:
    """The result's line."""
    imagined = ValueFunction.load(artifact)
    if not imagined.imagines:
        raise PgvError(f"{artifact} does not imagine; train one with critic.q=imagined.")
    direct = ValueFunction.load(artifact, encoder=imagined.encoder, imagine=False)
    with tempfile.TemporaryDirectory() as folder:
        export_torch(artifact, Path(folder) / "torch")
        exported = PgvCritic.from_pretrained(str(Path(folder) / "torch"))
    exported.use_encoder(imagined.vectors)
    ways = {
        "imagined": imagined.q,
        "direct": direct.q,
        "torch": lambda task, seen, thoughts, goals: exported.score(
            seen, thoughts, goals, task
        ).numpy(),
    }
    asked = decisions(dataset, imagined, (rounds + 1) * calls)
    for critic in (imagined, direct):
        critic.embed(
            text for task, seen, *lists in asked for text in (task, seen, *lists[0], *lists[1])
        )
    difference = max(
        float(np.abs(imagined.q(*each) - ways["torch"](*each)).max()) for each in asked[:5]
    )
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    for r in range(rounds + 1):  # the first warms up
        for name, q in ways.items():
            part = timed(q, asked[r * calls : (r + 1) * calls])
            if r:
                seconds[name].append(part)
    line: dict[str, Any] = {"grid": [THOUGHTS, GOALS], "calls": rounds * calls}
    for name, found in seconds.items():
        every = 1e3 * np.concatenate(found)
        line[name] = {f"p{q}_ms": round(float(np.percentile(every, q)), 2) for q in (50, 95)}
    for name in ("direct", "torch"):
        pairs = zip(seconds["imagined"], seconds[name], strict=True)
        ratios = [statistics.median(ours) / statistics.median(theirs) for ours, theirs in pairs]
        line[f"imagined / {name}"] = round(statistics.median(ratios), 2)
    versions = {"jax": jax.__version__, "torch": torch.__version__}
    return line | {"difference": difference, "load": os.getloadavg()[0], "versions": versions}


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, help="A dataset's folder (pgv import).")
@click.option("--rounds", default=9, show_default=True)
@click.option("--calls", default=40, show_default=True, help="Choices a round, by each way.")
def main(artifact: Path, dataset: str, rounds: int, calls: int) -> None:
    """Measure and print."""
    print(json.dumps(measure(artifact, dataset, rounds, calls)))


if __name__ == "__main__":
    begin(main)
