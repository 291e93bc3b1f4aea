"""The law of the learner: on a corridor of rooms, Q is gamma to the number of steps."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pgv_jax.critic.heads import Critic, link
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.learner.loop import Trained, train
from tests.learner import chain

ROOMS, GAMMA, DIM = 5, 0.9, 32
BUDGET = (
    f"objective.gamma={GAMMA}",
    "objective.polyak=0.02",
    "critic.hidden=[32, 32]",
    "train.batch=128",
    "train.steps=1500",
    "train.log_every=100",
    "train.eval_every=500",
    "train.scan=100",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    episodes = chain.walks(40, rooms=ROOMS, steps=20)
    return chain.table(tmp_path_factory.mktemp("corridor"), episodes, dim=DIM)


def questions() -> list[tuple[int, str, int]]:
    """Every (room, move, goal) where the goal does not hold already."""
    triples = itertools.product(range(ROOMS), chain.MOVES, range(ROOMS))
    return [(room, move, goal) for room, move, goal in triples if room != goal]


def truth(room: int, move: str, goal: int) -> float:
    return GAMMA ** (1 + abs(chain.after(room, move, ROOMS) - goal))


def answers(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Q and V of every question by the trained critic, on raw embeddings."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Critic(trained.spec, jax.random.key(0))))
    rooms, moves, goals = zip(*questions(), strict=True)
    embed = HashEncoder(DIM).encode
    inputs = {
        "task": embed([chain.TASK] * len(rooms)),
        "observation": embed([chain.note(room) for room in rooms]),
        "thought": embed([chain.thought(move) for move in moves]),
        "goal": embed([chain.note(goal) for goal in goals]),
    }

    @jax.jit
    def score(params, inputs):
        critic = nnx.merge(graph, nnx.State(params))
        return jnp.concatenate([critic.q(inputs), critic.v(inputs)])

    said = np.asarray(link(score(trained.params, inputs), trained.spec.head))
    return said[:-1].mean(0), said[-1]


@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(
            ("objective.head=linear", "train.goals=4", "train.batch=64", "train.compute=bfloat16"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "linear heads, four goals a step, bfloat16"],
)
def test_q_is_gamma_to_the_number_of_steps(table, tmp_path, options):
    trained = train(chain.config(*BUDGET, *options), table, None, tmp_path)
    q, v = answers(trained)
    wanted = np.asarray([truth(*question) for question in questions()])
    best = np.asarray([max(truth(s, m, g) for m in chain.MOVES) for s, _, g in questions()])
    assert np.abs(q - wanted).mean() <= 0.03
    assert np.abs(q - wanted).max() <= 0.1
    assert np.abs(v - best).mean() <= 0.03
    # The truth is not what a constant would also say.
    assert np.abs(wanted - np.median(wanted)).mean() > 0.07
    ranked = dict(zip(questions(), q, strict=True))
    pairs = [(s, g) for s in range(ROOMS) for g in range(ROOMS) if s != g]
    right = [ranked[s, "right", g] > ranked[s, "left", g] for s, g in pairs]
    assert right == [g > s for s, g in pairs]
