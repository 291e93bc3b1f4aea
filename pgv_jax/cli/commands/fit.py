"""``pgv fit``: from logs to a verdict in one command."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgv_jax.errors import DamagedFileError, PgvError

if TYPE_CHECKING:
    from pgv_jax.config import Config
    from pgv_jax.embed.encoder import Encoder
    from pgv_jax.report.answers import Answers
    from pgv_jax.report.description import Description
    from pgv_jax.workflows.stages import Clock, Stages

QUICK_STEPS = 600
PATIENCE = 5
"""Looks at held-out tasks without a gain that end the training, unless the configuration says."""
HELD_OUT = 0.25
"""Share of the tasks that judge: more than a dataset's own, because here the verdict is the aim."""
ENCODER = "sentences:minilm"
GROWTH = 0.25
"""Steps that a log may gain for a warm start, as a share of those last learned from nothing."""
WARM_UPDATES = 0.2
"""Of a training's updates, those of a warm start from the critic before."""
STAGES = ("importing", "embedding", "learning", "judging", "writing the page")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("logs", nargs=-1, type=click.UNPROCESSED, metavar="LOGS... [IMPORT OPTIONS]")
@click.option(
    "--out",
    default=Path("runs/fit"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of all results; a fit that it holds is continued.",
)
@click.option(
    "--config",
    default="gc_iql",
    show_default=True,
    help="What to train: a file, or the name of a shipped one (imagined: for logs of notes).",
)
@click.option("--encoder", help=f"As for pgv embed. [the configuration's, else {ENCODER}]")
@click.option("--quick", is_flag=True, help=f"{QUICK_STEPS} updates: a first look.")
@click.option("--anew", is_flag=True, help="Learn a grown log from nothing, whatever was learned.")
def fit(
    logs: tuple[str, ...], out: Path, config: str, encoder: str | None, quick: bool, anew: bool
) -> None:
    """Import LOGS, learn a critic from them, judge it, and say in one page what it is good for.

    \b
    pgv fit logs/*.jsonl --out runs/mine
    pgv fit traces.jsonl --rewards results.csv --success "reward >= 1" --out runs/mine

    OUT/report.html answers whether the critic would help, what it would have done differently,
    what it does not know, and what to do next. Options of `pgv import` may follow. After an
    interruption the same command continues. If the logs have grown, tasks keep their split, and
    the critic learns on from where it was; docs/fit.md says when it learns anew.
    """
    from pgv_jax.cli.console import console, logged
    from pgv_jax.rollout.stopping import terminable
    from pgv_jax.workflows.claim import claim
    from pgv_jax.workflows.stages import Clock, Stages

    if not logs:
        raise PgvError("No log is named; give files or folders: pgv fit LOGS... --out DIR.")
    options = _import_options(logs)
    asked = {"options": options, "config": config, "encoder": encoder, "quick": quick}
    claim(out / "fit.json", "a fit", asked, fresh=True)
    stages, clock = Stages(out / "stages.json"), Clock(out / "seconds.json")
    with terminable(), logged():
        with _stage(clock, 0):
            _import(logs, out, stages)
        settings = _settings(config, out, encoder, quick)
        with _stage(clock, 1):
            said, opened = _embed(settings, stages)
        with _stage(clock, 2):
            artifact = _learn(settings, out, stages, opened, anew)
        with _stage(clock, 3):
            report, why = _judge(artifact, out, stages, opened)
        with _stage(clock, 4):
            command = shlex.join(["pgv", "fit", *_words(logs, out, config, encoder, quick)])
            answers = _page(artifact, opened, out, said, report, why, clock, stages, command)
    console.print()
    _closing(answers, out)


def _words(
    logs: tuple[str, ...], out: Path, config: str, encoder: str | None, quick: bool
) -> list[str]:
    """What was asked, as words of a command line; defaults are left out."""
    more = [] if config == "gc_iql" else ["--config", config]
    more += ["--encoder", encoder] if encoder else []
    return [*logs, *more, *(["--quick"] if quick else []), "--out", str(out)]


@contextmanager
def _stage(clock: Clock, number: int) -> Iterator[None]:
    """One of ``STAGES``: its name above what it prints, and its seconds."""
    from pgv_jax.cli.console import console

    name = STAGES[number]
    console.print(f"{number + 1} of {len(STAGES)}: {name}", style="bold", highlight=False)
    with clock(name):
        yield


def _pgv(*arguments: str) -> None:
    """Run another command of this group, in this process."""
    from pgv_jax.cli.main import pgv

    pgv.main(list(arguments), prog_name="pgv", standalone_mode=False)


def _import_options(logs: tuple[str, ...]) -> list[str]:
    """The options of `pgv import` among the words, without the logs' own names."""
    from pgv_jax.cli.commands.importing import import_

    with import_.make_context("import", list(logs), resilient_parsing=True) as context:
        files = set(context.params["files"])
    return [word for word in logs if Path(word) not in files]


def _import(logs: tuple[str, ...], out: Path, stages: Stages) -> None:
    """The dataset, unless these files as they are now were imported before."""
    from pgv_jax.cli.commands.importing import import_
    from pgv_jax.cli.console import console
    from pgv_jax.data.episodes import is_dataset
    from pgv_jax.data.samples import log_path
    from pgv_jax.workflows.stages import files_key

    dataset = out / "dataset"
    asked = list(logs)
    if not any(word.split("=")[0] == "--held-out" for word in logs):
        asked += ["--held-out", str(HELD_OUT)]
    words = [*asked, "--out", str(dataset)]
    with import_.make_context("import", list(words)) as context:
        files, rewards = context.params["files"], context.params["rewards"]
    key = files_key([*map(log_path, files), *([rewards] if rewards else [])], *asked)
    names, before = sorted(map(str, files)), stages.notes("import").get("files", [])
    gone = [name for name in before if name not in names]
    if gone:
        raise PgvError(
            f"{out} holds a fit of {', '.join(gone[:3])} too, which this command does not name; "
            "name the logs of before as well, or choose another --out."
        )
    if stages.done("import", key) and is_dataset(dataset):
        return
    if stages.begun("import"):
        console.print("The logs have changed: they are imported again.")
    more: list[str] = []
    held: set[str] = set()
    if is_dataset(dataset):
        more = ["--overwrite"]
        if stages.begun("import"):  # the same question of logs that have changed
            more += ["--splits-of", str(dataset)]
        if not stages.done("begin to import", key):  # else the dataset may be the new one already
            held = _episode_ids(dataset)
    stages.mark("begin to import", key)
    _pgv("import", *words, *more)
    stages.mark("import", key, files=names, grown=bool(held) and held <= _episode_ids(dataset))


def _episode_ids(dataset: Path) -> set[str]:
    from pgv_jax.data.episodes import read_episodes

    return {episode.episode_id for episode in read_episodes(dataset)}


def _settings(config: str, out: Path, encoder: str | None, quick: bool) -> Config:
    from pgv_jax.config import load_config

    dataset = f"data.dataset={out / 'dataset'}"
    said = load_config(config)
    chosen = encoder or (None if "encoder" in said.data.model_fields_set else ENCODER)
    changes = [dataset, *([f"data.encoder={chosen}"] if chosen else [])]
    if "patience" not in said.train.model_fields_set:
        changes.append(f"train.patience={PATIENCE}")
    if quick:
        changes.append(f"train.steps={QUICK_STEPS}")
    settings: Config = load_config(config, changes)
    return settings


def _embed(settings: Config, stages: Stages) -> tuple[Description, Encoder]:
    """Every text that any later stage reads, in one pass.

    Returns what the log holds, and the encoder: later stages go on with what it has in memory.
    """
    from pgv_jax.cli.commands.embed import UNKNOWN, unknown_warning
    from pgv_jax.cli.console import bar, console
    from pgv_jax.data.episodes import read_episodes
    from pgv_jax.data.layout import texts_of
    from pgv_jax.embed.encoder_specs import open_encoder
    from pgv_jax.embed.pooled_encoder import PooledEncoder
    from pgv_jax.embed.storage.store import EmbeddingStore
    from pgv_jax.report.description import describe
    from pgv_jax.texts.templates import worded
    from pgv_jax.workflows.training import store_of

    episodes = [
        worded(episode, settings.texts.step) for episode in read_episodes(settings.data.dataset)
    ]
    said = describe(episodes)
    outcomes = said.facts["outcomes"]
    console.print(
        f"{len(episodes):,} episodes of {said.facts['tasks']:,} tasks: "
        + ", ".join(f"{count:,} {name}" for name, count in outcomes.items() if count)
        + "."
    )
    encoder = open_encoder(settings.data.encoder)
    store = EmbeddingStore(store_of(settings.data), encoder)
    if isinstance(encoder, PooledEncoder):  # a log that grows repeats most of its parts
        encoder.keep_parts(store.folder / "parts")
    imagined = settings.critic.q == "imagined"
    texts = texts_of(episodes, settings.texts.history, candidates=True, parts=imagined)
    missing = len(store.missing(texts))
    if missing:
        with bar(f"embedding {missing:,} texts", missing) as progress:
            told = store.add(texts, lambda done, of: progress(done))
        if told.unknown > UNKNOWN * told.tokens:
            console.print(unknown_warning(told, encoder), markup=False)
            stages.mark("embed", encoder.fingerprint, warning=unknown_warning(told, encoder))
    return said, encoder


def _learn(settings: Config, out: Path, stages: Stages, encoder: Encoder, anew: bool) -> Path:
    """The critic: of a log that has grown a little it learns on, of all else it begins anew."""
    from pgv_jax.cli.console import bar, console
    from pgv_jax.data.episodes import dataset_info
    from pgv_jax.workflows.training import fit as train
    from pgv_jax.workflows.training import prepare

    run, before = out / "critic", out / "critic-before"
    info = dataset_info(settings.data.dataset)
    if anew and before.exists():  # what was learned on does not count
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(before)
        stages.mark("begin to learn", "")
    key = f"{info['fingerprint']} {_named(settings)}"
    if stages.done("learn", key) and (run / "artifact" / "manifest.json").exists():
        return run / "artifact"
    if not stages.done("begin to learn", key):
        warm = not anew and _allows_warm_start(settings, run, stages, info["steps"])
        learned = stages.notes("learn")["learned"] if warm else info["steps"]
        shutil.rmtree(before, ignore_errors=True)
        if warm:
            (run / "artifact").rename(before)
        shutil.rmtree(run, ignore_errors=True)
        stages.mark("begin to learn", key, learned=learned)
    learned = stages.notes("begin to learn").get("learned", info["steps"])
    if before.exists():
        settings = _warm_start(settings, before)
        console.print(
            f"The log has grown from {learned:,} steps to {info['steps']:,}: the critic learns on, "
            f"in {settings.train.steps:,} updates (--anew: from nothing)."
        )
    prepared = prepare(settings, run / "tables", bar, encoder)
    if prepared.held_out is None:
        console.print("Too few tasks to hold any out: training runs to the end.")
    artifact = train(settings, prepared, run, bar)
    stages.mark("learn", key, settings=key.partition(" ")[2], learned=learned)
    return artifact


def _allows_warm_start(settings: Config, run: Path, stages: Stages, steps: int) -> bool:
    """Whether the run's critic is one to start from: of the same settings and most of the log."""
    told = stages.notes("learn")
    same = told.get("settings") == _named(settings) and (run / "artifact").exists()
    grown = bool(stages.notes("import").get("grown"))
    return same and grown and steps <= (1 + GROWTH) * int(told["learned"])


def _named(settings: Config) -> str:
    """Settings as JSON without the folder, so that a fit that was moved is the same fit."""
    return settings.model_dump_json(exclude={"data": {"dataset", "store"}})


def _warm_start(settings: Config, before: Path) -> Config:
    """Fewer updates, from the parameters before; TD answers outcomes as before, or a new probe."""
    manifest = json.loads((before / "manifest.json").read_text("utf-8"))
    recipe = "td" if manifest["recipe"]["chosen"] == "td" else "anchored"
    steps = max(1, round(WARM_UPDATES * settings.train.steps))
    train = settings.train.model_copy(update={"steps": steps, "start": str(before)})
    critic = settings.critic.model_copy(update={"recipe": recipe})
    return settings.model_copy(update={"train": train, "critic": critic})


def _judge(
    artifact: Path, out: Path, stages: Stages, encoder: Encoder
) -> tuple[dict[str, Any] | None, str]:
    """The health report of the critic, or None and why there is nothing to judge against."""
    from pgv_jax.cli.console import bar
    from pgv_jax.critic import artifact as artifacts
    from pgv_jax.data.episodes import dataset_info
    from pgv_jax.workflows.evaluate import Question, evaluate

    dataset, folder = out / "dataset", out / "health"
    key = artifacts.fingerprint(artifacts.load(artifact).params)
    if "test" not in dataset_info(dataset)["splits"]:
        return None, "there are too few tasks to hold any out."
    if not stages.done("judge", key):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            evaluate(artifact, dataset, Question(), out=folder, encoder=encoder, bar=bar)
        except DamagedFileError:
            raise
        except PgvError as error:
            return None, str(error)
        stages.mark("judge", key)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return report, ""


def _page(
    artifact: Path,
    encoder: Encoder,
    out: Path,
    said: Description,
    report: Mapping[str, Any] | None,
    why: str,
    clock: Clock,
    stages: Stages,
    command: str,
) -> Answers:
    from pgv_jax.critic.value import ValueFunction
    from pgv_jax.data.episodes import read_episodes
    from pgv_jax.report.alternatives import compare
    from pgv_jax.report.answers import Log, answer
    from pgv_jax.report.pages.fit import write_fit
    from pgv_jax.texts.templates import worded

    facts, dataset = said.facts, out / "dataset"
    outcomes, parts = facts["outcomes"], facts["splits"]
    judging = parts.get("test", {}).get("tasks", 0) / facts["tasks"]
    log = Log(
        facts["episodes"],
        outcomes["success"],
        outcomes["failure"],
        facts["tasks"],
        judging or HELD_OUT,
    )
    answers = answer(log, None if log.one_sided else report, why)
    compared = None
    critic = ValueFunction.load(artifact, store=dataset / "embeddings", encoder=encoder)
    if not log.one_sided and "test" in parts:
        episodes = [worded(e, critic.step) for e in read_episodes(dataset, "test")]
        compared = compare(episodes, critic, critic.history, v_head="v" in critic.manifest["heads"])
    warnings = [stages.notes("embed").get("warning")]
    if (out / "critic-before").exists():
        warnings.append(
            f"The critic learned on when the log grew from {stages.notes('learn')['learned']:,} "
            "steps; what answers the outcomes was chosen before that. With --anew it is learned "
            "and chosen from nothing."
        )
    write_fit(
        out / "report.html",
        answers=answers,
        compared=compared,
        said=said,
        health=report,
        artifact=artifact,
        history=critic.history,
        command=command,
        warnings=[warning for warning in warnings if warning],
        seconds=clock.seconds,
    )
    return answers


def _closing(answers: Answers, out: Path) -> None:
    """The verdict, what would change it and where the rest is: the end of what is printed."""
    from pgv_jax.cli.console import say

    say(f"Would it help? {answers.would}")
    say(f"What would change that? {answers.change}")
    say(
        f"The rest is in {out / 'report.html'}: what it would have done differently, and what next."
    )
