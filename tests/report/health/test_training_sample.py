"""What an artifact keeps of its training data, and the distance that it tells."""

from __future__ import annotations

import numpy as np
import pytest

from pgv_jax.critic.support import FILE, Support, load_support, save_support
from pgv_jax.errors import PgvError
from pgv_jax.report.health.training_sample import support_of
from pgv_jax.types import Episode, Step

PLACES = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": [0.0, 1.0]}


def episode(task: str, *seen: str) -> Episode:
    return Episode(task, task, task, tuple(Step(s, "t", "a") for s in seen), "", True)


def embed(texts):
    return np.array([PLACES[text] for text in texts], np.float32) * 3


def test_the_usual_distance_by_hand():
    found = support_of([episode("one", "a"), episode("two", "b")], embed, history=0, seed=0)
    np.testing.assert_allclose(found.vector_KD, [PLACES["a"], PLACES["b"]], atol=1e-6)
    assert found.usual == pytest.approx(0.4)  # 1 - 0.6
    # The nearest of c is b: 1 - 0.8 = 0.2, half of what is usual.
    assert found.distance(np.array([0.0, 2.0])) == pytest.approx(0.5)
    assert found.distance(np.array([5.0, 0.0])) == pytest.approx(0, abs=1e-6)


def test_one_task_tells_nothing_of_another():
    assert support_of([episode("one", "a", "b")], embed, history=0, seed=0) is None


def test_it_is_read_back_and_damage_is_named(tmp_path):
    assert load_support(tmp_path) is None
    save_support(tmp_path, Support(np.array([[0.6, 0.8]], np.float32), 0.25))
    found = load_support(tmp_path)
    np.testing.assert_allclose(found.vector_KD, [[0.6, 0.8]], atol=1e-3)
    assert found.usual == 0.25
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(PgvError, match="is damaged"):
        load_support(tmp_path)
