"""Logs that come with the package: ``sample:NAME`` stands wherever a log or a dataset is named."""

from __future__ import annotations

import os
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from pgv_jax.errors import PgvError
from pgv_jax.files import sha256_of

PREFIX = "sample:"


class Sample(NamedTuple):
    """A file of ``pgv_jax/data/logs``, and what a dataset that is made of it says."""

    file: str
    source: str
    licence: str


SAMPLES = {
    "smollm2-cooking": Sample(
        "smollm2-cooking.jsonl.gz",
        "SmolLM2-135M-Instruct on generated TextWorld games: pgv rollout textworld/local "
        "strategy=react random=0.4 task.split=train task.repeats=5",
        "Apache-2.0",
    )
}
"""Name -> the log; docs/importing.md says how each was made."""


def sample_of(path: Path | str) -> Sample | None:
    """The sample that a path names; None where it is a path."""
    prefix, named, name = str(path).partition(PREFIX)
    if prefix or not named:
        return None
    if name not in SAMPLES:
        known = ", ".join(f"{PREFIX}{known}" for known in SAMPLES)
        raise PgvError(f"There is no log '{path}' in the package; it has {known}.")
    return SAMPLES[name]


def log_path(path: Path | str) -> Path:
    """Where a log is: of a sample its file in the package, else ``path`` itself."""
    sample = sample_of(path)
    if sample is None:
        return Path(path)
    return Path(str(files("pgv_jax.data").joinpath(f"logs/{sample.file}")))


def dataset_path(path: Path | str) -> Path:
    """Where a dataset is: a sample is written into the user's cache folder when it is first named.

    Its embeddings stay beside it, as with any dataset. Of commands that name it at the same time
    each writes a whole one, and the first stays.
    """
    sample = sample_of(path)
    if sample is None:
        return Path(path)
    from pgv_jax.data.episodes import is_dataset, write_dataset
    from pgv_jax.data.storage.jsonl import read_jsonl

    log = log_path(path)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = (
        f"{sample.file.partition('.')[0]}-{sha256_of(log)[:8]}"  # another version, another folder
    )
    folder = home / "pgv_jax" / "samples" / name
    if is_dataset(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        written = Path(work) / name
        write_dataset(written, read_jsonl(log), source=sample.source, licence=sample.licence)
        try:
            written.rename(folder)
        except OSError:
            if not is_dataset(folder):
                raise
    return folder
