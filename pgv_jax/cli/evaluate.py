"""``pgv evaluate``: judge a critic on held-out tasks, beside simple baselines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgv_jax.errors import PgvError

if TYPE_CHECKING:
    from pgv_jax.embed.storage.store import EmbeddingStore
    from pgv_jax.texts.templates import History
    from pgv_jax.types import Episode

NOT_ENOUGH = 3
"""Exit status where ``--require`` asks for more than the verdict."""


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
@click.option(
    "--calibration",
    type=click.Choice(["auto", "temperature", "platt", "isotonic", "none"]),
    default="auto",
    show_default=True,
    help="Fitted on split val and kept in ARTIFACT; none keeps what ARTIFACT has.",
)
@click.option("--group", metavar="REGEX", help="What it finds in a task's id is the task's kind.")
@click.option("--data-curve", is_flag=True, help="Also train on 10 and 30 % of the training tasks.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help="What the verdict demands: auc, top1, worse, skill or ece.",
)
@click.option(
    "--require",
    type=click.Choice(["trust", "ranking"]),
    help="Exit with 3 where the verdict is worse than this.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Of the goals drawn, exchanges and folds."
)
@click.pass_context
def evaluate(
    context: click.Context,
    artifact: Path,
    dataset: Path,
    split: str,
    out: Path | None,
    store: Path | None,
    beside: Sequence[str],
    calibration: str,
    group: str | None,
    data_curve: bool,
    limits: Sequence[str],
    require: str | None,
    seed: int,
) -> None:
    """Judge the critic ARTIFACT on tasks that it was not trained on.

    Writes report.json and report.html, and prints whether to trust it: "trust", "trust for ranking
    only" or "do not use", and what the critic adds over simple baselines. A test without enough
    data says "not testable".
    """
    from pgv_jax.cli.console import bar
    from pgv_jax.critic import artifact as artifacts
    from pgv_jax.data.episodes import dataset_info, read_episodes
    from pgv_jax.data.samples import dataset_path
    from pgv_jax.report.health.trust import LEVELS, enough, limits_of
    from pgv_jax.texts.templates import SUCCESS, worded

    demanded, dataset = limits_of(limits), dataset_path(dataset)
    opened = artifacts.load(artifact)
    manifest, history = opened.manifest, opened.manifest["texts"]["history"]
    recipe = manifest.get("recipe", {})
    goal_gamma = manifest["objective"].get("gamma")
    gamma = artifacts.discount(manifest, SUCCESS)
    kind_of = _grouping(group)
    others = {name: artifacts.load(path) for name, path in _named(beside)}
    for name, other in others.items():
        _require_texts(name, other.manifest["texts"], manifest["texts"])
    splits = dataset_info(dataset)["splits"]
    step = manifest["texts"].get("step", "thought")

    def read(name: str) -> list[Episode]:
        return [worded(episode, step) for episode in read_episodes(dataset, name)]

    train, val = (read(name) if name in splits else [] for name in ("train", "val"))
    judged, left_out = unseen(read(split), [*train, *val], dataset, split)
    _require_outcomes(judged, dataset, split)

    from rich.console import Console

    from pgv_jax.critic.support import save_support
    from pgv_jax.critic.value import ValueFunction
    from pgv_jax.report.health.baselines import fit_baselines
    from pgv_jax.report.health.calibrators import fit_calibration
    from pgv_jax.report.health.curve import SHARES, curve, tasks_of_share
    from pgv_jax.report.health.evaluation import Reference, judge
    from pgv_jax.report.health.support import support_of
    from pgv_jax.report.pages.health import write_health
    from pgv_jax.report.pages.terminal import health_table

    embedded = _store(store or dataset / "embeddings", manifest, [*train, *val, *judged], history)
    scorer = ValueFunction(opened, embedded.encoder, embedded)
    critics = {
        name: ValueFunction(other, embedded.encoder, embedded) for name, other in others.items()
    }
    console = Console()
    notes = [*left_out, *_notes(split, manifest)]
    fitted = manifest.get("calibration")
    with console.status("Fitting the calibration and the baselines, and judging"):
        if calibration != "none":
            fitted, missing = fit_calibration(
                scorer,
                val,
                split="val",
                history=history,
                gamma=goal_gamma,
                kind=calibration,
                recipe=recipe,
                seed=seed,
            )
            notes += missing
            artifacts.annotate(artifact, "calibration", fitted)
        baselines, unfitted = fit_baselines(
            train, embedded.lookup, history=history, gamma=gamma, seed=seed
        )
        report = judge(
            judged,
            scorer,
            baselines=baselines,
            critics=critics,
            reference=Reference(train, embedded.lookup, fitted, kind_of),
            history=history,
            gamma=gamma,
            goal_gamma=goal_gamma,
            v_head="v" in manifest["heads"],
            split=split,
            notes=[*unfitted, *notes],
            limits=demanded,
            seed=seed,
        )
        support = support_of(train, embedded.lookup, history=history, seed=seed)
        if support is not None:
            save_support(artifact, support)
    folder = out or artifact.parent / "health"
    if data_curve:
        from pgv_jax.workflows.pipeline import refit

        smaller = {}
        for share in SHARES:
            part = tasks_of_share(train, share)
            where = folder / "curve" / f"{100 * share:.0f}"
            path = refit(manifest, [*part, *val], where, embedded.folder, bar)
            smaller[share] = (ValueFunction.load(path, encoder=embedded.encoder), part)
        report["curve"] = curve(judged, scorer, train, smaller, history=history)
    about = {
        "artifact": str(artifact),
        "dataset": str(dataset),
        "objective": str(manifest["objective"].get("name", "unknown")),
        "encoder": str(manifest["encoder"]["name"]),
        "history": history,
        "recipe": " ".join(recipe.get("words", ["not named by the artifact"])),
        **{f"beside: {name}": str(other.folder) for name, other in others.items()},
    }
    page = write_health(report, about, folder)
    for sentence in recipe.get("words", ()):
        console.print(sentence)
    for note in notes:
        console.print(f"{note[0].upper()}{note[1:]}.")
    console.print(health_table(report))
    console.print(f"Wrote {page}", soft_wrap=True)
    needed = {None: LEVELS[0], "ranking": LEVELS[1], "trust": LEVELS[2]}[require]
    if not enough(report["verdict"]["level"], needed):
        context.exit(NOT_ENOUGH)


def _grouping(pattern: str | None) -> Callable[[Episode], str] | None:
    """From an episode to the kind of its task: what ``pattern`` finds in the task's id."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise PgvError(f"--group '{pattern}' is not a regular expression: {error}.") from None

    def kind_of(episode: Episode) -> str:
        found = compiled.search(episode.task_id)
        return found.group() if found else ""

    return kind_of


def _named(beside: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for pair in beside:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise PgvError(f"--beside '{pair}' is not NAME=ARTIFACT, such as monte_carlo=runs/mc.")
        if name == "critic":
            raise PgvError("--beside cannot be called 'critic', the name of what is judged.")
        yield name, Path(path)


def _require_texts(name: str, other: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for key, usual in (("history", None), ("step", "thought")):
        theirs, ours = other.get(key, usual), own.get(key, usual)
        if theirs != ours:
            raise PgvError(
                f"--beside {name} was trained with texts.{key} {theirs}, the artifact with {ours}; "
                f"they read different texts. Train it with the same texts.{key}."
            )


def unseen(
    judged: list[Episode], known: Iterable[Episode], dataset: Path, split: str
) -> tuple[list[Episode], list[str]]:
    """The episodes of tasks that are no reworded ones of the other splits', and what to say."""
    from pgv_jax.data.splits import seen_before

    tasks = {e.task_id: e.task for e in judged}
    others = {e.task_id: e.task for e in known if "train" != split != e.split}
    near = seen_before(tasks, others)
    if near and len(near) == len(tasks):
        raise PgvError(
            f"All {len(tasks)} tasks in split '{split}' of {dataset} are nearly tasks of the other "
            "splits in other words, so nothing is held out; import the logs again without `split`."
        )
    if not near:
        return judged, []
    kept = [e for e in judged if e.task_id not in near]
    said = (
        f"{len(near)} of {len(tasks)} tasks are nearly a task of another split in other words; "
        f"their {len(judged) - len(kept)} episodes are not judged"
    )
    return kept, [said]


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

    from pgv_jax.embed.opening import open_encoder
    from pgv_jax.embed.storage.store import EmbeddingStore
    from pgv_jax.texts.templates import (
        FAILURE,
        SUCCESS,
        observation_text,
        own_observation,
        sentences,
        thought_text,
    )

    store = EmbeddingStore(folder, open_encoder(manifest["encoder"]["name"]))
    texts = [SUCCESS, FAILURE]
    for episode in episodes:
        texts.append(episode.task)
        for t, step in enumerate(episode.steps):
            observed = observation_text(episode, t, history)
            thoughts = [step.thought, *(candidate.thought for candidate in step.candidates)]
            texts += [observed, *(thought_text(observed, said, history) for said in thoughts)]
        for t in range(len(episode.steps) + 1):
            texts += sentences(own_observation(episode, t))
    if store.missing(texts):
        with Progress(transient=True) as bars:
            bar = bars.add_task("Embedding", total=None)
            store.add(texts, lambda done, of: bars.update(bar, completed=done, total=of))
    return store


def _notes(split: str, manifest: Mapping[str, Any]) -> list[str]:
    from pgv_jax.critic.artifact import still_improving
    from pgv_jax.objectives.base import ExampleObjective
    from pgv_jax.objectives.registry import saved_objective

    notes, objective = [], manifest["objective"]
    if still_improving(manifest):
        notes.append(
            "not converged: the critic was best at the last look of its training, so it may be "
            f"judged too early; train it longer than {manifest['step']:,} updates (train.steps)"
        )
    if split == "train":
        notes.append("these are the tasks that the critic and the baselines were fitted on")
    if split == "val":
        notes.append("the critic was chosen on these tasks, so its figures are flattered")
    try:
        learned = saved_objective(objective)
    except PgvError as error:  # of a package that is not installed here
        notes.append(f"which goals the critic met while it learned is not known: {error}")
        return notes
    if isinstance(learned, ExampleObjective) and not learned.state_goals:
        notes.append(
            f"objective {learned.name} learned the goal of success alone; state goals and "
            "failure, which are judged here as well, are goals that it never met"
        )
    return notes
