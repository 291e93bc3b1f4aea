"""Judge a critic on held-out tasks: its dataset, its baselines and others like it, and the report.

``pgv evaluate`` prints what comes of it; docs/health.md explains the figures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgv_jax.critic import artifact as artifacts
from pgv_jax.critic.artifact import Artifact
from pgv_jax.critic.support import save_support
from pgv_jax.critic.value import ValueFunction
from pgv_jax.data.episodes import dataset_info, read_episodes
from pgv_jax.data.splits import equal_texts, seen_before
from pgv_jax.embed.encoder import Encoder
from pgv_jax.embed.encoder_specs import open_encoder
from pgv_jax.embed.storage.store import EmbeddingStore
from pgv_jax.errors import PgvError
from pgv_jax.objectives.base import ExampleObjective
from pgv_jax.objectives.lookup import saved_objective
from pgv_jax.report.health.baselines import fit_baselines
from pgv_jax.report.health.calibrators import fit_calibration
from pgv_jax.report.health.curve import SHARES, curve, tasks_of_share
from pgv_jax.report.health.evaluation import Reference, judge
from pgv_jax.report.health.training_sample import support_of
from pgv_jax.report.health.trust import Limits
from pgv_jax.report.pages.health import write_health
from pgv_jax.texts.templates import (
    FAILURE,
    SUCCESS,
    History,
    StepForm,
    observation_text,
    own_observation,
    sentences,
    thought_text,
    worded,
)
from pgv_jax.types import Episode
from pgv_jax.workflows.training import Bar, refit, silent

Status = Callable[[str], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Question:
    """What is asked of a critic: the options of ``pgv evaluate``.

    ``beside`` are artifacts by name, ``kind_of`` maps an episode to the kind of its task,
    ``calibration`` is a kind of ``fit_calibration`` or "none". ``expectile`` trains the critic once
    more with this one and judges it beside; ``data_curve`` trains it on parts of its tasks.
    """

    split: str = "test"
    beside: Mapping[str, Path] = field(default_factory=dict)
    calibration: str = "auto"
    kind_of: Callable[[Episode], str] | None = None
    expectile: float | None = None
    data_curve: bool = False
    limits: Limits | None = None
    seed: int = 0


@dataclass(frozen=True)
class HeldOut:
    """A dataset's splits, worded as the critic reads them, and what is to be said of them."""

    train: list[Episode]
    val: list[Episode]
    judged: list[Episode]
    notes: list[str]


@dataclass(frozen=True)
class Judgement:
    """The health report, the page that shows it, and what is to be said before it."""

    report: dict[str, Any]
    page: Path
    words: Sequence[str]
    notes: Sequence[str]


def evaluate(
    artifact: Path,
    dataset: Path,
    question: Question,
    *,
    out: Path | None = None,
    store: Path | None = None,
    encoder: Encoder | None = None,
    bar: Bar = silent,
    status: Status = contextlib.nullcontext,
) -> Judgement:
    """Judge an artifact and write its report; calibration and support are kept in the artifact.

    ``out`` is the report's folder (ARTIFACT/../health), ``store`` that of embeddings
    (DATASET/embeddings), ``encoder`` the artifact's, where it is open already. Raises PgvError for
    texts, splits and outcomes that cannot be judged.
    """
    opened = artifacts.load(artifact)
    others = {name: artifacts.load(path) for name, path in question.beside.items()}
    for name, other in others.items():
        require_texts(name, other.manifest["texts"], opened.manifest["texts"])
    data = held_out(dataset, question.split, opened.manifest["texts"].get("step", "thought"))
    folder = out or artifact.parent / "health"
    encoder = encoder or open_encoder(opened.manifest["encoder"]["name"])
    embedded = EmbeddingStore(store or dataset / "embeddings", encoder)
    embed(embedded, opened.manifest["texts"]["history"], data, bar)
    if question.expectile is not None:
        name = f"expectile {question.expectile:g}"
        if name in others:
            raise PgvError(f"--beside cannot be called '{name}', which --expectile trains.")
        other_manifest = with_expectile(opened.manifest, question.expectile)
        learned = [*data.train, *data.val]
        where = folder / "expectile" / f"{question.expectile:g}"
        others[name] = artifacts.load(refit(other_manifest, learned, where, embedded.folder, bar))
    scorer, *beside = (
        ValueFunction(one, embedded.encoder, embedded) for one in (opened, *others.values())
    )
    critics = dict(zip(others, beside, strict=True))
    notes = [*data.notes, *notes_of(question.split, opened.manifest)]
    with status("Fitting the calibration and the baselines, and judging"):
        report = _judge(opened, scorer, critics, data, embedded, question, notes)
    if question.data_curve:
        report["curve"] = _curve(opened.manifest, scorer, data, embedded, folder / "curve", bar)
    page = write_health(report, _about(opened, dataset, others), folder)
    return Judgement(report, page, opened.manifest.get("recipe", {}).get("words", ()), notes)


def held_out(dataset: Path, split: str, step: StepForm = "thought") -> HeldOut:
    """Read what a critic is judged on; ``step`` says which text of a step it reads.

    Raises PgvError where nothing is held out or no outcome is known.
    """
    splits = dataset_info(dataset)["splits"]

    def read(name: str) -> list[Episode]:
        return [worded(episode, step) for episode in read_episodes(dataset, name)]

    train, val = (read(name) if name in splits else [] for name in ("train", "val"))
    judged, left_out = unseen(read(split), [*train, *val], dataset, split)
    known = any(e.success is not None for e in judged)
    marked = any(c.correct is not None for e in judged for s in e.steps for c in s.candidates)
    if not known and not marked:
        raise PgvError(
            f"None of the {len(judged)} episodes in split '{split}' of {dataset} says whether it "
            "succeeded, and no candidate is marked correct, so there is nothing to judge against. "
            'Give "success" (true or false) in the logs and import them again.'
        )
    return HeldOut(train, val, judged, left_out)


def with_expectile(manifest: Mapping[str, Any], expectile: float) -> dict[str, Any]:
    """A manifest as if its critic had been trained with another expectile, and TD for all goals.

    Raises PgvError where an expectile has no part in Q of success.
    """
    objective = manifest["objective"]
    if "expectile" not in objective:
        raise PgvError(
            f"The objective {objective.get('name', 'of this artifact')} has no expectile; leave "
            "--expectile out."
        )
    if manifest["critic"].get("outcome_members"):
        raise PgvError(
            "This critic answers outcome goals by a probe, which has no expectile; leave "
            "--expectile out, or judge a critic that was trained with critic.recipe=td."
        )
    tree = dict(manifest.get("config", {}))
    tree["objective"] = {**objective, "expectile": expectile}
    tree["critic"] = {**tree.get("critic", {}), "recipe": "td"}
    return {**manifest, **({"config": tree} if "config" in manifest else {})}


def _judge(
    opened: Artifact,
    scorer: ValueFunction,
    critics: Mapping[str, ValueFunction],
    data: HeldOut,
    embedded: EmbeddingStore,
    question: Question,
    notes: list[str],
) -> dict[str, Any]:
    """The report; what the calibration misses joins ``notes``."""
    manifest, history = opened.manifest, opened.manifest["texts"]["history"]
    goal_gamma = manifest["objective"].get("gamma")
    gamma = artifacts.discount(manifest, SUCCESS)
    fitted = manifest.get("calibration")
    if question.calibration != "none":
        fitted, missing = fit_calibration(
            scorer,
            data.val,
            split="val",
            history=history,
            gamma=goal_gamma,
            kind=question.calibration,
            recipe=manifest.get("recipe", {}),
            seed=question.seed,
        )
        notes += missing
        artifacts.annotate(opened.folder, "calibration", fitted)
    seeds = {"history": history, "seed": question.seed}
    baselines, unfitted = fit_baselines(data.train, embedded.lookup, gamma=gamma, **seeds)
    report = judge(
        data.judged,
        scorer,
        baselines=baselines,
        critics=critics,
        reference=Reference(data.train, embedded.lookup, fitted, question.kind_of),
        gamma=gamma,
        goal_gamma=goal_gamma,
        v_head="v" in manifest["heads"],
        split=question.split,
        notes=[*unfitted, *notes],
        limits=question.limits,
        **seeds,
    )
    support = support_of(data.train, embedded.lookup, **seeds)
    if support is not None:
        save_support(opened.folder, support)
    return report


def _curve(
    manifest: Mapping[str, Any],
    scorer: ValueFunction,
    data: HeldOut,
    embedded: EmbeddingStore,
    folder: Path,
    bar: Bar,
) -> dict[str, Any]:
    smaller = {}
    for share in SHARES:
        part = tasks_of_share(data.train, share)
        where = folder / f"{100 * share:.0f}"
        path = refit(manifest, [*part, *data.val], where, embedded.folder, bar)
        smaller[share] = (ValueFunction.load(path, encoder=embedded.encoder), part)
    return curve(data.judged, scorer, data.train, smaller, history=manifest["texts"]["history"])


def _about(opened: Artifact, dataset: Path, others: Mapping[str, Artifact]) -> dict[str, Any]:
    """The page's lines on what was judged."""
    manifest = opened.manifest
    recipe = manifest.get("recipe", {})
    return {
        "artifact": str(opened.folder),
        "dataset": str(dataset),
        "objective": str(manifest["objective"].get("name", "unknown")),
        "encoder": str(manifest["encoder"]["name"]),
        "history": manifest["texts"]["history"],
        "recipe": " ".join(recipe.get("words", ["not named by the artifact"])),
        **{f"beside: {name}": str(other.folder) for name, other in others.items()},
    }


def require_texts(name: str, other: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise PgvError where a critic reads other texts than the one that it stands beside."""
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
    """The episodes of tasks that are no reworded ones of the other splits', and what to say.

    Where equal texts have several ids, that is said instead, and all episodes stay.
    """
    tasks = {e.task_id: e.task for e in judged}
    others = {e.task_id: e.task for e in known if "train" != split != e.split}
    if others and (equal := equal_texts({**tasks, **others})):
        said = (
            f"{equal:,} tasks share their text with a task of another id, so texts do not tell "
            "tasks apart here; whether judged tasks repeat a task of another split in other words "
            "was not looked for"
        )
        return judged, [said]
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
        f"{len(near)} of {len(tasks)} tasks repeat a task of another split in other words; "
        f"their {len(judged) - len(kept)} episodes are not judged"
    )
    return kept, [said]


def embed(store: EmbeddingStore, history: History, data: HeldOut, bar: Bar = silent) -> None:
    """Embed every text that will be asked for."""
    texts = [SUCCESS, FAILURE]
    for episode in (*data.train, *data.val, *data.judged):
        texts.append(episode.task)
        for t, step in enumerate(episode.steps):
            observed = observation_text(episode, t, history)
            thoughts = [step.thought, *(candidate.thought for candidate in step.candidates)]
            texts += [observed, *(thought_text(observed, said, history) for said in thoughts)]
        for t in range(len(episode.steps) + 1):
            texts += sentences(own_observation(episode, t))
    missing = len(store.missing(texts))
    if missing:
        with bar(f"embedding {missing:,} texts", missing) as report:
            store.add(texts, lambda done, of: report(done))


def notes_of(split: str, manifest: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the split and of how the critic was trained."""
    notes, objective = [], manifest["objective"]
    if artifacts.still_improving(manifest):
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
