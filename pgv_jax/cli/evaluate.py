"""``pgv evaluate``: judge a critic on held-out tasks, beside simple baselines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgv_jax.errors import PgvError

if TYPE_CHECKING:
    from pgv_jax.data.texts import History
    from pgv_jax.embed.store import EmbeddingStore
    from pgv_jax.types import Episode


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--dataset", type=click.Path(path_type=Path), required=True, help="Folder of a dataset."
)
@click.option("--split", default="test", show_default=True, help="Split that is judged.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the report. [ARTIFACT/../health]"
)
@click.option(
    "--store", type=click.Path(path_type=Path), help="Embedding store. [DATASET/embeddings]"
)
@click.option(
    "--beside",
    multiple=True,
    metavar="NAME=ARTIFACT",
    help="Another critic to judge beside it, such as monte_carlo=runs/mc/artifact.",
)
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap and the folds.")
def evaluate(
    artifact: Path,
    dataset: Path,
    split: str,
    out: Path | None,
    store: Path | None,
    beside: Sequence[str],
    seed: int,
) -> None:
    """Judge the critic ARTIFACT on tasks that it was not trained on.

    Writes report.json and report.html, and prints what the critic adds over a constant, the step
    index and logistic regression on the same embeddings, or that it adds nothing. A test without
    enough data says "not testable".
    """
    from pgv_jax import artifact as artifacts
    from pgv_jax.data.episodes import dataset_info, read_episodes

    opened = artifacts.load(artifact)
    manifest, history = opened.manifest, opened.manifest["texts"]["history"]
    others = {name: artifacts.load(path) for name, path in _named(beside)}
    for name, other in others.items():
        _require_history(name, other.manifest["texts"]["history"], history)
    splits = dataset_info(dataset)["splits"]
    judged = list(read_episodes(dataset, split))
    _require_outcomes(judged, dataset, split)
    train = list(read_episodes(dataset, "train")) if "train" in splits else []

    from rich.console import Console

    from pgv_jax.report.baselines import fit_baselines
    from pgv_jax.report.health import judge, write_health
    from pgv_jax.report.terminal import health_table
    from pgv_jax.value import ValueFunction

    embedded = _store(store or dataset / "embeddings", manifest, [*train, *judged], history)
    scorer = ValueFunction(opened, embedded.encoder, embedded)
    critics = {
        name: ValueFunction(other, embedded.encoder, embedded) for name, other in others.items()
    }
    console = Console()
    with console.status("Fitting the baselines and judging"):
        baselines, notes = fit_baselines(train, embedded.lookup, history=history, seed=seed)
        report = judge(
            judged,
            scorer,
            baselines=baselines,
            critics=critics,
            history=history,
            gamma=manifest["objective"].get("gamma"),
            v_head="v" in manifest["heads"],
            split=split,
            notes=[*notes, *_notes(split)],
            seed=seed,
        )
    about = {
        "artifact": str(artifact),
        "dataset": str(dataset),
        "objective": str(manifest["objective"].get("name", "unknown")),
        "encoder": str(manifest["encoder"]["name"]),
        "history": history,
        **{f"beside: {name}": str(other.folder) for name, other in others.items()},
    }
    page = write_health(report, about, out or artifact.parent / "health")
    console.print(health_table(report))
    console.print(f"Wrote {page}", soft_wrap=True)


def _named(beside: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for pair in beside:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise PgvError(f"--beside '{pair}' is not NAME=ARTIFACT, such as monte_carlo=runs/mc.")
        if name == "critic":
            raise PgvError("--beside cannot be called 'critic', the name of what is judged.")
        yield name, Path(path)


def _require_history(name: str, other: History, history: History) -> None:
    if other != history:
        raise PgvError(
            f"--beside {name} was trained with texts.history {other}, the artifact with {history}; "
            "they read different observations. Train it with the same texts.history."
        )


def _require_outcomes(episodes: Sequence[Episode], dataset: Path, split: str) -> None:
    known = any(e.success is not None for e in episodes)
    marked = any(c.correct is not None for e in episodes for s in e.steps for c in s.candidates)
    if not known and not marked:
        raise PgvError(
            f"None of the {len(episodes)} episodes in split '{split}' of {dataset} says whether it "
            "succeeded, and no candidate is marked correct, so there is nothing to judge against. "
            'Give "success" (true or false) in the logs and import them again.'
        )


def _store(
    folder: Path, manifest: dict[str, Any], episodes: Sequence[Episode], history: History
) -> EmbeddingStore:
    """The embedding store, with every text that will be asked for."""
    from rich.progress import Progress

    from pgv_jax.data.texts import FAILURE, SUCCESS, observation_text, thought_text
    from pgv_jax.embed.encoder import open_encoder
    from pgv_jax.embed.store import EmbeddingStore

    store = EmbeddingStore(folder, open_encoder(manifest["encoder"]["name"]))
    texts = [SUCCESS, FAILURE]
    for episode in episodes:
        texts.append(episode.task)
        for t, step in enumerate(episode.steps):
            observed = observation_text(episode, t, history)
            thoughts = [step.thought, *(candidate.thought for candidate in step.candidates)]
            texts += [observed, *(thought_text(observed, said, history) for said in thoughts)]
    if store.missing(texts):
        with Progress(transient=True) as bars:
            bar = bars.add_task("Embedding", total=None)
            store.add(texts, lambda done, of: bars.update(bar, completed=done, total=of))
    return store


def _notes(split: str) -> list[str]:
    if split == "train":
        return ["these are the tasks that the critic and the baselines were fitted on"]
    if split == "val":
        return ["the critic was chosen on these tasks, so its figures are flattered"]
    return []
