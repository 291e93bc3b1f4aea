"""Standardised embeddings: what is learned on them is published for raw ones, exactly."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from pgv_jax.critic.heads import Critic, CriticSpec
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder import HashEncoder
from pgv_jax.learner.standardize import Standard, folded, standards_of
from pgv_jax.types import FIELDS
from tests.learner import chain

D, B = 16, 7
SPEC = CriticSpec(D, (9, 5), 2, True, "gelu", "linear")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    return chain.table(tmp_path_factory.mktemp("table") / "t", chain.walks(12), dim=D, shards=4)


def test_a_field_is_centred_and_scaled_over_its_distinct_texts(table):
    """Each shard counts its own distinct texts once, however often a step says them."""
    told = standards_of(table)
    embed = HashEncoder(D).encode
    rooms = embed([chain.note(room) for room in range(4)])
    for shard in table.shards:
        assert len(np.unique(shard.row_obs)) == 4, "the corridor is too short for this test"
    mean, scale = told["observation"]
    np.testing.assert_allclose(mean, rooms.mean(0), atol=1e-6)
    centred = rooms - rooms.mean(0)
    assert scale == pytest.approx(np.sqrt(np.square(centred).mean()), rel=1e-5)
    moves = embed([chain.thought(move) for move in chain.MOVES])
    np.testing.assert_allclose(told["thought"].mean, moves.mean(0), atol=1e-6)
    np.testing.assert_allclose(told["task"].mean, embed([chain.TASK])[0], atol=1e-6)


def test_folding_is_exact():
    """The folded critic on raw embeddings is the critic on standardised ones."""
    generator = np.random.default_rng(0)
    abstract = nnx.eval_shape(lambda: Critic(SPEC, jax.random.key(0)))
    graph, shapes = nnx.split(abstract)
    params = jax.tree.map(
        lambda x: 0.5 * generator.standard_normal(x.shape, np.float32), nnx.to_pure_dict(shapes)
    )
    standards = {
        name: Standard(generator.normal(size=D).astype(np.float32), np.float32(0.1 + 0.2 * i))
        for i, name in enumerate(FIELDS)
    }
    raw = {name: generator.standard_normal((B, D), np.float32) for name in FIELDS}
    clean = {name: (raw[name] - standards[name].mean) / standards[name].scale for name in FIELDS}

    @jax.jit
    def score(params, inputs):
        critic = nnx.merge(graph, nnx.State(params))
        return critic.q(inputs), critic.v(inputs)

    for got, wanted in zip(
        score(folded(params, standards), raw), score(params, clean), strict=True
    ):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        assert not np.allclose(got, score(params, raw)[0][0], atol=0.1)
