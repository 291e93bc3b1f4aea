"""The default critic beside a linear probe on real logs: outcomes at fixed steps, and Brier scores.

    python benchmarks/recipe.py LOG=DATASET ... --store STORE --out OUT

Each dataset is an imported log (``pgv import``) whose texts STORE holds (``pgv embed --encoder
sentences:minilm --history 3``). For each split its tasks are dealt anew to training, validation and
test (60/15/25 %), and for each split and seed the recipe is chosen and fitted as by ``pgv train
gc_iql``. The seed deals the tasks to folds and starts the network and TD. The probe
is logistic regression on the same embeddings of all steps that the recipe saw (training and
validation), its penalty chosen by cross-validation over tasks; it is fitted once a split.

A log's figures are means over splits and seeds: AUC at fixed steps of critic and probe, their
difference, and the raw Brier score of Q(success) beside that of the training tasks' success rate,
with 95 % intervals over tasks, each left out of all splits and seeds at once. State goals are
trained only where TD is chosen, since nothing here asks for them. ``--td first`` tries TD on
the first split and seed of a log alone. A cell that OUT holds is not done again, and ``--most N``
ends after N new ones: OUT may be filled by several processes, each with logs of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from entry import begin
from flax import nnx

from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.config import Config, load_config
from pgv_jax.critic.heads import Critic, CriticSpec, link
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.layout import build_table, shards_for, texts_of
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.learner.loop import train
from pgv_jax.learner.state import critic_spec, graph_of
from pgv_jax.recipe.selection import Choice, choose
from pgv_jax.report.health.baselines import LogisticProbe
from pgv_jax.report.health.ranking import AT_STEPS
from pgv_jax.report.rows import Rows, step_rows
from pgv_jax.report.stats import Scale, auc_terms, cluster_interval, left_out, weighted_auc
from pgv_jax.texts.templates import SUCCESS, History
from pgv_jax.types import Episode

LEAST = 10
"""Successes and failures that a step needs to be judged."""


def dealt(episodes: Sequence[Episode], split: int) -> dict[str, list[Episode]]:
    """Tasks to validation, test and training by the order of sha256(split:task)."""
    tasks = sorted(
        {e.task_id for e in episodes},
        key=lambda task: hashlib.sha256(f"{split}:{task}".encode()).digest(),
    )
    val, test = round(0.15 * len(tasks)), round(0.40 * len(tasks))
    name = {t: "val" if i < val else "test" if i < test else "train" for i, t in enumerate(tasks)}
    parts: dict[str, list[Episode]] = {"train": [], "val": [], "test": []}
    for episode in episodes:
        parts[name[episode.task_id]].append(episode)
    return parts


@dataclass(frozen=True)
class Vectors:
    """The embeddings of a log's texts in memory, and whose they are."""

    place: dict[str, int]
    rows: np.ndarray
    encoder: dict[str, str]

    @classmethod
    def read(cls, episodes: Sequence[Episode], history: History, store: EmbeddingStore) -> Vectors:
        """What the store holds of the episodes' texts."""
        texts = texts_of(episodes, history)
        about = {"name": store.encoder.name, "fingerprint": store.encoder.fingerprint}
        return cls({text: i for i, text in enumerate(texts)}, store.lookup(texts), about)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return self.rows[[self.place[text] for text in texts]]


def cell(
    config: Config, parts: dict[str, list[Episode]], lookup: Vectors, folder: Path
) -> dict[str, Any]:
    """Choose and fit the recipe on one split, and score its test tasks."""
    seen = {name: parts[name] for name in ("train", "val")}
    tables: tuple[Table, Table] | None = None
    if config.critic.recipe == "auto":
        train_table, val_table = (
            build_table(
                folder / name,
                part,
                lookup,
                split=name,
                shards=shards_for(config.mesh.shards, len(part)),
                history=config.texts.history,
                encoder=lookup.encoder,
                data_fingerprint=str(folder),
            )
            for name, part in seen.items()
        )
        tables = train_table, val_table
    choice = choose(config, seen, tables, lookup, folder / "recipe")
    rows = step_rows(parts["test"], config.texts.history)
    spec, params = _trained(config, choice, tables, lookup.rows.shape[1], folder / "run")
    return {"critic": _q_success(spec, params, rows, lookup), "recipe": json.dumps(choice.record)}


def beside(config: Config, parts: dict[str, list[Episode]], lookup: Vectors) -> dict[str, Any]:
    """The test rows of one split, scored by the probe and the constant."""
    fitted_on = step_rows([*parts["train"], *parts["val"]], config.texts.history)
    rows = step_rows(parts["test"], config.texts.history)
    probe = LogisticProbe(fitted_on, lookup, history=config.texts.history, max_rows=len(fitted_on))
    return {
        "probe": probe.score(rows),
        "constant": np.full(len(rows), fitted_on.success_B.mean()),
        "success": rows.success_B,
        "step": rows.step_B,
        "task": np.asarray(rows.task_ids),
    }


def _trained(
    config: Config,
    choice: Choice,
    tables: tuple[Table, Table] | None,
    dim: int,
    workdir: Path,
) -> tuple[CriticSpec, Any]:
    """The critic; its state part is left as initialised where an expert answers for it."""
    if choice.experts is None:
        assert tables is not None, "TD is chosen where it was tried"
        trained = train(config, *tables, workdir)
        return trained.spec, trained.params
    spec = critic_spec(config.critic, config.objective, dim)
    params = nnx.to_pure_dict(nnx.state(Critic(spec, jax.random.key(0))))
    return choice.attach(spec, params)


def _q_success(spec: CriticSpec, params: Any, rows: Rows, lookup: Vectors) -> np.ndarray:
    inputs = {
        "task": lookup(rows.tasks),
        "observation": lookup(rows.observations),
        "thought": lookup(rows.thoughts),
        "goal": lookup([SUCCESS] * len(rows)),
    }
    critic = nnx.merge(graph_of(spec), nnx.State(jax.tree.map(jnp.asarray, params)))
    return np.asarray(link(critic.q(inputs), spec.head).mean(0), np.float64)


def summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A log's figures over its cells; every interval is (mean, low, high)."""
    tasks = sorted({task for found in cells for task in found["task"]})
    place = {task: i for i, task in enumerate(tasks)}
    weights_RC = left_out(len(tasks))
    aucs: dict[str, list[np.ndarray]] = {"critic": [], "probe": []}
    briers: dict[str, list[np.ndarray]] = {"critic": [], "constant": []}
    for found in cells:
        own, codes = np.unique([place[task] for task in found["task"]], return_inverse=True)
        weights, count = weights_RC[:, own], len(own)
        for name, kept in aucs.items():
            kept.append(_auc(found, found[name], codes, weights))
        size = weights @ np.bincount(codes, minlength=count)
        for name, kept in briers.items():
            error = np.square(found[name] - found["success"])
            kept.append(weights @ np.bincount(codes, error, minlength=count) / size)

    def interval(values_R: np.ndarray, scale: Scale) -> list[float]:
        return [round(x, 4) for x in cluster_interval(values_R, scale)]

    auc, brier = ({name: np.mean(x, axis=0) for name, x in d.items()} for d in (aucs, briers))
    return {
        "cells": len(cells),
        **_choices([json.loads(str(found["recipe"])) for found in cells]),
        "auc": interval(auc["critic"], "share"),
        "auc_probe": interval(auc["probe"], "share"),
        "auc_difference": interval(auc["critic"] - auc["probe"], "difference"),
        "brier": interval(brier["critic"], "mean"),
        "brier_constant": interval(brier["constant"], "mean"),
        "brier_difference": interval(brier["critic"] - brier["constant"], "difference"),
        "worst_cell_auc_difference": round(
            float(min(a[0] - b[0] for a, b in zip(aucs["critic"], aucs["probe"], strict=True))), 4
        ),
    }


def _choices(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was chosen how often, and what TD's trials gained, in nats a step."""
    trials = [record["trials"] for record in records if record.get("trials")]
    gains = [r["gains"]["td"]["nats"] for r in records if "td" in r.get("gains", {})]
    return {
        "chosen": Counter(record["chosen"] for record in records),
        "td_tried": len(trials),
        "td_not_converged": sum(not trial["converged"] for trial in trials),
        "td_gains": [round(min(gains), 4), round(max(gains), 4)] if gains else None,
    }


def _auc(
    found: dict[str, Any], score: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean over the steps with enough of both outcomes: [1 + tasks]."""
    drawn = []
    for t in AT_STEPS:
        at = found["step"] == t
        won = found["success"][at]
        if min(won.sum(), (~won).sum()) >= LEAST:
            terms = auc_terms(won, score[at], codes[at], weights.shape[1])
            drawn.append(weighted_auc(terms, weights))
    return np.nanmean(drawn, axis=0)


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays of a file, which is made where it is absent."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part.npz")
        np.savez(aside, **make())
        aside.rename(path)
    return dict(np.load(path))


def fill(args: argparse.Namespace, name: str, dataset: str, store: EmbeddingStore) -> Iterator[str]:
    """Do the missing cells of a log, split within seed, and say what each chose."""
    episodes: list[Episode] = []
    for seed, split in itertools.product(range(args.seeds), range(args.splits)):
        path = args.out / name / f"split{split}-seed{seed}.npz"
        if path.exists():
            continue
        tried = args.td == "every" or (args.td == "first" and (split, seed) == (0, 0))
        recipe = f"critic.recipe={'auto' if tried else 'anchored'}"
        config = load_config("gc_iql", [recipe, f"train.seed={seed}"])
        if not episodes:
            episodes = list(read_episodes(dataset))
            lookup = Vectors.read(episodes, config.texts.history, store)
        parts, folder = dealt(episodes, split), path.with_suffix("")
        kept(args.out / name / f"beside-split{split}.npz", partial(beside, config, parts, lookup))
        found = kept(path, partial(cell, config, parts, lookup, folder))
        shutil.rmtree(folder, ignore_errors=True)
        yield f"{path} {json.loads(str(found['recipe']))['words']}"


def done(folder: Path) -> list[dict[str, Any]]:
    """The cells of a log that were done."""
    return [
        {
            **np.load(folder / f"beside-{path.stem.split('-')[0]}.npz"),
            **np.load(path),
        }
        for path in sorted(folder.glob("split?-seed?.npz"))
    ]


def main() -> None:
    """Do the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("logs", nargs="+", metavar="LOG=DATASET")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--encoder", default="sentences:minilm")
    parser.add_argument("--out", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--td", choices=("every", "first", "never"), default="every")
    parser.add_argument("--most", type=int, default=None, help="new cells at most; default: all")
    args = parser.parse_args()
    keep_compiled()
    store = EmbeddingStore(args.store, open_encoder(args.encoder))
    logs = dict(log.split("=", 1) for log in args.logs)
    cells = itertools.chain.from_iterable(fill(args, n, d, store) for n, d in logs.items())
    for line in itertools.islice(cells, args.most):
        print(line, flush=True)
    for name in logs:
        cells_of = done(args.out / name)
        if cells_of:
            print(json.dumps({"log": name, **summary(cells_of)}), flush=True)


if __name__ == "__main__":
    begin(main)
