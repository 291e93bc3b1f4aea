"""The learner's law: on worlds whose shortest paths are known, Q(s, a, g) = gamma^(1 + d(s', g)).

    python benchmarks/law.py [--seeds 5] [--steps 3000] [--world chain|graph] --out law.svg

A chain of 8 rooms and a random graph of 12 places with 3 doors each, walked at random; hash
embeddings, ``gc_iql``. Trains with float32, with bfloat16 products and with 8 goals a
step, and prints one JSON line for each world, variant and seed: the mean and the largest error over
all (place, move, goal), and the mean signed error. ``--out`` gets the learning curves of all seeds.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from entry import begin
from flax import nnx
from matplotlib.figure import Figure

from pgv_jax.config import Config, load_config
from pgv_jax.critic.heads import Critic, CriticSpec, link
from pgv_jax.data.layout import build_table
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.feed import make_feed
from pgv_jax.learner.first_layer import unstacked
from pgv_jax.learner.standardize import folded, standards_of
from pgv_jax.learner.state import abstract_state, critic_spec, init_state, make_optimizer
from pgv_jax.learner.step import make_update
from pgv_jax.types import Episode, Step

GAMMA = 0.9
TASK = "Walk."
WALKS, LENGTH = 200, 20
EVERY = 250
"""Updates between two points of a learning curve."""
BASE = (
    "texts.history=0",
    f"objective.gamma={GAMMA}",
    "goals.outcome=0",
    "objective.expectile=0.97",
)
"""Where nothing is left to chance, the best value seen is the value: an expectile near 1."""
VARIANTS = {
    "float32": (),
    "bfloat16": ("train.compute=bfloat16",),
    "8 goals a step": ("train.goals=8",),
}
CONFIG = "gc_iql"


@dataclass(frozen=True)
class World:
    """Places and where each move leads: ``after[place][move]``."""

    name: str
    after: tuple[tuple[int, ...], ...]

    def distances(self, goal: int) -> list[int]:
        """Moves from each place to ``goal``, the fewest."""
        known = {goal: 0}
        queue = deque([goal])
        while queue:
            place = queue.popleft()
            for before, doors in enumerate(self.after):
                if place in doors and before not in known:
                    known[before] = known[place] + 1
                    queue.append(before)
        return [known[place] for place in range(len(self.after))]


def chain(rooms: int = 8) -> World:
    """A corridor; moves lead left and right, and nowhere at its ends."""
    return World("chain", tuple((max(s - 1, 0), min(s + 1, rooms - 1)) for s in range(rooms)))


def graph(places: int = 12, doors: int = 3) -> World:
    """A ring, so that every place can be reached, and doors to random places."""
    rng = random.Random(0)
    return World(
        "graph",
        tuple(
            ((s + 1) % places, *(rng.randrange(places) for _ in range(doors - 1)))
            for s in range(places)
        ),
    )


def note(place: int) -> str:
    """What is seen at a place."""
    return f"You are in place {place}."


def thought(move: int) -> str:
    """The thought behind a move."""
    return f"I take door {move}."


def walks(world: World) -> Iterator[Episode]:
    """Random walks from random places."""
    for number in range(WALKS):
        rng = random.Random(number)
        place, steps = rng.randrange(len(world.after)), []
        for _ in range(LENGTH):
            move = rng.randrange(len(world.after[place]))
            steps.append(Step(note(place), thought(move), str(move)))
            place = world.after[place][move]
        yield Episode(f"{number}", "walk", TASK, tuple(steps), note(place))


def questions(world: World) -> tuple[dict[str, list[str]], np.ndarray]:
    """Every (place, move, goal) whose goal does not hold already, in words, and its true value."""
    places = range(len(world.after))
    triples = [
        (s, m, g)
        for s, m, g in itertools.product(places, range(len(world.after[0])), places)
        if s != g
    ]
    far = {goal: world.distances(goal) for goal in places}
    truth = [GAMMA ** (1 + far[g][world.after[s][m]]) for s, m, g in triples]
    texts = {
        "task": [TASK] * len(triples),
        "observation": [note(s) for s, _, _ in triples],
        "thought": [thought(m) for _, m, _ in triples],
        "goal": [note(g) for _, _, g in triples],
    }
    return texts, np.asarray(truth)


def curve(world: World, table: Table, encoder: HashEncoder, config: Config) -> list[dict[str, Any]]:
    """Train, and ask all questions every ``EVERY`` updates."""
    mesh = meshes.make_mesh(0, 1, len(table.shards))
    spec = critic_spec(config.critic, config.objective, table.manifest["dim"])
    optimizer, standards = make_optimizer(config.train), standards_of(table)
    abstract = abstract_state(spec, optimizer, mesh)
    update = make_update(spec, config.objective, config.train, optimizer, len(table.shards))
    feed = make_feed(table, mesh, config, abstract, update)
    state = init_state(spec, optimizer, mesh, config.train.seed)
    texts, truth = questions(world)
    inputs = {name: encoder.encode(said) for name, said in texts.items()}
    points = []
    for step in range(0, config.train.steps, EVERY):
        state, _ = feed.advance(state, step, EVERY)
        error = (
            values(spec, folded(unstacked(jax.device_get(state.params)), standards), inputs) - truth
        )
        points.append(
            {
                "step": step + EVERY,
                "mean": float(np.abs(error).mean()),
                "max": float(np.abs(error).max()),
                "signed": float(error.mean()),
            }
        )
    return points


def values(spec: CriticSpec, params: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The ensemble's mean Q of raw embeddings."""
    graph_def = nnx.graphdef(nnx.eval_shape(lambda: Critic(spec, jax.random.key(0))))
    critic = nnx.merge(graph_def, nnx.State(jax.tree.map(jnp.asarray, params)))
    return np.asarray(link(critic.q(inputs), spec.head).mean(0))


def draw(curves: dict[tuple[str, str], list[list[dict[str, Any]]]], out: Path) -> None:
    """A panel a world, a colour a variant, a line a seed."""
    matplotlib.rcParams["svg.fonttype"] = "none"
    names = sorted({world for world, _ in curves})
    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    colors = dict(zip(VARIANTS, ("#2f7de1", "#c2660c", "#1a9460"), strict=True))
    for name, axes in zip(names, panels, strict=True):
        for variant, color in colors.items():
            for seed, points in enumerate(curves.get((name, variant), [])):
                axes.plot(
                    [p["step"] for p in points],
                    [p["mean"] for p in points],
                    color=color,
                    alpha=0.7,
                    linewidth=1,
                    label=variant if seed == 0 else None,
                )
        axes.axhline(0.03, color="#808893", linewidth=0.8, linestyle="--")
        axes.set_title(name)
        axes.set_xlabel("updates")
        axes.set_yscale("log")
    panels[0].set_ylabel("mean |Q - gamma^(1 + distance)|")
    panels[-1].legend(frameon=False)
    figure.savefig(out)


@click.command()
@click.option("--seeds", default=5, show_default=True)
@click.option("--steps", default=3000, show_default=True, help=f"Updates, a multiple of {EVERY}.")
@click.option("--world", "wanted", type=click.Choice(["chain", "graph"]), multiple=True)
@click.option("--set", "extra", multiple=True, metavar="KEY=VALUE", help="Of the configuration.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(
    seeds: int, steps: int, wanted: tuple[str, ...], extra: tuple[str, ...], out: Path | None
) -> None:
    """Train every variant on every world with every seed."""
    encoder = HashEncoder(256)
    curves: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for world in (chain(), graph()):
            if wanted and world.name not in wanted:
                continue
            table = build_table(
                Path(folder) / world.name,
                walks(world),
                encoder.encode,
                split="train",
                shards=8,
                history=0,
                encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
                data_fingerprint=world.name,
            )
            for (variant, options), seed in itertools.product(VARIANTS.items(), range(seeds)):
                budget = (f"train.seed={seed}", f"train.steps={steps}")
                asked = (*BASE, *options, *budget, *extra)
                points = curve(world, table, encoder, load_config(CONFIG, asked))
                curves.setdefault((world.name, variant), []).append(points)
                told = {"world": world.name, "variant": variant, "seed": seed, **points[-1]}
                print(json.dumps({**told, "load": round(os.getloadavg()[0], 1)}), flush=True)
                if out is not None:
                    draw(curves, out)


if __name__ == "__main__":
    begin(main)
