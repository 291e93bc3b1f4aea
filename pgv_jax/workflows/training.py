"""From a dataset to a published critic: embed, lay out the table, learn, publish.

Joins what must not know of each other: the data, the encoders and the learner. The command line
and the quickstart stand on it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgv_jax.config import Config, DataConfig, TextsConfig, check_imagined
from pgv_jax.critic import artifact as artifacts
from pgv_jax.data.episodes import dataset_info, read_episodes, write_dataset
from pgv_jax.data.examples import Example, texts_of_examples
from pgv_jax.data.layout import build_table, shards_for, texts_of
from pgv_jax.data.table import Table
from pgv_jax.embed.encoder import Encoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.learner import cluster
from pgv_jax.learner.loop import train
from pgv_jax.objectives.base import ExampleObjective
from pgv_jax.objectives.lookup import saved_objective
from pgv_jax.recipe.outcome_choice import Choice, settled
from pgv_jax.texts.templates import EPISODE, History, worded
from pgv_jax.types import Episode

log = logging.getLogger(__name__)

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""``with bar(words, total) as report: report(done)``: how a stage shows its progress."""


def silent(words: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A bar that shows nothing."""
    return nullcontext(lambda done: None)


@dataclass(frozen=True)
class Prepared:
    """What the learner needs: the tables of the training and (if there are any) held-out tasks."""

    train: Table
    held_out: Table | None
    encoder: Encoder
    store: EmbeddingStore
    notes: Mapping[str, str] | None = None
    """Whose progress notes the observations are ({model, prompt}), where `pgv summarize` ran."""


def store_of(data: DataConfig) -> Path:
    """The embedding store of a configuration: its own, or ``DATASET/embeddings``."""
    return Path(data.store or Path(data.dataset) / "embeddings")


def prepare(
    config: Config, folder: Path, bar: Bar = silent, encoder: Encoder | None = None
) -> Prepared:
    """Embed what a dataset's train and val splits need and lay out their tables in ``folder``.

    ``encoder`` is that of the configuration, where it is open already. Of many processes one does
    it; the others wait, and then open what it made.
    """
    if not config.data.dataset:
        raise PgvError("No dataset is named; add data.dataset=FOLDER (made by `pgv import`).")
    check_imagined(config)
    info = dataset_info(config.data.dataset)
    encoder = encoder or open_encoder(config.data.encoder)
    _check_mode(encoder, config.texts.history)
    store = EmbeddingStore(store_of(config.data), encoder)
    splits = [split for split in ("train", "val") if split in info["splits"]]
    if "train" not in splits:
        raise PgvError(f"Dataset {config.data.dataset} has no training episodes.")
    notes = None
    with cluster.writer_first():
        if cluster.is_writer():
            tables, notes = _tables(
                config, folder, splits, info["fingerprint"], store, encoder, bar
            )
        else:  # what this process reads of the training table, the learner verifies
            made = [split for split in splits if split == "train" or (folder / split).exists()]
            tables = {split: Table.open(folder / split, split != "train") for split in made}
    return Prepared(tables["train"], tables.get("val"), encoder, store, notes)


def _tables(
    config: Config,
    folder: Path,
    splits: Sequence[str],
    fingerprint: str,
    store: EmbeddingStore,
    encoder: Encoder,
    bar: Bar,
) -> tuple[dict[str, Table], Mapping[str, str] | None]:
    """The tables by split, and whose notes the observations are, if they are a model's."""
    tables: dict[str, Table] = {}
    notes: Mapping[str, str] | None = None
    for split in splits:
        episodes = _episodes(config.data, config.texts, split)
        notes = notes or next((e.metadata.get("notes") for e in episodes), None)
        examples, objective = None, config.objective
        if isinstance(objective, ExampleObjective):
            if split == "train":
                episodes, examples = _with_examples(objective, episodes, config.data, config.texts)
            elif not objective.reads_outcome:
                continue  # held-out tasks are judged by their outcomes
        imagined = config.critic.q == "imagined"
        texts = texts_of(episodes, config.texts.history, parts=imagined)
        texts = list(dict.fromkeys([*texts, *texts_of_examples(examples or [])]))
        missing = len(store.missing(texts))
        if missing:
            with bar(f"embedding {missing} texts ({split})", missing) as report:
                store.add(texts, _first(report))
        tables[split] = build_table(
            folder / split,
            episodes,
            store.lookup,
            split=split,
            shards=shards_for(config.mesh.shards, _least_group(examples) or len(episodes)),
            history=config.texts.history,
            step=config.texts.step,
            encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
            data_fingerprint=fingerprint,
            dtype=config.data.dtype,
            examples=examples,
            parts=imagined,
        )
    return tables, notes


def _episodes(data: DataConfig, texts: TextsConfig, split: str) -> list[Episode]:
    """The episodes of a split, worded as the configuration says."""
    return [worded(episode, texts.step) for episode in read_episodes(data.dataset, split)]


def _check_mode(encoder: Encoder, history: History) -> None:
    """Whole episodes go to an encoder of episodes, other texts to one of texts."""
    episodic = encoder.describe().get("mode") == "episode"
    if episodic and history != EPISODE:
        raise PgvError(
            f"Encoder '{encoder.name}' reads whole episodes, but texts.history is {history}; add "
            "texts.history=episode, or leave mode=episode out of data.encoder."
        )
    if history == EPISODE and not episodic:
        raise PgvError(
            f"texts.history=episode needs a causal model in episode mode, and encoder "
            f"'{encoder.name}' is none; write data.encoder='hf:ID_OR_DIR?mode=episode'."
        )


def _with_examples(
    objective: ExampleObjective, episodes: list[Episode], data: DataConfig, texts: TextsConfig
) -> tuple[list[Episode], list[list[Example]]]:
    """The episodes that have examples under the objective, and those; without outcomes unless the
    objective reads them."""
    if not objective.reads_outcome:
        episodes = [without_outcome(episode) for episode in episodes]
    made = objective.targets(episodes, texts.history)
    kept = [(e, own) for e, own in zip(episodes, made, strict=True) if own]
    if not kept:
        raise PgvError(
            f"No training episode of {data.dataset} has a known outcome, which "
            f"objective.name={objective.name} learns from; give the log rewards."
        )
    return [e for e, _ in kept], [own for _, own in kept]


def without_outcome(episode: Episode) -> Episode:
    """The episode without success, score and rewards."""
    steps = tuple(replace(step, reward=None) for step in episode.steps)
    return replace(episode, steps=steps, success=None, score=None)


def _least_group(examples: list[list[Example]] | None) -> int:
    """Episodes in the smaller group of examples; 0 without examples."""
    groups = [own[0].group for own in examples or []]
    return min((groups.count(group) for group in set(groups)), default=0)


def _first(report: Callable[[int], None]) -> Callable[[int, int], None]:
    """A progress callback of (done, of) from one of (done)."""
    return lambda done, of: report(done)


def fit(
    config: Config,
    prepared: Prepared,
    workdir: Path,
    bar: Bar = silent,
    words: str = "training",
    profile: bool = False,
) -> Path:
    """Train (or continue) in ``workdir`` and publish ``workdir/artifact``; returns its folder."""
    choice = _choice(config, prepared, workdir, bar)
    settings = config.model_copy(update={"train": choice.training(config.train)})
    with bar(words, settings.train.steps) as report:
        trained = train(
            settings,
            prepared.train,
            prepared.held_out,
            workdir,
            lambda step, metrics: report(step),
            profile,
        )
    if not cluster.is_writer():
        return workdir / "artifact"
    table = prepared.train.manifest
    spec, params = choice.attach(trained.spec, trained.params)
    manifest: dict[str, Any] = {
        "critic": spec.to_json(),
        "encoder": {**table["encoder"], "describe": prepared.encoder.describe()},
        "texts": {**table["texts"], **({"notes": prepared.notes} if prepared.notes else {})},
        "objective": config.objective.model_dump(),
        "goals": config.goals.model_dump(),
        "heads": [*config.objective.heads, *(["m"] if spec.note_width else [])],
        "data": {
            "fingerprint": table["data_fingerprint"],
            "episodes": table["episodes"],
            "steps": table["steps"],
        },
        "recipe": choice.record,
        "step": trained.step,
        "updates": settings.train.steps,
        "metrics": trained.metrics,
        # Paths are this machine's affair; the fingerprint above says which data it was.
        "config": config.model_dump(
            mode="json", exclude={"data": {"dataset", "store"}, "train": {"start"}}
        ),
    }
    os.makedirs(workdir, exist_ok=True)
    return artifacts.save(workdir / "artifact", params, manifest)


def refit(
    manifest: Mapping[str, Any],
    episodes: Sequence[Episode],
    folder: Path,
    store: Path,
    bar: Bar = silent,
) -> Path:
    """Train the critic of a manifest again on other episodes; returns ``folder/artifact``.

    Episodes carry their splits, which are kept; texts are embedded into ``store``.
    """
    if "config" not in manifest:
        raise PgvError("The artifact does not say how it was trained; train it with `pgv train`.")
    dataset = folder / "dataset"
    write_dataset(dataset, episodes, overwrite=True)
    tree = dict(manifest["config"])
    tree["data"] = {**tree.get("data", {}), "dataset": str(dataset), "store": str(store)}
    tree["objective"] = saved_objective(tree["objective"])
    config = Config.model_validate(tree)
    return fit(config, prepare(config, folder / "tables", bar), folder, bar)


def _choice(config: Config, prepared: Prepared, workdir: Path, bar: Bar) -> Choice:
    """What answers the outcome goals; the trials' scores stay in ``workdir/recipe``."""
    if config.critic.recipe != "td" and cluster.count() > 1:
        log.warning(
            "critic.recipe=%s needs one process; TD answers all goals", config.critic.recipe
        )
        config = config.model_copy(
            update={"critic": config.critic.model_copy(update={"recipe": "td"})}
        )
    choice = settled(config)
    if choice is not None:
        return choice
    from pgv_jax.recipe.selection import choose, updates  # scikit-learn: a second of a short run

    names = ("train", "val") if prepared.held_out is not None else ("train",)
    splits = {name: _episodes(config.data, config.texts, name) for name in names}
    tables = prepared.train, prepared.held_out
    most = updates(config, prepared.train)
    with bar("choosing what answers outcome goals", most) as report:
        return choose(config, splits, tables, prepared.store.lookup, workdir / "recipe", report)
