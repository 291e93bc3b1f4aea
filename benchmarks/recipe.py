"""The default critic beside a linear probe on real logs: outcomes at fixed steps, and Brier scores.

    python benchmarks/recipe.py LOG=DATASET ... --store STORE --out OUT

Each dataset is an imported log (``pgv import``) whose texts STORE holds (``pgv embed``). For each
split its tasks are dealt anew to training, validation and test (60/15/25 %), and for each split and
seed the recipe is chosen and fitted. The probe is logistic regression on the same embeddings of the
tasks that the recipe saw (training and validation), its penalty chosen by cross-validation.

A log's figures are means over splits and seeds: AUC at fixed steps of critic and probe, their
difference, and the raw Brier score of Q(success) beside that of the training tasks' success rate,
with 95 % intervals by a bootstrap over tasks, drawn once for all splits and seeds. State goals are
trained only where TD is chosen, since nothing here asks for them. ``--td first`` tries TD on
the first split and seed of a log alone. A cell that OUT holds is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgv_jax.config import Config, load_config
from pgv_jax.critic import Critic, CriticSpec, link
from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.layout import build_table
from pgv_jax.data.texts import SUCCESS
from pgv_jax.embed.encoder import Encoder, open_encoder
from pgv_jax.embed.store import EmbeddingStore
from pgv_jax.learner.loop import train
from pgv_jax.learner.state import critic_spec, graph_of
from pgv_jax.pipeline import keep_compiled
from pgv_jax.recipe.choose import Choice, choose
from pgv_jax.report.baselines import LogisticProbe
from pgv_jax.report.health import AT_STEPS
from pgv_jax.report.rows import Rows, step_rows
from pgv_jax.report.stats import auc_terms, cluster_weights, percentile_interval, weighted_auc
from pgv_jax.types import Episode

LEAST = 10
"""Successes and failures that a step needs to be judged."""
RESAMPLES = 2000


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


def cell(
    config: Config,
    parts: dict[str, list[Episode]],
    encoder: Encoder,
    store: EmbeddingStore,
    folder: Path,
) -> dict[str, Any]:
    """Fit the recipe and the probe on one split, and score its test tasks."""
    seed = config.train.seed
    seen = {name: parts[name] for name in ("train", "val")}
    tables = None
    if config.critic.recipe == "auto":
        tables = tuple(
            build_table(
                folder / name,
                part,
                store.lookup,
                split=name,
                shards=config.mesh.shards,
                history=config.texts.history,
                encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
                data_fingerprint=str(folder),
            )
            for name, part in seen.items()
        )
    choice = choose(config, seen, tables, store.lookup, folder / "recipe")
    fitted_on = step_rows([*parts["train"], *parts["val"]], config.texts.history)
    rows = step_rows(parts["test"], config.texts.history)
    spec, params = _trained(config, choice, tables, encoder.dim, folder / "run")
    return {
        "critic": _q_success(spec, params, rows, store),
        "probe": LogisticProbe(fitted_on, store.lookup, seed=seed).score(rows),
        "constant": np.full(len(rows), fitted_on.success_B.mean()),
        "success": rows.success_B,
        "step": rows.step_B,
        "task": np.asarray(rows.task_ids),
        "recipe": json.dumps(choice.record),
    }


def _trained(
    config: Config, choice: Choice, tables: Any, dim: int, workdir: Path
) -> tuple[CriticSpec, Any]:
    """The critic; its state part is left as initialised where an expert answers for it."""
    if choice.experts is None:
        trained = train(config, *tables, workdir)
        return trained.spec, trained.params
    spec = critic_spec(config, dim)
    params = nnx.to_pure_dict(nnx.state(Critic(spec, jax.random.key(0))))
    return choice.attach(spec, params)


def _q_success(spec: CriticSpec, params: Any, rows: Rows, store: EmbeddingStore) -> np.ndarray:
    inputs = {
        "task": store.lookup(rows.tasks),
        "observation": store.lookup(rows.observations),
        "thought": store.lookup(rows.thoughts),
        "goal": store.lookup([SUCCESS] * len(rows)),
    }
    critic = nnx.merge(graph_of(spec), nnx.State(jax.tree.map(jnp.asarray, params)))
    return np.asarray(link(critic.q(inputs), spec.head).mean(0), np.float64)


def summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A log's figures over its cells; every interval is (mean, low, high)."""
    tasks = sorted({task for found in cells for task in found["task"]})
    place = {task: i for i, task in enumerate(tasks)}
    weights_RC = np.concatenate([np.ones((1, len(tasks))), cluster_weights(len(tasks), RESAMPLES)])
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

    def interval(values_R: np.ndarray) -> list[float]:
        return [round(x, 4) for x in percentile_interval(float(values_R[0]), values_R[1:])]

    auc, brier = ({name: np.mean(x, axis=0) for name, x in d.items()} for d in (aucs, briers))
    return {
        "cells": len(cells),
        "chosen": sorted({json.loads(str(found["recipe"]))["chosen"] for found in cells}),
        "auc": interval(auc["critic"]),
        "auc_probe": interval(auc["probe"]),
        "auc_difference": interval(auc["critic"] - auc["probe"]),
        "brier": interval(brier["critic"]),
        "brier_constant": interval(brier["constant"]),
        "brier_difference": interval(brier["critic"] - brier["constant"]),
        "worst_cell_auc_difference": round(
            float(min(a[0] - b[0] for a, b in zip(aucs["critic"], aucs["probe"], strict=True))), 4
        ),
    }


def _auc(
    found: dict[str, Any], score: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean over the steps with enough of both outcomes: [1 + resamples]."""
    drawn = []
    for t in AT_STEPS:
        at = found["step"] == t
        won = found["success"][at]
        if min(won.sum(), (~won).sum()) >= LEAST:
            terms = auc_terms(won, score[at], codes[at], weights.shape[1])
            drawn.append(weighted_auc(terms, weights))
    return np.nanmean(drawn, axis=0)


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
    args = parser.parse_args()
    keep_compiled()
    encoder = open_encoder(args.encoder)
    store = EmbeddingStore(args.store, encoder)
    logs = dict(log.split("=", 1) for log in args.logs)
    episodes = {name: list(read_episodes(dataset)) for name, dataset in logs.items()}
    for seed, split, name in itertools.product(range(args.seeds), range(args.splits), logs):
        path = args.out / name / f"split{split}-seed{seed}.npz"
        if path.exists():
            continue
        tried = args.td == "every" or (args.td == "first" and (split, seed) == (0, 0))
        recipe = f"critic.recipe={'auto' if tried else 'anchored'}"
        config = load_config("configs/gc_iql.yaml", [recipe, f"train.seed={seed}"])
        parts = dealt(episodes[name], split)
        found = cell(config, parts, encoder, store, path.with_suffix(""))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **found)
        print(path, json.loads(found["recipe"])["words"], flush=True)
    for name in logs:
        cells = [dict(np.load(path)) for path in sorted((args.out / name).glob("split*.npz"))]
        print(json.dumps({"log": name, **summary(cells)}), flush=True)


if __name__ == "__main__":
    main()
