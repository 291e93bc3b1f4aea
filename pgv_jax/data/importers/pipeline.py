"""Importing: files in, one dataset out, with everything that was left out said and kept."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from pgv_jax.data.episodes import DatasetSummary, task_splits, write_dataset
from pgv_jax.data.importers.base import UNFIT, BadRecord, Options
from pgv_jax.data.importers.call_logs import Place
from pgv_jax.data.importers.detection import BUILT_IN, detect, importer_of, no_log
from pgv_jax.data.importers.files.values import settled, unboxed
from pgv_jax.data.importers.files.walk import walk
from pgv_jax.data.importers.outcomes.rewards import Rewards
from pgv_jax.data.importers.outcomes.rule import SuccessRule
from pgv_jax.data.importers.outcomes.scale import WORDS
from pgv_jax.data.importers.prefix import common_prefix
from pgv_jax.data.importers.redact import Redactor
from pgv_jax.data.importers.source import Source, labels_of
from pgv_jax.data.importers.survey import Findings, Survey, decided
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.splits import HELD_OUT
from pgv_jax.data.storage.compression import archive_of, stem_of
from pgv_jax.data.storage.jsonl import FieldError
from pgv_jax.data.thought_origin import thought_origin
from pgv_jax.errors import PgvError
from pgv_jax.files import sha256_of
from pgv_jax.types import Episode

OF_STEPS = {"episode", "step", "observation", "action", "thought", "result"}
"""Columns that only a table of steps has."""
HINT_RECORDS = 20
HINT_CHARACTERS = 200


@dataclass(frozen=True)
class Plan:
    """Everything that decides what an import writes; equal plans resume each other."""

    paths: tuple[Path, ...]
    out: Path
    format: str = "auto"
    options: Options = field(default_factory=Options)
    rewards: Rewards | None = None
    success: str | None = None
    strip_prefix: bool = False
    redact: tuple[str, ...] = ()
    on_error: str = "stop"
    strict: bool = False
    source: str = ""
    licence: str = ""
    overwrite: bool = False
    held_out: float = HELD_OUT
    splits_of: Path | None = None
    """A dataset whose tasks keep the splits that they have there."""


class Sources(list[Source]):
    """The sources of an import, and the files of folders that were passed over, with the reason."""

    passed: list[tuple[Path, str]]


@dataclass
class Report:
    """What an import did; ``outcomes`` counts success, failure and unknown."""

    sources: list[Source]
    summary: DatasetSummary | None = None
    first: Episode | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    rejected_path: Path | None = None
    first_rejected: list[str] = field(default_factory=list)
    redactions: Counter[str] = field(default_factory=Counter)
    renamed: int = 0
    unmatched: int = 0
    thoughts: Counter[str] = field(default_factory=Counter)
    without_action: int = 0
    findings: Findings = field(default_factory=Findings)
    tally: Tally = field(default_factory=Tally)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Return the files of folders and archives, sorted; TFDS folders stay whole."""
    return [file.path for file in walk(paths)]


def find_sources(plan: Plan) -> Sources:
    """Choose an importer for every file, and find the prompts' common prefix.

    A file that a folder or an archive holds beside the logs is passed over if it plainly is no log,
    and with ``--on-error skip`` if no importer recognises it.
    """
    sources = Sources()
    sources.passed = []
    for path, named in walk(plan.paths):
        try:
            source = _source(plan, path, named)
        except PgvError as error:
            if named or plan.on_error != "skip":
                raise
            source = str(error)
        if isinstance(source, str):
            sources.passed.append((path, source))
        else:
            sources.append(source)
    if not sources:
        files = "; ".join(f"{path}: {why}" for path, why in sources.passed[:3])
        raise PgvError(f"There is no log among the files ({files}).")
    for source, label in zip(sources, labels_of([s.path for s in sources]), strict=True):
        source.label = label
    _check_columns(plan, sources)
    _find_prefixes(plan, sources)
    return sources


def _check_columns(plan: Plan, sources: Sequence[Source]) -> None:
    """A name of ``--column`` that no importer of these files reads is an error, not silence."""
    read: set[str] = set()
    for source in sources:
        if source.importer.name not in BUILT_IN:  # somebody's own may read any
            return
        read.update(source.importer.columns)
    for name in plan.options.columns:
        if name not in read:
            formats = ", ".join(sorted({source.importer.name for source in sources}))
            near = difflib.get_close_matches(name, read, n=1)
            known = f"it knows {', '.join(sorted(read))}" if read else "it has no columns"
            raise PgvError(
                f"--column {name}={plan.options.columns[name]}: the format {formats} has no "
                f"column of ours named '{name}'{f'; is it {near[0]}?' if near else ''} ({known})."
            )


def _source(plan: Plan, path: Path, named: bool) -> Source | str:
    """The source of a file, or why it is no log."""
    if not named and (why := no_log(path)):
        return why
    name, why = plan.format, "named with --format"
    if name == "auto" and OF_STEPS & set(plan.options.columns):
        name, why = "steps", "--column names a step's columns"
    if name != "auto":
        importer = importer_of(name)
    else:
        try:
            importer, why = detect(path)
        except PgvError:
            if "messages" not in plan.options.columns:
                raise
            importer, why = importer_of("openai"), "--column names its messages"
    reading = importer.reading(path, plan.options)
    return Source(path, importer, f"{why}; {reading}" if reading else why)


def _find_prefixes(plan: Plan, sources: Sequence[Source]) -> None:
    for importer in {source.importer.name: source.importer for source in sources}.values():
        mine = [source for source in sources if source.importer is importer]
        prompts = itertools.chain.from_iterable(
            importer.prompts(source.path, plan.options) for source in mine
        )
        if plan.strip_prefix:
            prefix = common_prefix(prompts)
            for source in mine:
                source.prefix = prefix
        else:
            hint = common_prefix(itertools.islice(prompts, HINT_RECORDS))
            if hint and (hint.characters >= HINT_CHARACTERS or hint.messages > 1):
                mine[0].hint = hint


def run_import(
    plan: Plan,
    sources: list[Source] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Read, join, judge, redact and write; an interrupted import goes on when run again."""
    if plan.on_error not in ("skip", "stop"):
        raise PgvError(f"--on-error is '{plan.on_error}'; use skip or stop.")
    report = Report(sources if sources is not None else find_sources(plan))
    report.findings = survey(plan, report.sources)
    aside = plan.out.with_name(plan.out.name + ".rejected.jsonl")
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside.with_name(f".{aside.name}.tmp")  # a killed run's is overwritten by the next
    try:
        with temporary.open("w", encoding="utf-8") as rejects:
            report.summary = write_dataset(
                plan.out,
                Run(plan, report, rejects).episodes(),
                source=plan.source,
                licence=plan.licence,
                overwrite=plan.overwrite,
                resume_key=_key(plan, report.sources),
                progress=progress,
                held_out=plan.held_out,
                dealt=task_splits(plan.splits_of) if plan.splits_of else None,
            )
        if report.rejected:
            temporary.replace(aside)
            report.rejected_path = aside
        else:
            aside.unlink(missing_ok=True)
    finally:
        temporary.unlink(missing_ok=True)
    return report


def survey(plan: Plan, sources: Sequence[Source]) -> Findings:
    """The first pass: learn what only the whole log tells.

    Raises PgvError where a record is bad (with ``--on-error stop``), where success is not plain,
    where the rule names what no episode has, and with ``strict`` where a part is not read.
    """
    rule = SuccessRule(plan.success) if plan.success else None
    facts, tally = Survey(sources), Tally()
    for place, source, item in _read(plan, sources, tally):
        if isinstance(item, BadRecord):
            if plan.on_error == "stop":
                raise _stopped(str(item), Redactor(plan.redact))
            continue
        if not item.steps:
            continue
        episode = _joined(plan, source, item)
        if rule is not None:
            rule(episode)
        facts.add(place, episode)
    if rule is not None:
        rule.check_names()
    if plan.strict and tally.unread:
        kinds = ", ".join(f"'{kind}' ({n:,})" for kind, n in tally.unread.most_common())
        first = next(iter(tally.first.values()))
        raise PgvError(f"--strict: parts of these types are not read: {kinds}. The first: {first}.")
    findings = facts.findings(plan.options.fields, plan.success is not None)
    if findings.folded.shared:  # what these records add stands in no other one
        for place, source, item in _read(plan, sources, Tally()):
            if place in findings.folded.shared and isinstance(item, Episode):
                findings.folded.keep(place, _joined(plan, source, item))
    return findings


def _read(
    plan: Plan, sources: Sequence[Source], tally: Tally
) -> Iterator[tuple[Place, Source, Episode | BadRecord]]:
    """Yield what the importers yield, with where it stands."""
    for number, source in enumerate(sources):
        options = replace(plan.options, prefix=source.prefix, tally=tally)
        try:
            for index, item in enumerate(source.importer.read(source.path, options)):
                yield (number, index), source, _typed(item, source, tally)
        except FieldError as error:  # the file as a whole does not fit
            raise PgvError(f"{source.path}: {error}.") from None
        except UNFIT as error:
            if isinstance(error, PgvError):
                raise
            raise PgvError(
                f"{source.path} cannot be read as '{source.importer.name}' "
                f"({type(error).__name__}: {str(error)[:120]}). Choose another --format."
            ) from error


def _typed(item: Episode | BadRecord, source: Source, tally: Tally) -> Episode | BadRecord:
    """What an importer yielded; one of somebody's own may hold values of any type."""
    if isinstance(item, BadRecord) or source.importer.name in BUILT_IN:
        return item
    try:
        return settled(unboxed(item), tally)
    except UNFIT as error:
        return _bad(item, error, source, tally)


def _bad(episode: Episode, error: Exception, source: Source, tally: Tally) -> BadRecord:
    name = error.field if isinstance(error, FieldError) else "record"
    why = error.why if isinstance(error, FieldError) else f"{type(error).__name__}: {error}"
    line = tally.line if tally.path == str(source.path) else 0
    return BadRecord(str(source.path), line, name, why[:300], f"{episode.episode_id}")


def _joined(plan: Plan, source: Source, episode: Episode) -> Episode:
    episode = source.named(episode)
    return plan.rewards.apply(episode, stem_of(source.path)) if plan.rewards else episode


def _stopped(line: str, redactor: Redactor) -> PgvError:
    text = redactor.text(line).encode("utf-8", "backslashreplace").decode()
    return PgvError(
        f"{text}. Nothing was written. Fix the record, or set it aside with --on-error skip."
    )


def _key(plan: Plan, sources: list[Source]) -> str:
    """Name the work: the bytes of the files and every option that changes what is written."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.label} {source.importer.name} {source.prefix}\n".encode())
        for file in sorted(source.path.rglob("*")) if source.path.is_dir() else [source.path]:
            if not file.is_dir():
                inside = archive_of(file)
                digest.update(sha256_of(file if inside is None else inside[0]).encode())
        for file in source.importer.beside(source.path):
            digest.update(sha256_of(file).encode())
    joined = sorted((plan.rewards.values if plan.rewards else {}).items())
    on = (plan.rewards.on, sorted(plan.rewards.tasks.items())) if plan.rewards else ""
    said = (plan.options, plan.success, plan.redact, plan.on_error, plan.source, on, joined)
    digest.update(repr(said).encode())
    return digest.hexdigest()


class Run:
    """The second pass; ``write_dataset`` pulls the episodes out of it."""

    def __init__(self, plan: Plan, report: Report, rejects: IO[str], first: int = 0):
        self.plan = plan
        self.report = report
        self.rejects = rejects
        self.first = first
        """The number of the first source within the whole log."""
        self.rule = SuccessRule(plan.success) if plan.success else None
        self.redactor = Redactor(plan.redact)
        report.redactions = self.redactor.counts
        self.ids: Counter[str] = Counter()

    def episodes(self) -> Iterator[Episode]:
        """Yield the episodes as they are to be written."""
        for place, source, item in _read(self.plan, self.report.sources, self.report.tally):
            if isinstance(item, BadRecord):
                self._reject(item)
                continue
            episode = self._prepared((place[0] + self.first, place[1]), source, item)
            if episode is not None:
                yield self._counted(episode)
        if self.plan.rewards is not None:
            self.report.unmatched = len(self.plan.rewards.values) - len(self.plan.rewards.used)
            for word, n in self.plan.rewards.unclear.most_common(6):
                self.report.tally.notes[
                    f"--rewards says '{word}', which is not understood; the log's own word stands"
                ] += n

    def _prepared(self, place: Place, source: Source, item: Episode) -> Episode | None:
        tally = self.report.tally
        try:
            found = self.report.findings.applied(place, _joined(self.plan, source, item))
            if found is None:
                return None
            episode = decided(found, self.rule(found)) if self.rule is not None else found
            episode = self.redactor.episode(episode)
            if not episode.steps:
                raise FieldError("steps", "there is no turn of the agent")
            return settled(episode, tally)
        except UNFIT as error:
            self._reject(_bad(item, error, source, tally))
            return None

    def _counted(self, episode: Episode) -> Episode:
        report = self.report
        self.ids[episode.episode_id] += 1
        if (times := self.ids[episode.episode_id]) > 1:
            report.renamed += 1
            episode = replace(episode, episode_id=f"{episode.episode_id}#{times}")
            self.ids[episode.episode_id] += 1
        if report.first is None:
            report.first = episode
        if not episode.task.strip():
            report.tally.notes["no task is named; name it with --task or --task-field"] += 1
        report.outcomes[WORDS[episode.success]] += 1
        for step in episode.steps:
            report.thoughts[thought_origin(step, episode.task)] += 1
            report.without_action += not step.action.strip()
        return episode

    def _reject(self, bad: BadRecord) -> None:
        if self.plan.on_error == "stop":
            raise _stopped(str(bad), self.redactor)
        line = self.redactor.text(str(bad)).encode("utf-8", "backslashreplace").decode()
        self.report.rejected += 1
        if len(self.report.first_rejected) < 5:
            self.report.first_rejected.append(line)
        record: dict[str, Any] = {
            "file": bad.path,
            "line": bad.line,
            "field": bad.field,
            "why": bad.why,
            "record": self.redactor.text(bad.raw),
        }
        text = json.dumps(record, ensure_ascii=False)
        self.rejects.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
