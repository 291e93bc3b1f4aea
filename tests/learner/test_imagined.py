"""A critic that imagines: its laws on the corridor, on any devices, by any feed, after a kill."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from pgv_jax.config import load_config
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import write_dataset
from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import train
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.workflows.training import fit, prepare
from tests.learner import chain

ROOMS, GAMMA = 5, 0.9
BUDGET = (
    "texts.history=0",
    "data.encoder=sentences:hash:32",
    "critic.q=imagined",
    "critic.recipe=td",
    "critic.note_width=32",
    f"objective.gamma={GAMMA}",
    "objective.polyak=0.02",
    "critic.hidden=[32, 32]",
    "train.batch=128",
    "train.steps=800",
    "train.log_every=100",
    "train.eval_every=400",
    "train.scan=100",
)
SMALL = ("critic.note_width=8", "critic.hidden=[8]", "train.batch=32")
FEW = (*SMALL, "train.steps=20", "train.log_every=1", "train.scan=10", "train.eval_every=10")
EIGHT = """
import sys
from pathlib import Path
import jax
from pgv_jax.config import load_config
from pgv_jax.data.table import Table
from pgv_jax.learner.loop import train
assert jax.device_count() == 8
config = load_config(None, sys.argv[2:])
train(config, Table.open(Path(sys.argv[1]) / "tables" / "train"), None, Path(sys.argv[1]) / "eight")
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corridor") / "dataset"
    judged = [
        chain.walk(100 + i, ROOMS, 8, success=i % 2 == 0, split="val", task_id="judged")
        for i in range(8)
    ]
    write_dataset(folder, [*chain.walks(40, rooms=ROOMS, steps=20, split="train"), *judged])
    return folder


def config(dataset: Path, *overrides: str):
    return load_config(None, [f"data.dataset={dataset}", *BUDGET, *overrides])


def curve(workdir: Path) -> np.ndarray:
    told = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = ("loss", "q_loss", "gone_loss", "appear_loss", "end_loss", "note_value_loss")
    return np.asarray([[line[name] for name in names] for line in told if "loss" in line])


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["sentences", "mean"])
def test_imagined_q_is_gamma_to_the_number_of_steps(dataset, tmp_path, reads):
    own = config(dataset, "train.early_stop=false", f"critic.reads={reads}")
    value = ValueFunction.load(fit(own, prepare(own, tmp_path / "tables"), tmp_path / "run"))
    triples = itertools.product(range(ROOMS), chain.MOVES, range(ROOMS))
    asked = [(room, move, goal) for room, move, goal in triples if room != goal]
    wanted = [GAMMA ** (1 + abs(chain.after(s, m, ROOMS) - g)) for s, m, g in asked]
    q = value.q_pairs(
        [chain.TASK] * len(asked),
        [chain.note(s) for s, _, _ in asked],
        [chain.thought(m) for _, m, _ in asked],
        [chain.note(g) for _, _, g in asked],
    )
    assert np.abs(q - wanted).mean() <= 0.03
    notes = [chain.note(room) for room in range(ROOMS)]
    for move, next_room in (("left", 1), ("right", 3)):
        (told,) = value.expects(chain.TASK, chain.note(2), [chain.thought(move)], notes)
        assert dict(told.gone)[chain.note(2)] > 0.9
        assert told.appears[0][0] == chain.note(next_room) and told.appears[0][1] > 0.9
        assert told.appears[1][1] < 0.1
    ranked = dict(zip(asked, q, strict=True))
    pairs = [(s, g) for s in range(ROOMS) for g in range(ROOMS) if s != g]
    right = [ranked[s, "right", g] > ranked[s, "left", g] for s, g in pairs]
    assert right == [g > s for s, g in pairs]


@pytest.fixture(scope="module")
def few(dataset, tmp_path_factory):
    """A short run that nothing interrupts: its folder and what it trained."""
    folder = tmp_path_factory.mktemp("few")
    prepared = prepare(config(dataset, *FEW), folder / "tables")
    trained = train(config(dataset, *FEW), prepared.train, prepared.held_out, folder / "run")
    return folder, prepared, trained


@pytest.mark.slow
def test_one_device_and_eight_draw_the_same_learning_curve(dataset, few, run_python, tmp_path):
    folder, prepared, _ = few
    options = (*BUDGET, *FEW, "train.early_stop=false", "mesh.data=4", "mesh.model=2")
    run_python(EIGHT, devices=8, args=(str(folder), f"data.dataset={dataset}", *options))
    train(config(dataset, *FEW, "train.early_stop=false"), prepared.train, None, tmp_path)
    np.testing.assert_allclose(curve(folder / "eight"), curve(tmp_path), rtol=1e-4)


@pytest.mark.slow
def test_a_streamed_table_gives_the_same_run(dataset, few, tmp_path):
    folder, prepared, _ = few
    own = config(dataset, *FEW, "train.feed=stream")
    train(own, prepared.train, prepared.held_out, tmp_path)
    np.testing.assert_allclose(curve(tmp_path), curve(folder / "run"), rtol=1e-4)


@pytest.mark.slow
def test_an_interrupted_run_continues_to_the_bit(dataset, few, tmp_path):
    _, prepared, trained = few

    class Killed(Exception):
        pass

    def kill(step: int, metrics: dict[str, float]) -> None:
        if step >= 15:
            raise Killed

    own = config(dataset, *FEW, "train.checkpoint_every=10")
    with pytest.raises(Killed):
        train(own, prepared.train, prepared.held_out, tmp_path, kill)
    again = train(own, prepared.train, prepared.held_out, tmp_path)
    assert again.metrics == trained.metrics
    for mine, theirs in zip(
        jax.tree.leaves(again.params), jax.tree.leaves(trained.params), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_what_is_judged_is_imagined_q_and_the_note_it_expects(few):
    _, _, trained = few
    assert 0 < trained.metrics["val_next_error"] < 1.5
    assert "val_success" in trained.metrics or "val_goals" in trained.metrics


def test_the_value_of_notes_looks_one_step_ahead_whatever_the_objective_does(
    dataset, few, tmp_path
):
    folder, prepared, _ = few
    own = config(dataset, *FEW, "objective.name=n_step_iql", "objective.n=3")
    train(own, prepared.train, None, tmp_path)
    one, three = curve(folder / "run")[0], curve(tmp_path)[0]
    np.testing.assert_allclose(three[-1], one[-1], rtol=1e-4)
    assert three[1] != pytest.approx(one[1], rel=1e-3)  # the losses of Q differ


@pytest.mark.slow
def test_a_run_may_start_with_an_artifact_that_imagines(dataset, tmp_path):
    own = config(dataset, *FEW)
    first = fit(own, prepare(own, tmp_path / "tables"), tmp_path / "one")
    more = config(dataset, *FEW, f"train.start={first}")
    second = fit(more, prepare(more, tmp_path / "tables"), tmp_path / "two")
    assert curve(tmp_path / "two")[0, 0] < curve(tmp_path / "one")[0, 0]
    q = ValueFunction.load(second).q(chain.TASK, chain.note(1), ["I go left."], [SUCCESS])
    assert q.shape == (1, 1)
    # Without the model, Q and V begin with what they had learned.
    overrides = ("critic.q=direct", "train.steps=1")
    direct = config(dataset, *FEW, f"train.start={first}", *overrides)
    prepared = prepare(direct, tmp_path / "direct")
    value = ValueFunction.load(fit(direct, prepared, tmp_path / "three"))
    begun = ValueFunction.load(first, imagine=False)
    for each in (value, begun):
        assert not each.imagines
    asked = ([chain.TASK] * 2, [chain.note(1), chain.note(3)], [chain.note(2)] * 2)
    np.testing.assert_allclose(value.v_pairs(*asked), begun.v_pairs(*asked), atol=0.05)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("texts.history=2", "texts.history=0, not 2"),
        ("data.encoder=hash:32", "data.encoder='sentences:hash:32'"),
        ("objective.name=monte_carlo", "such as gc_iql, not monte_carlo"),
    ],
)
def test_what_cannot_be_imagined_is_a_sentence(dataset, tmp_path, override, words):
    with pytest.raises(PgvError) as error:
        prepare(config(dataset, override), tmp_path)
    assert words in str(error.value) and "\n" not in str(error.value)
