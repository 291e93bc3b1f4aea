"""The laws of the objectives that read examples, on the corridor of rooms."""

from __future__ import annotations

import random
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.linear_model import LogisticRegression

from pgv_jax.critic.heads import Critic, link
from pgv_jax.data.layout import build_table
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import Trained, train
from pgv_jax.objectives.agent_prm import AgentPRM
from pgv_jax.objectives.inverse_prm import InversePRM
from pgv_jax.objectives.lookahead import Lookahead
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Candidate, Episode, Step
from tests.learner import chain

DIM, GAMMA = 32, 0.9
BUDGET = (
    f"objective.gamma={GAMMA}",
    "critic.hidden=[32, 32]",
    "train.batch=64",
    "train.steps=800",
    "train.log_every=100",
    "train.eval_every=800",
    "train.scan=100",
    "train.weight_decay=0",
)


def table(folder, episodes, examples, shards=2) -> Table:
    encoder = HashEncoder(DIM)
    return build_table(
        folder,
        episodes,
        encoder.encode,
        split="train",
        shards=shards,
        history=0,
        encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
        data_fingerprint="d",
        examples=examples,
    )


def values(trained: Trained, rooms, moves, goal=SUCCESS) -> tuple[np.ndarray, np.ndarray]:
    """Q, the mean over the ensemble, and V of aligned rooms and moves."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Critic(trained.spec, jax.random.key(0))))
    embed = HashEncoder(DIM).encode
    inputs = {
        "task": embed([chain.TASK] * len(rooms)),
        "observation": embed([chain.note(room) for room in rooms]),
        "thought": embed([chain.thought(move) for move in moves]),
        "goal": embed([goal] * len(rooms)),
    }

    @jax.jit
    def score(params, inputs):
        critic = nnx.merge(graph, nnx.State(params))
        return jnp.concatenate([critic.q(inputs), critic.v(inputs)])

    said = np.asarray(link(score(trained.params, inputs), trained.spec.head))
    return said[:-1].mean(0), said[-1]


def judged_walks() -> list[Episode]:
    """Random walks of five steps, won where they end in the last room."""
    walks = chain.walks(40, rooms=4, steps=5, is_terminal=True)
    return [replace(walk, success=walk.final_observation == chain.note(3)) for walk in walks]


QUESTIONS = [(room, move) for room in range(4) for move in chain.MOVES]


def test_agent_prm_learns_the_monte_carlo_value(tmp_path):
    episodes = judged_walks()
    examples = AgentPRM(gamma=GAMMA).targets(episodes, 0)
    config = chain.config(*BUDGET, "objective.name=agent_prm")
    trained = train(config, table(tmp_path / "t", episodes, examples), None, tmp_path)
    told = {
        (episode.steps[e.step].observation, e.thought): (e.target, e.value)
        for episode, own in zip(episodes, examples, strict=True)
        for e in own
    }
    wanted = np.asarray([told[chain.note(r), chain.thought(m)] for r, m in QUESTIONS])
    q, v = values(trained, *zip(*QUESTIONS, strict=True))
    np.testing.assert_allclose(q, wanted[:, 0], atol=0.03)
    np.testing.assert_allclose(v, wanted[:, 1], atol=0.03)


def test_pairs_rank_as_the_targets_do(tmp_path):
    episodes = judged_walks()
    examples = AgentPRM(gamma=GAMMA, form="pairs").targets(episodes, 0)
    kept = [(e, own) for e, own in zip(episodes, examples, strict=True) if own]
    config = chain.config(
        *BUDGET, "objective.name=agent_prm", "objective.form=pairs", "train.steps=300"
    )
    trained = train(
        config,
        table(tmp_path / "t", [e for e, _ in kept], [own for _, own in kept], shards=1),
        None,
        tmp_path,
    )
    pairs = [(e.steps[x.step].observation, x.thought, x.other) for e, own in kept for x in own]
    q, _ = values(trained, *zip(*QUESTIONS, strict=True))
    said = {(chain.note(r), chain.thought(m)): x for (r, m), x in zip(QUESTIONS, q, strict=True)}
    assert all(said[note, better] > said[note, worse] for note, better, worse in pairs)


ROOMS, SKILL = 4, {"expert": 0.9, "policy": 0.3}


def player(number: int, who: str) -> Episode:
    """A walk to the last room by one who goes right with SKILL and else either way."""
    rng, room, steps = random.Random(f"{who}/{number}"), 0, []

    def move(skill: float) -> str:
        return "right" if rng.random() < skill else rng.choice(list(chain.MOVES))

    while room < ROOMS - 1 and len(steps) < 30:
        taken, shadow = move(SKILL[who]), chain.thought(move(SKILL["policy"]))
        about = {"policy_thought": shadow}
        steps.append(Step(chain.note(room), chain.thought(taken), taken, metadata=about))
        room = chain.after(room, taken, ROOMS)
    return Episode(
        f"{who}{number}",
        "corridor",
        chain.TASK,
        tuple(steps),
        chain.note(room),
        is_terminal=room == ROOMS - 1,
        metadata={"expert": True} if who == "expert" else {},
    )


def best_table(episodes, examples) -> np.ndarray:
    """The margins of the table of q that minimises the loss: a logistic regression, for r is linear
    in q, on which both groups weigh the same."""
    features, labels = [], []
    for episode, own in zip(episodes, examples, strict=True):
        rooms = [chain.note(r) for r in range(ROOMS)]
        for e in own:
            row = np.zeros((ROOMS, len(chain.MOVES)))
            said = [chain.thought(m) for m in chain.MOVES]
            row[rooms.index(episode.steps[e.step].observation), said.index(e.thought)] += 1
            if e.other is not None:
                following = episode.steps[e.step + 1].observation
                row[rooms.index(following), said.index(e.other)] -= GAMMA
            features.append(row.ravel())
            labels.append(int(e.target))
    fitted = LogisticRegression(C=1e4, class_weight="balanced", fit_intercept=False, max_iter=2000)
    q = fitted.fit(features, labels).coef_.reshape(ROOMS, 2)[: ROOMS - 1]
    return q[:, 1] - q[:, 0]


def margins(trained: Trained) -> np.ndarray:
    """The logit of going right less that of going left, in each room but the last."""
    q, _ = values(trained, *zip(*QUESTIONS, strict=True))
    left_right = np.log(q / (1 - q)).reshape(ROOMS, 2)[: ROOMS - 1]
    return left_right[:, 1] - left_right[:, 0]


@pytest.mark.slow
def test_inverse_prm_prefers_what_the_expert_does_and_leaves_v_alone(tmp_path):
    """Both sometimes walk right and sometimes left; nothing in the data says what is good."""
    episodes = [player(i, who) for who in SKILL for i in range(150)]
    examples = InversePRM().targets(episodes, 0)
    made = table(tmp_path / "t", episodes, examples)
    config = chain.config(*BUDGET, "objective.name=inverse_prm", "train.steps=1500")
    trained = train(config, made, None, tmp_path)
    wanted = best_table(episodes, examples)
    assert wanted.min() > 0.5  # the expert's move is preferred in every room
    np.testing.assert_allclose(margins(trained), wanted, atol=0.2)
    still = chain.config(*BUDGET, "objective.name=inverse_prm", "train.steps=1")
    first = train(still, made, None, tmp_path / "one")
    v, untouched = (values(t, *zip(*QUESTIONS, strict=True))[1] for t in (trained, first))
    np.testing.assert_array_equal(v, untouched)


def test_with_the_experts_own_next_thoughts_the_preference_is_lost(tmp_path):
    """Why a' of the expert's steps is the policy's: what is raised at t is lowered at t - 1."""
    episodes = [player(i, who) for who in SKILL for i in range(150)]
    examples = InversePRM(next_thought="logged").targets(episodes, 0)
    made = table(tmp_path / "t", episodes, examples)
    config = chain.config(*BUDGET, "objective.name=inverse_prm", "train.steps=600")
    assert best_table(episodes, examples)[1:].max() < 0.1
    assert margins(train(config, made, None, tmp_path))[1:].max() < 0.5


def test_batches_hold_both_groups_in_equal_parts(tmp_path):
    """Two expert's steps among a hundred of the policy's are half of every batch."""
    expert = replace(chain.walk(0, 4, 2), is_terminal=True, metadata={"expert": True})
    episodes = [expert, *chain.walks(20, rooms=4, steps=5, is_terminal=True)]
    episodes[0] = replace(expert, episode_id="x")
    examples = InversePRM(next_thought="logged").targets(episodes, 0)
    config = chain.config("objective.name=inverse_prm", "train.steps=5")
    train(config, table(tmp_path / "t", episodes, examples), None, tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines and all('"expert": 0.5' in line for line in lines)


@pytest.mark.slow
def test_a_lookahead_that_is_repeated_finds_gamma_to_the_steps(tmp_path):
    """Each refit moves the values one room further from the end; the end's value is 1."""
    rooms, value = 3, np.zeros(3)
    trained = None
    for k in range(rooms):
        episodes = []
        for room in range(rooms):
            candidates = tuple(
                Candidate(chain.thought(m), m, {SUCCESS: successor(room, m, rooms, value)})
                for m in chain.MOVES
            )
            step = Step(
                chain.note(room),
                chain.thought("right"),
                "right",
                candidates=candidates,
                metadata={"expanded": True},
            )
            episodes.append(Episode(f"n{room}", "c", chain.TASK, (step,), "End."))
        examples = Lookahead(gamma=GAMMA).targets(episodes, 0)
        config = chain.config(*BUDGET, "objective.name=lookahead", "train.steps=500")
        made = table(tmp_path / f"t{k}", episodes, examples, shards=1)
        trained = train(config, made, None, tmp_path / f"w{k}")
        _, value = values(trained, range(rooms), ["right"] * rooms)
    np.testing.assert_allclose(value, [GAMMA**3, GAMMA**2, GAMMA], atol=0.03)


def successor(room, move, rooms, value) -> float:
    """The value of what follows: 1 behind the last room."""
    if room == rooms - 1 and move == "right":
        return 1.0
    return float(value[chain.after(room, move, rooms)])


def test_examples_name_their_goals_so_a_step_meets_one(tmp_path):
    episodes = judged_walks()
    examples = AgentPRM(gamma=GAMMA).targets(episodes, 0)
    config = chain.config("objective.name=agent_prm", "train.goals=2")
    with pytest.raises(PgvError, match=r"train\.goals = 2"):
        train(config, table(tmp_path / "t", episodes, examples), None, tmp_path)


def test_a_streamed_table_draws_the_same_examples(tmp_path):
    episodes = [
        replace(walk, metadata={"expert": number < 4})
        for number, walk in enumerate(chain.walks(12, rooms=4, steps=5, is_terminal=True))
    ]
    made = table(tmp_path / "t", episodes, InversePRM(next_thought="logged").targets(episodes, 0))
    losses = []
    for feed in ("resident", "stream"):
        config = chain.config("objective.name=inverse_prm", "train.steps=20", f"train.feed={feed}")
        train(config, made, None, tmp_path / feed)
        losses.append((tmp_path / feed / "metrics.jsonl").read_text())
    assert losses[0] == losses[1]
