"""The next-note loss, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgv_jax.objectives.next_note_loss import next_note
from pgv_jax.types import Scenes


def ce(chance: float) -> float:
    """The cross-entropy of what was given this chance."""
    return float(-np.log(chance))


def logit(chance: float) -> float:
    return float(np.log(chance / (1 - chance)))


def scenes(**changes) -> Scenes:
    """One step: sentences 0 and 1 become 1 and 2, and the episode ends in failure."""
    given = {"now_BL": [[0, 1, -1]], "next_BL": [[1, 2, -1]], "task_BM": [[3]], "end_B": [2]}
    arrays = {name: jnp.asarray(x) for name, x in {**given, "whole_B": [True], **changes}.items()}
    return Scenes(**arrays)


GONE = jnp.asarray([[logit(0.9), logit(0.2), logit(0.5)]])
APPEAR = jnp.asarray([[logit(0.1), logit(0.3), logit(0.6)]])
END = jnp.log(jnp.asarray([[0.5, 0.2, 0.25, 0.05]]))


def test_each_part_is_a_cross_entropy():
    loss, told = next_note(GONE, APPEAR, END, scenes())
    assert told["gone_loss"] == pytest.approx(ce(0.9) + ce(0.8), rel=1e-5)
    # Sentence 1 was there already, so it does not appear.
    assert told["appear_loss"] == pytest.approx(ce(0.9) + ce(0.7) + ce(0.6), rel=1e-5)
    assert told["end_loss"] == pytest.approx(ce(0.25), rel=1e-5)
    assert loss == pytest.approx(sum(float(x) for x in told.values()), rel=1e-5)


def test_what_is_not_known_has_no_loss_and_no_gradient():
    _, told = next_note(GONE, APPEAR, END, scenes(end_B=[-1]))
    assert told["end_loss"] == 0
    _, told = next_note(GONE, APPEAR, END, scenes(whole_B=[False]))
    assert told["gone_loss"] == told["appear_loss"] == 0 and told["end_loss"] > 0

    def loss(gone, appear, end):
        return next_note(gone, appear, end, scenes(end_B=[-1], whole_B=[False]))[0]

    for gradient in jax.grad(loss, argnums=(0, 1, 2))(GONE, APPEAR, END):
        assert not np.asarray(gradient).any()


def test_a_sentence_that_only_tasks_hold_is_not_asked_to_appear():
    # Number 3 stands in the note, but among the known sentences of notes are 0 to 2 alone.
    _, told = next_note(GONE, APPEAR, END, scenes(next_BL=[[1, 2, 3]]))
    assert told["appear_loss"] == pytest.approx(ce(0.9) + ce(0.7) + ce(0.6), rel=1e-5)
