"""Human step labels: our critics beside language-model judges and simple baselines.

    python benchmarks/steps.py --data ../shared/data/agentprocessbench --out runs/steps

AgentProcessBench (arXiv:2603.14465): 250 tool-use trajectories of five samples on each of 50
HotpotQA questions, 734 steps that people labelled 1 (good), 0 (neutral) or -1 (wrong). A method
names a label for each step. ``step`` is the share of steps that it names as people do; ``first``
the share of trajectories in which it finds the first wrong step, or that there is none. Intervals
(95 %) are over questions. What learns is fitted on the questions of four folds and
asked about the fifth; folds are the same for all.

outcomes     the recipe's probe of success (MiniLM), learned from how trajectories ended alone:
             a step is wrong where its chance of success is below 1/2, else good
labels       the same probe, of a good step and of a wrong one: the likelier of the three
agent_prm    with --agent-prm: Q of AgentPRM, each step an episode of its own whose score is
             (label + 1) / 2: wrong below 1/4, good above 3/4 (600 updates a fold)
tfidf        logistic regression on words and pairs of words of question, observation and thought
tfidf_result the same on the thought and what the step brought, which no critic knows beforehand
majority     every step is good
JUDGE        what the language model said of the same steps; a step that it left out counts as wrong
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from entry import begin
from flax import nnx
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from pgv_jax.cli.program_cache import keep_compiled
from pgv_jax.config import load_config
from pgv_jax.critic.heads import link
from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import importer_of
from pgv_jax.data.layout import build_table, shards_for, texts_of
from pgv_jax.data.storage.jsonl import numbered_lines, parse_json
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.learner.loop import train
from pgv_jax.learner.state import graph_of
from pgv_jax.objectives.agent_prm import AgentPRM
from pgv_jax.recipe.outcomes import FIELDS, Outcomes, components_of
from pgv_jax.recipe.probe import fit_probe
from pgv_jax.report.health.baselines import task_folds
from pgv_jax.report.rows import Rows, step_rows
from pgv_jax.report.stats import cluster_mean
from pgv_jax.texts.templates import SUCCESS, own_observation
from pgv_jax.types import Episode, Step

HISTORY = 3
UPDATES = 600
GOOD, NEUTRAL, WRONG, UNSAID = 1, 0, -1, 9


def read(data: Path) -> list[Episode]:
    """The trajectories, whose steps' rewards are their labels."""
    found = list(importer_of("agentprocessbench").read(data / "hotpotqa.jsonl", Options()))
    bad = [each for each in found if isinstance(each, BadRecord)]
    if bad:
        raise PgvError(f"{len(bad)} records cannot be read, the first: {bad[0]}.")
    return [each for each in found if isinstance(each, Episode)]


def of_outcomes(outcomes: Outcomes) -> np.ndarray:
    """Labels [B] by the cross-fitted chance of success."""
    logit = fit_probe(outcomes, components_of(outcomes, FIELDS)).crossfit_B
    return np.where(logit < 0, WRONG, GOOD)


def of_labels(outcomes: Outcomes, label_B: np.ndarray) -> np.ndarray:
    """The likeliest label [B] by probes of good and of wrong steps, cross-fitted."""
    components = components_of(outcomes, FIELDS)

    def chance(label: int) -> np.ndarray:
        asked = replace(outcomes, rows=replace(outcomes.rows, success_B=label_B == label))
        return 1 / (1 + np.exp(-fit_probe(asked, components).crossfit_B))

    good, wrong = chance(GOOD), chance(WRONG)
    order = np.stack([wrong, 1 - good - wrong, good])
    return np.asarray([WRONG, NEUTRAL, GOOD])[order.argmax(0)]


def of_words(outcomes: Outcomes, label_B: np.ndarray, *columns: Sequence[str]) -> np.ndarray:
    """Labels [B] by TF-IDF of the columns, joined, and logistic regression, cross-fitted."""
    out = np.zeros(len(label_B), int)
    texts = np.asarray(["\n".join(parts) for parts in zip(*columns, strict=True)], object)
    for fitted_on, held_out in outcomes.folds:
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        model = LogisticRegression(C=10.0, max_iter=2000)
        model.fit(words.fit_transform(texts[fitted_on]), label_B[fitted_on])
        out[held_out] = model.predict(words.transform(texts[held_out]))
    return out


def of_agent_prm(
    outcomes: Outcomes, label_B: np.ndarray, store: EmbeddingStore, out: Path
) -> np.ndarray:
    """Labels [B] by Q of AgentPRM on steps as episodes, trained without each fold."""
    config = load_config(
        None,
        [
            *("objective.name=agent_prm", "critic.recipe=td", "texts.history=0"),
            *(f"train.steps={UPDATES}", "train.early_stop=false"),
        ],
    )
    assert isinstance(config.objective, AgentPRM)
    rows, q_B = outcomes.rows, np.zeros(len(label_B))
    alone = [_alone(rows, i, float(label)) for i, label in enumerate(label_B)]
    store.add(texts_of(alone, 0))
    for k, (fitted_on, held_out) in enumerate(outcomes.folds):
        steps = [alone[i] for i in fitted_on]
        table = build_table(
            out / f"table-{k}",
            steps,
            store.lookup,
            split="train",
            shards=shards_for(config.mesh.shards, len(steps)),
            history=0,
            encoder={"name": store.encoder.name, "fingerprint": store.encoder.fingerprint},
            data_fingerprint=f"fold-{k}",
            examples=config.objective.targets(steps, 0),
        )
        trained = train(config, table, None, out / f"run-{k}")
        critic = nnx.merge(graph_of(trained.spec), nnx.State(trained.params))
        inputs = {name: jnp.asarray(outcomes.vectors[name][held_out]) for name in FIELDS}
        goal_1D = np.asarray(store.lookup([SUCCESS]))
        inputs["goal"] = jnp.asarray(np.repeat(goal_1D, len(held_out), 0))
        q_B[held_out] = np.asarray(link(critic.q(inputs), trained.spec.head).mean(0))
    return np.where(q_B < 0.25, WRONG, np.where(q_B > 0.75, GOOD, NEUTRAL))


def _alone(rows: Rows, i: int, label: float) -> Episode:
    """Step ``i`` as an episode of one step; its score is where its label lies from -1 to 1."""
    step = Step(rows.observations[i], rows.thoughts[i], rows.thoughts[i])
    score = (label + 1) / 2
    name = f"step-{i}"
    return Episode(name, rows.task_ids[i], rows.tasks[i], (step,), "", score == 1.0, score)


def judged(path: Path, episodes: Sequence[Episode]) -> np.ndarray:
    """What a judge said of every step; where it said nothing, a label that nobody gives."""
    said: dict[str, list[Any]] = {}
    for _, line in numbered_lines(path):
        record = parse_json(line)
        labels = ast.literal_eval(str(record["step_labels"]))
        name = f"query-{record['query_index']}/{record['sample_index']}"
        own = [labels[key] for key in sorted(labels, key=int)]
        said[name] = [UNSAID if label is None else int(label) for label in own]
    out: list[int] = []
    for episode in episodes:
        own, count = said.get(episode.episode_id, []), len(episode.steps)
        out += (own + [UNSAID] * count)[:count]
    return np.asarray(out)


def figures(said_B: np.ndarray, label_B: np.ndarray, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Both shares of one method, in per cent, with intervals over questions."""
    tasks = [episode.task_id for episode in episodes for _ in episode.steps]
    ends = np.cumsum([len(episode.steps) for episode in episodes])[:-1]
    pairs = zip(np.split(said_B, ends), np.split(label_B, ends), strict=True)
    found = [_first_wrong(said) == _first_wrong(label) for said, label in pairs]
    step = cluster_mean(said_B == label_B, tasks)
    first = cluster_mean(np.asarray(found), [episode.task_id for episode in episodes])
    return {
        name: [round(100 * x, 1) for x in (each.value, each.low, each.high)]
        for name, each in (("step", step), ("first", first))
    }


def _first_wrong(labels: np.ndarray) -> int | None:
    at = np.flatnonzero(labels == WRONG)
    return int(at[0]) if len(at) else None


def main() -> None:
    """Fit and ask everybody, and print a line of JSON each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of hotpotqa.jsonl")
    parser.add_argument("--out", type=Path, default=Path("runs/steps"))
    parser.add_argument("--encoder", default="sentences:minilm")
    parser.add_argument("--agent-prm", action="store_true", help="train it, too: some minutes")
    args = parser.parse_args()
    keep_compiled()
    episodes = read(args.data)
    store = EmbeddingStore(args.out / "embeddings", open_encoder(args.encoder))
    rows = step_rows(episodes, HISTORY)
    store.add([*rows.tasks, *rows.observations, *rows.thoughts, SUCCESS])
    label_B = np.asarray([int(step.reward or 0) for e in episodes for step in e.steps])
    columns = dict(zip(FIELDS, (rows.tasks, rows.observations, rows.thoughts), strict=True))
    results = [own_observation(e, t + 1) for e in episodes for t in range(len(e.steps))]
    vectors = {name: np.asarray(store.lookup(texts)) for name, texts in columns.items()}
    outcomes = Outcomes(rows, vectors, task_folds(rows, 0))
    methods: dict[str, Callable[[], np.ndarray]] = {
        "majority": lambda: np.full(len(label_B), GOOD),
        "tfidf": lambda: of_words(outcomes, label_B, *columns.values()),
        "tfidf_result": lambda: of_words(outcomes, label_B, rows.thoughts, results),
        "outcomes": lambda: of_outcomes(outcomes),
        "labels": lambda: of_labels(outcomes, label_B),
    }
    if args.agent_prm:
        methods["agent_prm"] = lambda: of_agent_prm(outcomes, label_B, store, args.out)
    for path in sorted((args.data / "judges").glob("*.jsonl")):
        methods[path.stem] = partial(judged, path, episodes)
    for name, method in methods.items():
        print(json.dumps({"method": name, **figures(method(), label_B, episodes)}), flush=True)


if __name__ == "__main__":
    begin(main)
