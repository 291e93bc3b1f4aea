"""n-step GC-IQL: targets on a chain by hand, and n = 1 is GC-IQL to the last bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgv_jax.config import load_config
from pgv_jax.data.relabel import FAILURE_ID, FUTURE, OUTCOME, SUCCESS_ID, facts, index_of
from pgv_jax.learner.loop import train
from pgv_jax.objectives.iql import GCIQL, td_target
from pgv_jax.objectives.n_step import NStepIQL
from pgv_jax.types import Episode, Step
from tests.learner import chain

from .hand import batch

GAMMA, V = 0.5, 0.25
"""V is what the critic is made to say of every s'."""
LAST = 5


def walk(name: str, success: bool | None, terminal: bool) -> Episode:
    """Rooms 0 to 5 one after the other: row t says "You are in room t."."""
    steps = tuple(Step(chain.note(t), chain.thought("right"), "right") for t in range(LAST))
    facts = {"success": success, "is_terminal": terminal}
    return Episode(name, "t", chain.TASK, steps, chain.note(LAST), **facts)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Three such walks: ended with success, ended with failure, cut with the outcome unknown."""
    ends = [walk("won", True, True), walk("lost", False, True), walk("cut", None, False)]
    table = chain.table(tmp_path_factory.mktemp("walks"), ends, shards=1)
    return jax.tree.map(lambda x: x[0], index_of(table.shards))


def asked(index, objective, cases):
    """The facts and targets of (episode, step, goal) triples; a goal is a room or an outcome."""
    rows = np.asarray([6 * episode + t for episode, t, _ in cases])
    rooms = [index.row_note[goal] if isinstance(goal, int) else None for *_, goal in cases]
    outcomes = {"success": SUCCESS_ID, "failure": FAILURE_ID}
    goals = [outcomes[c[2]] if r is None else r for c, r in zip(cases, rooms, strict=True)]
    kinds = np.asarray([OUTCOME if r is None else FUTURE for r in rooms])
    tell = getattr(objective, "facts", facts)
    drawn = jax.jit(tell, static_argnums=(4, 5))(index, rows, np.asarray(goals), kinds, GAMMA, 1)
    said = batch(drawn.reached, drawn.next_reached, drawn.discount)
    return drawn, td_target(jnp.full(len(cases), V), said).tolist()


WON, LOST, CUT = range(3)


@pytest.mark.parametrize(
    ("case", "target", "next_row"),
    [
        ((WON, 0, 0), 1.0, 3),  # the goal holds now
        ((WON, 0, 1), 0.5, 3),  # reached after 1, 2, 3 steps
        ((WON, 0, 2), 0.25, 3),
        ((WON, 0, 3), 0.125, 3),
        ((WON, 0, 4), 0.125 * V, 3),  # not within three steps: gamma^3 V(s_3)
        ((WON, 1, 0), 0.125 * V, 4),  # behind: no end in sight, V says
        ((WON, 3, 5), 0.25, 5),  # two steps are left: truncated at the end
        ((WON, 3, 0), 0.0, 5),  # the task ended without it
        ((WON, 2, 0), 0.0, 5),  # three steps are left, and the third ends the task
        ((CUT, 2, 0), 0.125 * V, 5),  # the log was cut: bootstrap on, gamma^3
        ((CUT, 3, 0), 0.25 * V, 5),  # gamma^2: only two steps are left
        ((CUT, 4, 0), 0.5 * V, 5),
        ((WON, 2, "success"), 0.125, 5),  # holds after the last step
        ((WON, 1, "success"), 0.125 * V, 4),  # one step further away than the return looks
        ((WON, 4, "success"), 0.5, 5),
        ((WON, 3, "failure"), 0.0, 5),
        ((LOST, 3, "failure"), 0.25, 5),
        ((LOST, 3, "success"), 0.0, 5),
    ],
)
def test_three_steps_by_hand(index, case, target, next_row):
    drawn, targets = asked(index, NStepIQL(gamma=GAMMA, n=3), [case])
    assert targets == [pytest.approx(target)]
    assert drawn.next_obs.tolist() == [index.row_obs[6 * case[0] + next_row]]


def test_one_step_tells_what_gc_iql_is_told(index):
    cases = [
        (episode, t, goal)
        for episode in (WON, LOST, CUT)
        for t in range(LAST)
        for goal in (*range(LAST + 1), *(("success", "failure") if episode != CUT else ()))
    ]
    ours, _ = asked(index, NStepIQL(gamma=GAMMA, n=1), cases)
    plain, _ = asked(index, GCIQL(gamma=GAMMA), cases)
    for name, got, wanted in zip(ours._fields, ours, plain, strict=True):
        assert (got is None) == (wanted is None), name
        if got is not None:
            np.testing.assert_array_equal(got, wanted, err_msg=name)


@pytest.mark.usefixtures("fused_as_shipped")
@pytest.mark.slow
def test_one_step_learns_what_gc_iql_learns(tmp_path):
    """Through the learner, with two goals a step, to the last bit."""
    table = chain.table(tmp_path / "table", chain.walks(8, success=True))
    budget = ("train.steps=10", "train.goals=2")

    def learned(name, *options):
        config = chain.config(*budget, f"objective.name={name}", *options)
        return train(config, table, None, tmp_path / "-".join((name, *options))).params

    one, plain = learned("n_step_iql", "objective.n=1"), learned("gc_iql")
    jax.tree.map(np.testing.assert_array_equal, one, plain)
    three = learned("n_step_iql", "objective.n=3")
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), three, plain)
    assert not all(jax.tree.leaves(same))


def test_the_configuration_asks_for_it():
    assert load_config("n_step_iql").objective == NStepIQL(n=3)
    assert set(NStepIQL.model_fields) == {*GCIQL.model_fields, "n"}
    assert NStepIQL.bootstraps and NStepIQL.heads == ("q", "v")
