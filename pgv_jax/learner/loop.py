"""The training loop: dispatch a chunk, then write the metrics of the one before it.

Of many processes all run it alike. What only one of them can know (a clock, a signal) is agreed on
between chunks.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from pgv_jax.config import Config, check_imagined
from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.heads import CriticSpec
from pgv_jax.critic.next_note import joined, separated
from pgv_jax.data.table import Table
from pgv_jax.errors import PgvError
from pgv_jax.learner import cluster
from pgv_jax.learner import mesh as meshes
from pgv_jax.learner.checkpoint import Checkpoints
from pgv_jax.learner.feed import make_feed
from pgv_jax.learner.first_layer import stacked, unstacked
from pgv_jax.learner.metrics import Recorder
from pgv_jax.learner.speed import Speed
from pgv_jax.learner.standardize import centres_of, folded, standards_of, unfolded
from pgv_jax.learner.state import (
    State,
    abstract_state,
    begun_with,
    critic_spec,
    goal_spec,
    init_state,
    make_optimizer,
)
from pgv_jax.learner.step import NORMS, Metrics, NoteSpec, make_update, quantiles
from pgv_jax.learner.validate import Validation

CALL_SECONDS = 1.0
"""What the updates between two looks of the host should last: Ctrl-C is still answered soon."""

Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """The critic that a run ends with: host parameters, their spec, and how they were chosen."""

    params: Any
    spec: CriticSpec
    step: int
    metrics: dict[str, float]


class Interrupts:
    """Turns SIGINT and SIGTERM into a flag: a run ends between chunks, its state saved.

    Does nothing outside of the main thread, and takes no signal that the program around the run
    handles or ignores: that program would never learn that it was asked to end.
    """

    def __enter__(self) -> Interrupts:
        self.asked = False
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # asked twice: now
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(
    config: Config,
    table: Table,
    held_out: Table | None,
    workdir: Path,
    progress: Progress = lambda step, metrics: None,
    profile: bool = False,
    like: Table | None = None,
) -> Trained:
    """Train a critic to ``config.train.steps``, or continue the run that ``workdir`` holds.

    ``progress(step, metrics)`` is told each log point; ``profile`` keeps a trace of one call in
    ``workdir/profile``. ``like`` is a table whose compiled programs are to serve. In a run of
    many processes all call this alike, on one file system, and get the same.
    Raises PgvError for a batch, mesh or checkpoint that does not fit and for a loss that is not
    finite, KeyboardInterrupt after saving on SIGINT or SIGTERM (see ``Interrupts``).
    """
    check_imagined(config)
    mesh = meshes.make_mesh(config.mesh.data, config.mesh.model, len(table.shards))
    if not cluster.is_writer():
        table.verify(meshes.own_numbers(mesh, len(table.shards)))
    spec = critic_spec(config.critic, config.objective, table.manifest["dim"])
    optimizer = make_optimizer(config.train, config.objective.heads)
    abstract = abstract_state(spec, optimizer, mesh)
    checkpoints = Checkpoints(
        workdir / "checkpoints", config.train.keep, _identity(config, spec, table)
    )
    try:
        run: dict[str, Any]
        restored = checkpoints.restore(abstract)
        if restored is None:
            state = init_state(spec, optimizer, mesh, config.train.seed)
            if config.train.start:
                begin = unfolded(_begin(config, spec, table), standards_of(table))
                state = begun_with(state, stacked(begin), abstract)
            run = {"best_step": 0, "best_score": None, "best_metrics": {}}
        else:
            state, run = restored
            run.pop("identity")
        loop = _Loop(config, table, held_out, mesh, abstract, optimizer, spec, like)
        with Interrupts() as interrupts:
            recorder = Recorder(workdir, config, int(state.step), cluster.is_writer())
            trace = workdir / "profile" if profile and cluster.is_writer() else None
            try:
                state = loop.run(state, run, checkpoints, recorder, progress, interrupts, trace)
            finally:
                recorder.close()
        if interrupts.asked:
            raise cluster.AgreedStop
    finally:
        checkpoints.close()
    chosen = state.best if run["best_score"] is not None else state.params
    step = run["best_step"] if run["best_score"] is not None else int(state.step)
    return Trained(loop.published(chosen), spec, step, run["best_metrics"])


def check_start(
    found: artifacts.Artifact,
    spec: CriticSpec,
    fingerprint: str,
    remedy: str = "start from new parameters (train.start='')",
    anchored: bool = False,
) -> None:
    """Whether a run of ``spec`` on the encoder ``fingerprint`` can start from an artifact.

    Raises PgvError where it has another shape, other embeddings, or a probe for outcomes;
    ``remedy`` is what helps in every case. With ``anchored`` the run has a new probe fitted beside
    it, so the artifact may have one.
    """
    folder, critic = found.folder, dict(found.manifest["critic"])
    if anchored:
        critic |= {"outcome_members": 0, "outcome_hidden": []}
    if critic.get("outcome_members"):
        raise PgvError(
            f"The critic {folder} answers the outcome goals by a probe, which training does not "
            f"continue; start from a critic trained with critic.recipe=td, or {remedy}."
        )
    if not spec.note_width:
        critic = {key: value for key, value in critic.items() if not key.startswith("note_")}
    for what, held, asked in (
        ("critic", critic, spec.to_json()),
        ("encoder", found.manifest["encoder"]["fingerprint"], fingerprint),
    ):
        if held != asked:
            raise PgvError(
                f"train.start = {folder} has another {what} ({held}) than this run ({asked}); "
                f"train with its settings, or {remedy}."
            )


def _begin(config: Config, spec: CriticSpec, table: Table) -> Any:
    """The parameters of the artifact ``train.start``, which must fit the critic and its texts.

    A run without a next-note model takes Q and V alone of an artifact that has one; a probe for
    outcomes is left out, since an anchored run has its own.
    """
    found = artifacts.load(config.train.start)
    anchored = config.critic.recipe == "anchored"
    check_start(found, spec, table.manifest["encoder"]["fingerprint"], anchored=anchored)
    heads = {
        name: {part: value for part, value in head.items() if part != "outcome"}
        for name, head in found.params.items()
        if name != "m"
    }
    return heads | ({"m": separated(found.params["m"])[0]} if spec.note_width else {})


def _identity(config: Config, spec: CriticSpec, table: Table) -> dict[str, Any]:
    """What a checkpoint must share with the run that continues it."""
    m = table.manifest
    train = config.train.model_dump(
        include={"batch", "goals", "compute", "seed", "lr", "schedule", "weight_decay"}
    )
    if config.train.start:
        train["start"] = config.train.start
    return {
        "critic": spec.to_json(),
        "objective": config.objective.model_dump(),
        "goals": config.goals.model_dump(),
        "train": train,
        "encoder": m["encoder"]["fingerprint"],
        "texts": m["texts"]["fingerprint"],
        "data": m["data_fingerprint"],
        "shards": m["shards"],
    }


class _Loop:
    """What stays the same from chunk to chunk."""

    def __init__(
        self,
        config: Config,
        table: Table,
        held_out: Table | None,
        mesh: Mesh,
        abstract: State,
        optimizer: optax.GradientTransformation,
        spec: CriticSpec,
        like: Table | None,
    ):
        self._train, self._mesh = config.train, mesh
        self._standards = standards_of(table)
        self._table, self._centres = table, centres_of(table)
        notes = None
        if spec.note_width and self._centres is not None:
            notes = NoteSpec.of(config, table.manifest["parts"]["in_notes"])
        update = make_update(
            spec, config.objective, config.train, optimizer, len(table.shards), notes
        )
        self._feed = make_feed(table, mesh, config, abstract, update, like)
        self._speed = Speed(spec, config.train, mesh.size, self._feed.tasks)
        self._validate = None
        if held_out is not None and config.train.early_stop:
            success = config.train.select == "both"
            self._validate = Validation(
                held_out, spec, goal_spec(config.goals, config.objective), success
            )
        if self._train.eval_every % self._train.log_every:
            good = max(1, round(self._train.eval_every / self._train.log_every))
            raise PgvError(
                f"train.eval_every = {self._train.eval_every} is not a multiple of train.log_every "
                f"= {self._train.log_every}; use {good * self._train.log_every}."
            )

    def run(
        self,
        state: State,
        run: dict[str, Any],
        checkpoints: Checkpoints,
        recorder: Recorder,
        progress: Progress,
        interrupts: Interrupts,
        trace: Path | None,
    ) -> State:
        """Run chunks until the last step, patience's end or an interrupt; ``trace`` the second."""
        train = self._train
        window = train.scan or train.log_every
        step, pending, saved = int(state.step), None, int(state.step)
        first, saved_at = step, time.monotonic()
        stop, timing = False, not train.scan
        while step < train.steps and not stop:
            length = min(self._to_boundary(step, window), train.steps - step)
            begin = time.perf_counter()
            traced = trace is not None and step > first
            with jax.profiler.trace(str(trace)) if traced else contextlib.nullcontext():
                state, device_metrics = self._feed.advance(state, step, length)
                if traced:
                    jax.block_until_ready(device_metrics)
                    trace = None
            step += length
            if pending is not None:
                self._write(pending, recorder, progress)
            pending = (step, device_metrics)
            if timing and step > first + length:  # the first call was compiled
                jax.block_until_ready(device_metrics)
                clock = cluster.from_writer({"seconds": time.perf_counter() - begin})
                window, timing = self._longer(window, clock["seconds"]), False
            at_evaluation = step % train.eval_every == 0 or step == train.steps
            if at_evaluation and self._validate is not None:
                self._write(pending, recorder, progress)  # first: lines stand in order of steps
                pending = None
                state, stop = self._select(state, step, run, recorder)
            due = step - saved >= train.checkpoint_every
            due |= time.monotonic() - saved_at >= train.checkpoint_seconds
            due, asked = cluster.any_process(due, interrupts.asked, after=state)
            if due or stop or asked or step == train.steps:
                if pending is not None:  # refuses what is not finite, and so it is not saved
                    self._write(pending, recorder, progress)
                    pending = None
                checkpoints.save(state, run)
                saved, saved_at = step, time.monotonic()
            if asked:
                interrupts.asked = True
                break
        return state

    def _to_boundary(self, step: int, window: int) -> int:
        """Updates up to the next evaluation, at most a window."""
        return min(window, self._train.eval_every - step % self._train.eval_every)

    def _longer(self, window: int, seconds: float) -> int:
        """The multiple of ``log_every`` that divides ``eval_every`` and lasts about a second."""
        unit = self._train.log_every
        fits = [
            n
            for n in range(unit, self._train.eval_every + 1, unit)
            if self._train.eval_every % n == 0 and n * seconds / window <= CALL_SECONDS
        ]
        return max([window, *fits])

    def published(self, params: Any) -> Any:
        """Parameters for raw embeddings, on the host; the next-note model with its constants."""
        out = folded(unstacked(meshes.to_host(self._mesh, params)), self._standards)
        out = jax.tree.map(np.ascontiguousarray, out)
        if "m" in out:
            assert self._centres is not None and self._table.parts is not None
            known = self._table.parts.parts[: self._table.manifest["parts"]["in_notes"]]
            out["m"] = joined(out["m"], self._centres, np.asarray(known, np.float32))
        return out

    def _write(
        self, pending: tuple[int, list[Metrics]], recorder: Recorder, progress: Progress
    ) -> None:
        """Write means over ``log_every`` updates; a value that is not finite ends the run."""
        last, arrays = pending
        parts = jax.device_get(arrays)
        host = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        length = len(host["loss"])
        # Norms last: those of one update stand for a whole chunk, and would name its first.
        for name, values in sorted(host.items(), key=lambda item: item[0] in NORMS):
            if not np.isfinite(values).all():
                step = last - length + 1 + int(np.argmin(np.isfinite(values)))
                raise PgvError(
                    f"{name} is not finite at step {step}; the last good checkpoint is kept. "
                    "Lower train.lr, or look at the data with `pgv describe`."
                )
        unit = min(self._train.log_every, length)
        for begin in range(0, length, unit):
            means = {name: v[begin : begin + unit].mean(0) for name, v in host.items()}
            spread: dict[str, float] = {}
            for head in ("q", "v"):
                spread |= quantiles(head, means.pop(f"{head}_below"))
            part = {name: float(v) for name, v in means.items()} | spread
            step = last - length + min(begin + unit, length)
            recorder.metrics({"step": step, **part})
            progress(step, part)
        recorder.speed({"step": last, **self._speed(length)})

    def _select(
        self, state: State, step: int, run: dict[str, Any], recorder: Recorder
    ) -> tuple[State, bool]:
        """Judge on held-out tasks, keep the best, and say whether patience has run out."""
        assert self._validate is not None
        scores = cluster.from_writer(self._validate(self.published(state.params)))
        if not scores:
            return state, False
        recorder.metrics({"step": step, **scores})
        if run["best_score"] is None or scores["val_score"] > run["best_score"]:
            run.update(best_score=scores["val_score"], best_step=step, best_metrics=scores)
            best = jax.tree.map(lambda x: x.copy(), state.params)
            return state._replace(best=best), False
        waited = (step - run["best_step"]) // self._train.eval_every
        return state, bool(self._train.patience) and waited >= self._train.patience
