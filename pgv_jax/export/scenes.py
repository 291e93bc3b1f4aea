"""One step with N thoughts and G goals as arrays: what the program ``imagined`` reads.

====  ===========================================================
L, M  sentences of the note, of the task; at least 1, padded
D     numbers of an embedding
====  ===========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from pgv_jax.critic.imagined import (
    ABSENT,
    FAILS,
    STATE,
    SUCCEEDS,
    UNREAD,
    Question,
    Reading,
    Row,
    kind_of,
)
from pgv_jax.critic.reader import Scene
from pgv_jax.critic.value import ValueFunction
from pgv_jax.texts.templates import FAILURE, SUCCESS, observation_text, sentences, thought_text
from pgv_jax.types import Episode

SCENE: dict[str, tuple[str, ...]] = {
    "task": ("D",),
    "note_parts": ("L", "D"),
    "note_there": ("L",),
    "task_parts": ("M", "D"),
    "task_there": ("M",),
    "rest": ("D",),
    "thought": ("N", "D"),
    "goal": ("G", "D"),
    "at": ("G",),
    "kind": ("G",),
}
"""The inputs in order, with their axes: float32, but for ``*_there`` bool, ``at`` and ``kind``
int32. ``rest`` is the sum over the note's sentences that are not read, ``at`` the goal's place
among ``note_parts`` (ABSENT, UNREAD), ``kind`` a STATE, SUCCEEDS or FAILS."""
SIZES = ((1, 1, 1, 1), (5, 3, 2, 6), (32, 8, 4, 8), (9, 2, 3, 5))
"""L, M, N and G of the random scenes; nothing is there in the first one."""
LOGGED, THOUGHTS, SENTENCES = 16, 4, 3
"""At most so many logged scenes, thoughts of one, and of its goals sentences of the last note."""


def dtype_of(name: str) -> Any:
    """The type of an input of a scene."""
    whole = {"at": np.int32, "kind": np.int32}
    return np.bool_ if name.endswith("_there") else whole.get(name, np.float32)


def random_scenes(dim: int) -> list[dict[str, np.ndarray]]:
    """Random unit vectors as scenes, always the same, with every kind of goal and padding."""
    generator = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
        x = generator.standard_normal((*shape, dim))
        return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)

    scenes = []
    for count_L, count_M, count_N, count_G in SIZES:
        turns = [(ABSENT, STATE), (0, STATE), (ABSENT, SUCCEEDS), (UNREAD, STATE), (ABSENT, FAILS)]
        turn = [turns[g % len(turns)] for g in range(count_G)]
        scene = {
            "task": unit(),
            "note_parts": unit(count_L),
            "note_there": np.arange(count_L) < count_L - 1,  # the last row is padding
            "task_parts": unit(count_M),
            "task_there": np.arange(count_M) < count_M - 1,
            "rest": unit(3).sum(0) if count_L > 1 else np.zeros(dim, np.float32),
            "thought": unit(count_N),
            "goal": unit(count_G),
            "at": np.asarray([at for at, _ in turn], np.int32),
            "kind": np.asarray([kind for _, kind in turn], np.int32),
        }
        held = scene["at"] >= 0
        scene["goal"][held] = scene["note_parts"][scene["at"][held]]
        scenes.append(scene)
    return scenes


def logged_scenes(value: ValueFunction, episodes: Iterable[Episode]) -> list[dict[str, np.ndarray]]:
    """The first LOGGED steps of ``episodes``, each with thoughts of its episode.

    Goals are success, failure, a sentence of the note and sentences of the last observation.
    """
    scenes: list[dict[str, np.ndarray]] = []
    for episode in episodes:
        last = sentences(episode.final_observation)[:SENTENCES]
        for t in range(min(len(episode.steps), LOGGED - len(scenes))):
            seen = observation_text(episode, t, value.history)
            said = [step.thought for step in (*episode.steps[t:], *episode.steps[:t])]
            said = [thought_text(seen, text, value.history) for text in dict.fromkeys(said)]
            goals = dict.fromkeys([SUCCESS, FAILURE, *Reading.of(seen).read[:1], *last])
            rows = [Row(episode.task, seen, text) for text in said[:THOUGHTS]]
            scenes.append(scene_of(rows, list(goals), value.vectors))
    return scenes


def scene_of(
    rows: Sequence[Row], goals: Sequence[str], lookup: Callable[[Sequence[str]], np.ndarray]
) -> dict[str, np.ndarray]:
    """Thoughts of one step and their goals as arrays; ``lookup(texts) -> [n, D]``."""
    note, task = Reading.of(rows[0].observation), Reading.of(rows[0].task)

    def parts(read: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors, or one row that is not there."""
        vectors = lookup(read) if read else np.zeros_like(lookup([rows[0].task]))
        return vectors, np.full(len(vectors), bool(read))

    (note_parts, note_there), (task_parts, task_there) = parts(note.read), parts(task.read)
    return {
        "task": lookup([rows[0].task])[0],
        "note_parts": note_parts,
        "note_there": note_there,
        "task_parts": task_parts,
        "task_there": task_there,
        "rest": lookup(note.unread).sum(0) if note.unread else np.zeros_like(note_parts[0]),
        "thought": lookup([row.thought for row in rows]),
        "goal": lookup(goals),
        "at": np.asarray([note.place(goal) for goal in goals], np.int32),
        "kind": np.asarray([kind_of(goal) for goal in goals], np.int32),
    }


def padded(scene: Mapping[str, np.ndarray], least: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The scene with its axes filled up by zeros to ``least``, where they are shorter."""
    widths = {
        name: [
            (0, max(0, least.get(axis, 0) - size))
            for axis, size in zip(axes, scene[name].shape, strict=True)
        ]
        for name, axes in SCENE.items()
    }
    return {name: np.pad(scene[name], width) for name, width in widths.items()}


def question_of(scene: Mapping[str, Any]) -> Question:
    """A scene as the JAX critic is asked it; its sizes may be symbolic."""
    count_N = scene["thought"].shape[0]

    def numbered(there_L: Any, first: Any) -> Any:
        ids_L = jnp.where(there_L, first + jnp.arange(there_L.shape[0]), -1)
        return jnp.broadcast_to(ids_L, (count_N, there_L.shape[0]))

    parts_UD = jnp.concatenate([scene["note_parts"], scene["task_parts"]])
    note_NL = numbered(scene["note_there"], 0)
    task_NM = numbered(scene["task_there"], scene["note_there"].shape[0])
    asked = Scene(parts_UD, note_NL, task_NM, jnp.asarray(scene["thought"]))
    names = ("rest", "task", "goal", "at", "kind")
    return Question(asked, *(jnp.asarray(scene[name])[None] for name in names))
