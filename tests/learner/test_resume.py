"""A run that was interrupted is the run that was not, to the bit; what does not fit is refused."""

from __future__ import annotations

import functools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import Interrupts, Trained, train

from . import chain

STEPS = 40
"""Evaluated every 10 updates, checkpointed every 15, so that the two do not coincide."""


def settings(*overrides: str) -> Any:
    return chain.config(f"train.steps={STEPS}", "train.checkpoint_every=15", *overrides)


def lines(workdir: Path) -> list[dict[str, float]]:
    text = (workdir / "metrics.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def kept(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def assert_same(one: Trained, other: Trained) -> None:
    assert (one.step, one.metrics, one.spec) == (other.step, other.metrics, other.spec)
    a, b = (jax.tree_util.tree_leaves_with_path(trained.params) for trained in (one, other))
    for (path, mine), (_, theirs) in zip(a, b, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=jax.tree_util.keystr(path))


class Run:
    """One corridor and what is trained on it."""

    def __init__(self, folder: Path):
        self.table = chain.table(folder / "train", chain.walks(16))
        ends = [True, False]
        judged = [chain.walk(100 + i, 4, 8, success=ends[i % 2]) for i in range(8)]
        self.held_out = chain.table(folder / "val", judged)

    def __call__(self, workdir: Path, *overrides: str, progress: Callable | None = None) -> Trained:
        options = {"progress": progress} if progress else {}
        return train(settings(*overrides), self.table, self.held_out, workdir, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def straight(run, tmp_path_factory) -> tuple[Trained, list[dict[str, float]]]:
    """The run that nothing interrupts, and its metrics."""
    workdir = tmp_path_factory.mktemp("straight")
    return run(workdir), lines(workdir)


def at(step: int, do: Callable[[], Any]) -> Callable[[int, dict], None]:
    """A progress function that acts once, at a step."""
    done = []

    def progress(now: int, metrics: dict) -> None:
        if now >= step and not done:
            done.append(now)
            do()

    return progress


def test_metrics_have_a_line_a_log_point_and_one_an_evaluation(straight):
    trained, told = straight
    logged = [line for line in told if "loss" in line]
    judged = [line for line in told if "val_score" in line]
    assert [line["step"] for line in logged] == list(range(5, STEPS + 1, 5))
    assert [line["step"] for line in judged] == [10, 20, 30, 40]
    for name in ("q_loss", "v_loss", "gradient_norm", "update_norm", "td_error"):
        assert all(np.isfinite(line[name]) for line in logged)
    best = max(judged, key=lambda line: line["val_score"])
    assert trained.step == best["step"]
    assert trained.metrics == {name: best[name] for name in best if name != "step"}


@pytest.mark.usefixtures("own_signals")
@pytest.mark.slow
def test_a_run_asked_to_end_is_saved_and_continues_as_if_nothing_had_been(run, straight, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=at(10, lambda: signal.raise_signal(signal.SIGTERM)))
    assert signal.getsignal(signal.SIGTERM) is before
    # Nothing of what was learned is lost: the checkpoint is where the metrics end.
    saved = max(kept(tmp_path))
    assert lines(tmp_path)[-1]["step"] == saved < STEPS
    seen = []
    assert_same(run(tmp_path, progress=lambda step, metrics: seen.append(step)), straight[0])
    assert seen[0] == saved + 5
    assert lines(tmp_path) == straight[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("theirs", [signal.SIG_IGN, lambda number, frame: None])
def test_a_signal_that_the_program_around_handles_stays_with_it(own_signals, number, theirs):
    signal.signal(number, theirs)
    with Interrupts() as interrupts:
        assert signal.getsignal(number) is theirs
        signal.raise_signal(number)
    assert not interrupts.asked
    assert signal.getsignal(number) is theirs


@pytest.mark.usefixtures("own_signals")
@pytest.mark.slow
def test_a_second_signal_ends_at_once(run, tmp_path):
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=at(5, twice))
    assert not kept(tmp_path)


@pytest.mark.slow
def test_a_killed_run_continues_from_its_last_checkpoint(run, straight, tmp_path):
    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        run(tmp_path, progress=at(25, kill))
    assert kept(tmp_path) == [15]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')  # the kill came in the middle of a line
    # How often it is saved is not what makes it that run.
    assert_same(run(tmp_path, "train.checkpoint_every=5", "train.keep=3"), straight[0])
    assert kept(tmp_path) == [30, 35, 40]
    assert lines(tmp_path) == straight[1]


def test_a_longer_run_continues_a_shorter_one_and_a_finished_one_stays(run, straight, tmp_path):
    run(tmp_path, "train.steps=20")
    assert_same(run(tmp_path), straight[0])
    assert lines(tmp_path) == straight[1]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    seen = []
    assert_same(run(tmp_path, progress=lambda step, metrics: seen.append(step)), straight[0])
    assert not seen
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_how_many_updates_a_call_fuses_changes_nothing(run, straight, tmp_path):
    assert_same(run(tmp_path, "train.scan=10"), straight[0])
    order = functools.partial(sorted, key=lambda line: (line["step"], "loss" in line))
    for mine, theirs in zip(order(lines(tmp_path)), order(straight[1]), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)


def test_patience_ends_a_run_that_no_longer_gains(run, tmp_path):
    patient = ("train.patience=1", "train.steps=100")
    trained, told = run(tmp_path, *patient), lines(tmp_path)
    assert told[-1]["step"] == trained.step + 10 < 100


def test_lines_stand_in_the_order_of_steps(straight):
    steps = [line["step"] for line in straight[1]]
    assert steps == sorted(steps)


# What does not fit


@pytest.fixture(scope="module")
def trained_folder(run, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("trained")
    run(workdir, "train.steps=5")
    return workdir


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("critic.hidden=[16]", "[16]"),
        ("critic.ensemble=3", "3"),
        ("critic.layer_norm=true", "True"),
        ("objective.head=linear", "linear"),
        ("objective.expectile=0.8", "0.8"),
        ("objective.gamma=0.8", "0.8"),
        ("goals.future=0.7", "0.7"),
        ("goals.form=note", "note"),
        ("train.seed=1", "1"),
        ("train.batch=64", "64"),
        ("train.lr=1e-2", "0.01"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(run, trained_folder, override, named):
    before = (trained_folder / "metrics.jsonl").read_bytes()
    with pytest.raises(PgvError) as error:
        run(trained_folder, override)
    said = str(error.value)
    assert str(trained_folder) in said and "--workdir" in said and named in said
    assert "\n" not in said
    assert (trained_folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"data": "other"}, "other"), ({"dim": 8}, "dim"), ({"shards": 4}, "shards")],
)
def test_a_checkpoint_of_other_data_is_refused(trained_folder, tmp_path, changes, named):
    other = chain.table(tmp_path / "table", chain.walks(16), **changes)
    with pytest.raises(PgvError, match=named):
        train(settings(), other, None, trained_folder)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(run, tmp_path):
    # A rate that warms up to what overflows float32 after some updates.
    wild = ("objective.head=linear", "train.warmup=1000", "train.lr=3e4")
    with pytest.raises(PgvError) as error:
        run(tmp_path, *wild, "train.checkpoint_every=5")
    said = str(error.value)
    step = int(said.split("at step ")[1].split(";")[0])
    assert said.split()[0] in lines(tmp_path)[0] and "train.lr" in said
    assert step - 5 <= max(kept(tmp_path)) < step
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path) if "loss" in line)
    # It is a checkpoint that loads: the run goes on from there, into the same wall.
    with pytest.raises(PgvError, match=f"at step {step};"):
        run(tmp_path, *wild, "train.checkpoint_every=5")


def damage(checkpoint: Path, how: str) -> None:
    if how == "gone":
        (checkpoint / "progress" / "metadata").unlink()
    for path in (checkpoint / "state").rglob("d/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= how == "bit"
        path.write_bytes(data[:100] if how == "cut" else data)


@pytest.mark.parametrize("how", ["cut", "gone"])
@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_names_the_one_before(run, straight, tmp_path, how):
    run(tmp_path, "train.steps=30", "train.checkpoint_every=10")
    newest = tmp_path / "checkpoints" / "30"
    damage(newest, how)
    with pytest.raises(PgvError, match="step 30 cannot be read") as error:
        run(tmp_path)
    said = str(error.value)
    assert "\n" not in said and f"remove {newest} to continue from step 20" in said
    shutil.rmtree(newest)
    assert_same(run(tmp_path), straight[0])
    assert lines(tmp_path) == straight[1]
