"""Importing: files in, one dataset out, with everything that was left out said and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from pgv_jax.data.episodes import DatasetSummary, is_dataset, write_dataset
from pgv_jax.data.importers.base import UNFIT, BadRecord, Importer, Options, Prefix
from pgv_jax.data.importers.outcomes.record import Rewards, SuccessRule
from pgv_jax.data.importers.prefix import common_prefix
from pgv_jax.data.importers.redact import Redactor
from pgv_jax.data.importers.registry import detect, importer_of
from pgv_jax.data.jsonl import FieldError, check_episode
from pgv_jax.data.spool import file_sha256
from pgv_jax.errors import PgvError
from pgv_jax.types import Episode

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
    source: str = ""
    licence: str = ""
    overwrite: bool = False


@dataclass
class Source:
    """One file, the importer that reads it, and why that one."""

    path: Path
    importer: Importer
    why: str
    prefix: Prefix | None = None
    hint: Prefix | None = None


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


def expand(paths: Sequence[Path]) -> list[Path]:
    """Return the files of folders, sorted; TFDS folders stay whole, hidden files stay out."""
    out: list[Path] = []
    for path in paths:
        if not path.exists():
            raise PgvError(f"{path} does not exist.")
        if not path.is_dir() or is_dataset(path) or (path / "features.json").exists():
            out.append(path)
            continue
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.is_file() and not any(x.startswith(".") for x in p.relative_to(path).parts)
        )
        if not inside:
            raise PgvError(f"{path} holds no files.")
        out.extend(inside)
    return out


def find_sources(plan: Plan) -> list[Source]:
    """Choose an importer for every file, and find the prompts' common prefix."""
    sources = []
    for path in expand(plan.paths):
        if plan.format == "auto":
            found = detect(path)
            sources.append(Source(path, found.importer, found.why))
        else:
            sources.append(Source(path, importer_of(plan.format), "named with --format"))
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
    return sources


def run_import(
    plan: Plan,
    sources: list[Source] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Read, join, judge, redact and write; an interrupted import goes on when run again."""
    if plan.on_error not in ("skip", "stop"):
        raise PgvError(f"--on-error is '{plan.on_error}'; use skip or stop.")
    report = Report(sources if sources is not None else find_sources(plan))
    aside = plan.out.with_name(plan.out.name + ".rejected.jsonl")
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside.with_name(f".{aside.name}.tmp")  # a killed run's is overwritten by the next
    try:
        with temporary.open("w", encoding="utf-8") as rejects:
            report.summary = write_dataset(
                plan.out,
                _Run(plan, report, rejects).episodes(),
                source=plan.source,
                licence=plan.licence,
                overwrite=plan.overwrite,
                resume_key=_key(plan, report.sources),
                progress=progress,
            )
        if report.rejected:
            temporary.replace(aside)
            report.rejected_path = aside
        else:
            aside.unlink(missing_ok=True)
    finally:
        temporary.unlink(missing_ok=True)
    return report


def _key(plan: Plan, sources: list[Source]) -> str:
    """Name the work: the bytes of the files and every option that changes what is written."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.path.name} {source.importer.name} {source.prefix}\n".encode())
        for file in sorted(source.path.rglob("*")) if source.path.is_dir() else [source.path]:
            if file.is_file():
                digest.update(file_sha256(file).encode())
    joined = sorted((plan.rewards.values if plan.rewards else {}).items())
    on = plan.rewards.on if plan.rewards else ""
    said = (plan.options, plan.success, plan.redact, plan.on_error, plan.source, on, joined)
    digest.update(repr(said).encode())
    return digest.hexdigest()


class _Run:
    """One pass over the sources; ``write_dataset`` pulls the episodes out of it."""

    def __init__(self, plan: Plan, report: Report, rejects: IO[str]):
        self.plan = plan
        self.report = report
        self.rejects = rejects
        self.rule = SuccessRule(plan.success) if plan.success else None
        self.redactor = Redactor(plan.redact)
        report.redactions = self.redactor.counts
        self.ids: Counter[str] = Counter()

    def episodes(self) -> Iterator[Episode]:
        for source in self.report.sources:
            options = replace(self.plan.options, prefix=source.prefix)
            try:
                for item in source.importer.read(source.path, options):
                    episode = self._prepared(item, source)
                    if episode is not None:
                        yield episode
            except FieldError as error:  # the file as a whole does not fit
                raise PgvError(f"{source.path}: {error}.") from None
            except UNFIT as error:
                if isinstance(error, PgvError):
                    raise
                raise PgvError(
                    f"{source.path} cannot be read as '{source.importer.name}' "
                    f"({type(error).__name__}: {str(error)[:120]}). Choose another --format."
                ) from error
        if self.plan.rewards is not None:
            self.report.unmatched = len(self.plan.rewards.values) - len(self.plan.rewards.used)

    def _prepared(self, item: Episode | BadRecord, source: Source) -> Episode | None:
        if isinstance(item, BadRecord):
            self._reject(item)
            return None
        try:
            episode = item
            if self.plan.rewards is not None:
                episode = self.plan.rewards.apply(episode)
            if self.rule is not None:
                success = self.rule(episode)
                episode = replace(
                    episode,
                    success=success,
                    is_terminal=episode.is_terminal
                    or (success is not None and item.success is None),
                )
            episode = self.redactor.episode(episode)
            if not episode.steps:
                raise FieldError("steps", "there is no turn of the agent")
            check_episode(episode)
        except UNFIT as error:
            name = error.field if isinstance(error, FieldError) else "record"
            why = error.why if isinstance(error, FieldError) else f"{type(error).__name__}: {error}"
            self._reject(BadRecord(str(source.path), 0, name, why[:300], f"{item.episode_id}"))
            return None
        return self._counted(episode)

    def _counted(self, episode: Episode) -> Episode:
        report = self.report
        self.ids[episode.episode_id] += 1
        if (times := self.ids[episode.episode_id]) > 1:
            report.renamed += 1
            episode = replace(episode, episode_id=f"{episode.episode_id}#{times}")
            self.ids[episode.episode_id] += 1
        if report.first is None:
            report.first = episode
        words = {True: "success", False: "failure", None: "unknown"}
        report.outcomes[words[episode.success]] += 1
        for step in episode.steps:
            report.thoughts[str(step.metadata.get("thought_from", "given"))] += 1
        return episode

    def _reject(self, bad: BadRecord) -> None:
        line = self.redactor.text(str(bad)).encode("utf-8", "backslashreplace").decode()
        if self.plan.on_error == "stop":
            raise PgvError(
                f"{line}. Nothing was written. Fix the record, or set it aside with "
                "--on-error skip."
            )
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
