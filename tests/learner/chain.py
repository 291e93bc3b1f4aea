"""A corridor of rooms, walked at random: the smallest problem whose values are known.

The distance from room s to room g is |s - g|, so Q(s, a, g) = gamma^(1 + |s' - g|).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pgv_jax.config import Config, load_config
from pgv_jax.data.episodes import write_dataset
from pgv_jax.data.layout import build_table
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.types import Episode, Step

TASK = "Walk."
MOVES = {"left": -1, "right": 1}
TINY = (
    "texts.history=0",
    "objective.gamma=0.9",
    "critic.hidden=[8]",
    "critic.recipe=td",
    "train.batch=32",
    "train.log_every=5",
    "train.eval_every=10",
    "train.scan=5",
)
"""A configuration that is compiled and run in a moment."""


def note(room: int) -> str:
    return f"You are in room {room}."


def thought(move: str) -> str:
    return f"I go {move}."


def after(room: int, move: str, rooms: int) -> int:
    return min(max(room + MOVES[move], 0), rooms - 1)


def walk(number: int, rooms: int, steps: int, **facts: Any) -> Episode:
    """A random walk; the same number gives the same one."""
    rng = random.Random(number)
    room = rng.randrange(rooms)
    taken = []
    for _ in range(steps):
        move = rng.choice(sorted(MOVES))
        taken.append(Step(note(room), thought(move), move))
        room = after(room, move, rooms)
    facts = {"task_id": "corridor", **facts}
    return Episode(
        f"e{number}", task=TASK, steps=tuple(taken), final_observation=note(room), **facts
    )


def walks(count: int, rooms: int = 4, steps: int = 8, **facts: Any) -> list[Episode]:
    return [walk(number, rooms, steps, **facts) for number in range(count)]


def table(
    folder: Path,
    episodes: list[Episode],
    *,
    dim: int = 16,
    shards: int = 8,
    dtype: str = "float32",
    data: str = "d",
) -> Table:
    """The table of episodes under the hash encoder."""
    encoder = HashEncoder(dim)
    return build_table(
        folder,
        episodes,
        encoder.encode,
        split="train",
        shards=shards,
        history=0,
        encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
        data_fingerprint=data,
        dtype=dtype,
    )


def dataset(folder: Path) -> Path:
    """Sixteen walks to learn from and eight, of known outcome, to choose by."""
    judged = [
        walk(100 + i, 4, 8, success=i % 2 == 0, split="val", task_id="judged") for i in range(8)
    ]
    write_dataset(folder, [*walks(16, split="train"), *judged])
    return folder


def config(*overrides: str) -> Config:
    return load_config(None, [*TINY, *overrides])
