"""The dataset of ``write_dataset`` made by a Beam pipeline, for logs beyond one machine.

Two parallel stages with a short one between them. Every input is read, encoded and spooled by
itself; the driver reads the spools' indexes and decides splits and files as ``write_dataset``
does; every file of the dataset is then copied by itself. The bytes are those of ``write_dataset``
over the same inputs one after the other. Needs the extra ``beam``, and a folder on a file system
that all workers see.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tensorflow_datasets as tfds

from pgv_jax.data.episodes import (
    NAME,
    DatasetSummary,
    _fill,
    _finish,
    _groups,
    is_dataset,
    splits_of,
)
from pgv_jax.data.importers.pipeline import Plan, Report, Run, find_sources, survey
from pgv_jax.data.importers.source import Source
from pgv_jax.data.importers.survey import Findings
from pgv_jax.data.splits import SPLITS
from pgv_jax.data.storage.spool import Entry, Spool, _write_records
from pgv_jax.errors import PgvError
from pgv_jax.files import restore_folder
from pgv_jax.parts import part
from pgv_jax.types import Episode

T = TypeVar("T")
IDS = "ids.json"
PARTS = 1_000_000
"""More parts than any input has."""


def write_dataset_beam(
    folder: str | os.PathLike[str],
    inputs: Sequence[T],
    read: Callable[[T], Iterable[Episode]],
    *,
    source: str = "",
    licence: str = "",
    overwrite: bool = False,
    resume_key: str | None = None,
    options: Any = None,
) -> DatasetSummary:
    """Write the episodes of ``read(input)`` for every input; ``options`` are Beam's, or None.

    An input is the unit of work and goes to one worker; it and ``read`` must pickle. With no
    options the pipeline runs in this process. ``resume_key`` and ``overwrite`` as in
    ``write_dataset``; a runner must not execute one input twice at the same time.
    """
    _beam()
    folder = Path(folder).absolute()
    if folder.exists() and not is_dataset(folder) and any(folder.iterdir()):
        raise PgvError(
            f"{folder} exists and is not a dataset of pgv_jax; choose another --out or remove it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.beam"
    restore_folder(work, folder)
    key = _open(work, resume_key)
    spools = [work / f"input-{number:05d}" for number in range(len(inputs))]
    job = functools.partial(_spool, read=read, source=source, key=key)
    try:
        _run(job, list(zip(spools, inputs, strict=True)), work / "errors", options)
        _check_ids(spools)
        parts = _Parts(work, spools, key)
        _run(functools.partial(_copy, key=key), parts.files(), work / "errors", options)
        tasks = splits_of(parts.entries())
        summary = _finish(cast(Spool, parts), folder, source, licence, overwrite, tasks)
    except BaseException as error:
        if resume_key is None or isinstance(error, PgvError):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work)
    return summary


def import_beam(plan: Plan, options: Any = None) -> DatasetSummary:
    """Run the import that a plan describes, one file a worker, and go on where it was cut off.

    As ``run_import``, with these differences: an episode id that occurs in two files is an error;
    unchanged files are known by size and time; nothing is counted but what is written and what
    was set aside. The first pass, for what only the whole log tells, runs in this process.
    """
    sources = find_sources(plan)
    findings = survey(plan, sources)
    files = [source.path.stat() for source in sources]
    about = [
        (s.path.name, s.importer.name, s.prefix, f.st_size, f.st_mtime_ns)
        for s, f in zip(sources, files, strict=True)
    ]
    key = hashlib.sha256(f"{plan!r} {about!r}".encode()).hexdigest()
    aside = plan.out.absolute().with_name(plan.out.name + ".rejected.jsonl")
    waiting = aside.with_name(f".{aside.name}.parts")
    waiting.mkdir(parents=True, exist_ok=True)
    rejects = [waiting / f"{number:05d}" for number in range(len(sources))]
    try:
        summary = write_dataset_beam(
            plan.out,
            list(zip(itertools.count(), sources, rejects)),
            functools.partial(_read, plan=plan, findings=findings),
            source=plan.source,
            licence=plan.licence,
            overwrite=plan.overwrite,
            resume_key=key,
            options=options,
        )
        aside.unlink(missing_ok=True)
        if any(path.stat().st_size for path in rejects):
            with aside.open("wb") as file:
                for path in rejects:
                    file.write(path.read_bytes())
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return summary


def _open(work: Path, resume_key: str | None) -> str:
    """Return the key of the spools; work under another key, or under none, starts afresh."""
    name = work / "key"
    if resume_key is None or not name.exists() or name.read_text("utf-8") != resume_key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        name.write_text(resume_key or uuid.uuid4().hex, "utf-8")
    return name.read_text("utf-8")


def _beam() -> Any:
    with part("beam", "Writing a dataset with Beam"):
        import apache_beam
    return apache_beam


def _run(job: Callable[[Any], None], items: list[Any], errors: Path, options: Any) -> None:
    """Run ``job(item)`` on Beam's workers; the PgvError of the first item that had one is raised.

    Errors come back through files: runners wrap what a worker raises, each in its own way.
    """
    beam = _beam()
    shutil.rmtree(errors, ignore_errors=True)
    errors.mkdir(parents=True)
    pipeline = beam.Pipeline(options=options) if options else beam.Pipeline(runner="FnApiRunner")
    with pipeline:
        (
            pipeline
            | beam.Create(list(enumerate(items)), reshuffle=False)
            | beam.Reshuffle()
            | beam.Map(_guarded, job=job, errors=errors)
        )
    for path in sorted(errors.iterdir()):
        raise PgvError(path.read_text("utf-8"))


def _guarded(item: tuple[int, Any], job: Callable[[Any], None], errors: Path) -> None:
    number, argument = item
    try:
        job(argument)
    except PgvError as error:
        (errors / f"{number:08d}").write_text(str(error), "utf-8")


def _spool(
    item: tuple[Path, T], read: Callable[[T], Iterable[Episode]], source: str, key: str
) -> None:
    """Stage one: the episodes of one input, encoded, in a spool of their own."""
    folder, argument = item
    spool = Spool(folder, key)
    ids: list[str] = []

    def noted() -> Iterator[Episode]:
        for episode in read(argument):
            ids.append(episode.episode_id)
            yield episode

    episodes = noted()
    first = next(episodes, None)
    if first is not None:  # one input may be empty; all of them may not, which the driver sees
        _fill(spool, itertools.chain([first], episodes), source, None)
    (folder / IDS).write_text(json.dumps(ids), "utf-8")


def _read(item: tuple[int, Source, Path], plan: Plan, findings: Findings) -> Iterator[Episode]:
    number, source, rejects = item
    report = Report([source], findings=findings)
    with rejects.open("w", encoding="utf-8") as file:
        yield from Run(plan, report, file, first=number).episodes()


def _check_ids(spools: list[Path]) -> None:
    seen: set[bytes] = set()
    for folder in spools:
        for name in json.loads((folder / IDS).read_text("utf-8")):
            key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16]
            if key in seen:
                raise PgvError(
                    f"Episode id '{name}' occurs in two inputs; ids must differ within a dataset. "
                    "Rename one, or leave the duplicate out."
                )
            seen.add(key)
    if not seen:
        raise PgvError("There are no episodes to write; the input was empty or all was skipped.")


def _copy(item: tuple[Path, list[tuple[Path, list[Entry]]]], key: str) -> None:
    """Stage two: one file of the dataset, from runs of records of one or more spools."""
    path, runs = item
    if path.exists():
        return

    def records() -> Iterator[bytes]:
        for folder, entries in runs:
            spool = Spool(folder, key)
            yield from (spool._record(entry) for entry in entries)

    _write_records(path, records())


class _Parts:
    """The spools of all inputs as ``_finish`` sees one; a part's number says which input, too."""

    def __init__(self, folder: Path, spools: list[Path], key: str):
        self.folder = folder
        self.inputs = spools
        self.key = key

    def entries(self) -> Iterator[Entry]:
        for number, folder in enumerate(self.inputs):
            for entry in Spool(folder, self.key).entries():
                yield entry._replace(part=number * PARTS + entry.part)

    def files(self) -> list[tuple[Path, list[tuple[Path, list[Entry]]]]]:
        """Return every file of the dataset, with the runs of records that make it."""
        built = self.folder / "dataset"
        built.mkdir(exist_ok=True)
        entries = list(self.entries())
        assigned = splits_of(entries).assigned
        out = []
        for split in SPLITS:
            members = [entry for entry in entries if assigned[entry.task_id] == split]
            groups = _groups(members)
            template = tfds.core.ShardedFileTemplate(
                data_dir=built, dataset_name=NAME, split=split, filetype_suffix="array_record"
            )
            for shard, group in enumerate(groups if members else []):
                path = Path(template.sharded_filepath(shard_index=shard, num_shards=len(groups)))
                runs = [
                    (self.inputs[number], [e._replace(part=e.part % PARTS) for e in run])
                    for number, run in itertools.groupby(group, lambda e: e.part // PARTS)
                ]
                out.append((path, runs))
        return out

    def copy(self, entries: list[Entry], path: Path) -> None:
        """Do nothing: stage two has written the file."""
