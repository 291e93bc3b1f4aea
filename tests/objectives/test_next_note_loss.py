"""The next-note loss, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgv_jax.objectives.next_note_loss import next_note, note_value
from pgv_jax.types import Scenes


def ce(chance: float) -> float:
    """The cross-entropy of what was given this chance."""
    return float(-np.log(chance))


def logit(chance: float) -> float:
    return float(np.log(chance / (1 - chance)))


def scenes(**changes) -> Scenes:
    """One step: sentences 0 and 1 become 1 and 2, and the episode ends in failure."""
    given = {"now_BL": [[0, 1, -1]], "next_BL": [[1, 2, -1]], "task_BM": [[3]], "end_B": [2]}
    given |= {"whole_B": [True], "reached_B": [False], "next_reached_B": [False]}
    arrays = {name: jnp.asarray(x) for name, x in {**given, **changes}.items()}
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


def test_the_value_of_a_note_learns_from_the_next_one():
    def loss(*, is_sentence=True, next_value=0.5, at=0.25, **changes):
        given = jnp.asarray([logit(at)]), jnp.asarray([next_value]), jnp.asarray([is_sentence])
        return float(note_value(*given, scenes(**changes), gamma=0.8, expectile=0.7))

    # y = .8 * .5 = .4, above the value .25, so it weighs .7.
    assert loss() == pytest.approx(0.7 * (0.4 * ce(0.25) + 0.6 * ce(0.75)), rel=1e-5)
    assert loss(at=0.6) == pytest.approx(0.3 * (0.4 * ce(0.6) + 0.6 * ce(0.4)), rel=1e-5)
    # y = .8 where the goal holds next, whatever the slow copy says of that note.
    wanted = 0.7 * (0.8 * ce(0.25) + 0.2 * ce(0.75))
    assert loss(next_reached_B=[True], next_value=0.1) == pytest.approx(wanted, rel=1e-5)
    # Outcomes, and what holds already, are not asked.
    assert loss(is_sentence=False) == 0
    assert loss(reached_B=[True]) == 0
