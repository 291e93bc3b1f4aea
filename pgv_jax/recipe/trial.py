"""TD on outcomes as a candidate: trained without a fold of tasks, asked about that fold.

Of a critic that imagines, Q(success) is imagined Q, and a trial trains as the run does: stopped at
half of it, it ranked below a probe where the whole run ranks above it (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.config import Config, TrainConfig
from pgv_jax.critic.heads import Critic, link
from pgv_jax.critic.imagined import ImaginedQ, Row, question_of
from pgv_jax.data.layout import build_table, shards_for
from pgv_jax.data.relabel import SUCCESS_ID
from pgv_jax.data.table import Table
from pgv_jax.files import write_json
from pgv_jax.learner.loop import Trained, train
from pgv_jax.learner.state import graph_of
from pgv_jax.recipe.outcomes import FIELDS, Lookup, Outcomes
from pgv_jax.texts.templates import SUCCESS
from pgv_jax.types import Episode

PASSES = 2.0
"""Passes over the training steps that an outcome is given to travel one step back."""
LONG = 0.9
"""The quantile of the episodes' lengths that an outcome is to travel back."""
LESS, MORE = 0.5, 4.0
"""Times the run's updates: what a trial is given at least, and at most."""
PATIENCE = 0.25
"""Of a trial's updates, how long it goes on without a gain on the held-out tasks."""
CHUNK, IMAGINED = 4096, 128
"""Steps asked about at once: by the head Q, and by imagining."""
LEAST = 1e-4
"""Distance to 0 and 1 beyond which a score's logit is not told apart."""


@dataclass(frozen=True)
class Trial:
    """TD's logits of Q(success) for the steps held out, and after how many updates it was best.

    ``converged`` is False where the last look at the held-out tasks was the best one, and None
    without such tasks.
    """

    logit_B: np.ndarray
    step: int
    converged: bool | None


def trial_updates(config: Config, table: Table) -> int:
    """Updates that one trial is given: ``PASSES`` over the steps for each step of a long episode.

    TD carries an outcome back one step a backup: stopped before the outcome has come to an
    episode's beginning it looks worse than it is. Within ``LESS`` and ``MORE`` times the run's; as
    many as the run's where Q is imagined.
    """
    settings = config.train
    if config.critic.q == "imagined":
        return settings.steps
    lengths = np.concatenate([np.diff(shard.episode_start) - 1 for shard in table.shards])
    needed = PASSES * np.quantile(lengths, LONG) * lengths.sum() / settings.batch
    asked = settings.steps
    return int(max(np.ceil(np.clip(needed, LESS * asked, MORE * asked)), 1))


def patience_of(settings: TrainConfig, updates: int) -> int:
    """Looks without a gain that end a trial of ``updates``."""
    return max(round(PATIENCE * updates / settings.eval_every), 1)


def td_trial(
    config: Config,
    episodes: Sequence[Episode],
    tables: tuple[Table, Table | None],
    lookup: Lookup,
    outcomes: Outcomes,
    held_out: np.ndarray,
    folder: Path,
    progress: Callable[[int], None],
) -> Trial:
    """Train without the tasks of the steps ``held_out`` and ask for Q(success) there.

    ``episodes`` are the training split's and ``tables`` its table and the validation split's,
    which stops the trial as it stops a run. A trial that was done before is read from its file.
    """
    left_out = {outcomes.rows.task_ids[i] for i in held_out}
    kept = [episode for episode in episodes if episode.task_id not in left_out]
    train_table, val_table = tables
    imagined = config.critic.q == "imagined"
    updates = trial_updates(config, train_table)
    budget = {"steps": updates, "patience": patience_of(config.train, updates)}
    settings = config.model_copy(update={"train": config.train.model_copy(update=budget)})
    identity = _identity(settings, train_table, sorted(left_out))
    scores, about = folder.with_suffix(".npy"), folder.with_suffix(".json")
    done = json.loads(about.read_text("utf-8")) if about.exists() else {}
    if done.get("identity") == identity:
        progress(updates)
        return Trial(np.asarray(np.load(scores)), done["step"], done["converged"])
    m = train_table.manifest
    table = build_table(
        folder / "table",
        kept,
        lookup,
        split="train",
        shards=shards_for(m["shards"], len(kept)),
        history=m["texts"]["history"],
        step=m["texts"].get("step", "thought"),
        encoder=m["encoder"],
        data_fingerprint=f"{m['data_fingerprint']}:{identity['tasks']}",
        dtype=m["dtype"],
        parts=imagined,
    )
    trained = train(
        settings,
        table,
        val_table,
        folder,
        lambda step, metrics: progress(step),
        like=train_table,
    )
    if imagined:
        q = _imagined(trained, outcomes, held_out, lookup, config.objective.gamma)
    else:
        q = _direct(trained, outcomes, held_out, np.asarray(table.shards[0].vectors[SUCCESS_ID]))
    q = np.clip(q, LEAST, 1 - LEAST)
    logit = np.log(q) - np.log1p(-q)
    np.save(scores, logit)
    converged = trained.step + config.train.eval_every <= updates if trained.metrics else None
    found = {"identity": identity, "step": trained.step, "converged": converged}
    write_json(about, found, None)  # last: it vouches for the scores
    shutil.rmtree(folder)  # a copy of the data and checkpoints that nothing asks for again
    return Trial(logit, trained.step, converged)


def _identity(config: Config, table: Table, tasks: list[str]) -> dict[str, Any]:
    tree = config.model_dump(mode="json", exclude={"data": {"dataset", "store"}})
    return {
        "config": tree,
        "data": table.manifest["data_fingerprint"],
        "tasks": hashlib.sha256("\n".join(tasks).encode()).hexdigest(),
    }


def _direct(
    trained: Trained, outcomes: Outcomes, steps: np.ndarray, success_D: np.ndarray
) -> np.ndarray:
    """Q(success) of rows by the head Q, the members' mean: float64 [len(steps)]."""
    graph = graph_of(trained.spec)

    @jax.jit
    def score(params: Any, inputs: dict[str, jax.Array]) -> jax.Array:
        return link(nnx.merge(graph, nnx.State(params)).q(inputs), trained.spec.head).mean(0)

    out = []
    for start in range(0, len(steps), CHUNK):
        part = steps[start : start + CHUNK]
        count = len(part)
        part = np.resize(part, min(CHUNK, 1 << (count - 1).bit_length()))  # few shapes to compile
        inputs = {field: jnp.asarray(outcomes.vectors[field][part]) for field in FIELDS}
        inputs["goal"] = jnp.asarray(np.tile(success_D.astype(np.float32), (len(part), 1)))
        out.append(np.asarray(score(trained.params, inputs), np.float64)[:count])
    return np.concatenate(out)


def _imagined(
    trained: Trained, outcomes: Outcomes, steps: np.ndarray, lookup: Lookup, gamma: float
) -> np.ndarray:
    """Imagined Q(success) of rows, the members' mean: float64 [len(steps)]."""
    v = nnx.eval_shape(lambda: Critic(trained.spec, jax.random.key(0))).v
    imagined_q = ImaginedQ(trained.params["m"], v, trained.params["v"], trained.spec.head, gamma)
    rows, out = outcomes.rows, []
    for start in range(0, len(steps), IMAGINED):
        part = [
            Row(rows.tasks[i], rows.observations[i], rows.thoughts[i])
            for i in steps[start : start + IMAGINED]
        ]
        q_EB1 = imagined_q.values(question_of(part, [[SUCCESS]], lookup))
        out.append(q_EB1[:, : len(part), 0].mean(0, dtype=np.float64))
    return np.concatenate(out)
