"""Helpers: records to files, files to episodes, with the values that tests state."""

import json
from pathlib import Path
from typing import Any

from pgv_jax.data.episodes import read_episodes
from pgv_jax.data.importers.base import BadRecord, Options
from pgv_jax.data.importers.detection import detect, importer_of
from pgv_jax.data.importers.pipeline import Plan, Report, run_import
from pgv_jax.types import Episode


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path, name: str = "auto", **options: Any) -> list[Episode]:
    """The episodes of a file by itself, before anything is learned from the whole log."""
    importer = detect(path).importer if name == "auto" else importer_of(name)
    found = list(importer.read(path, Options(**options)))
    assert not [str(bad) for bad in found if isinstance(bad, BadRecord)]
    return found


def imported(*paths: Path, **plan: Any) -> tuple[list[Episode], Report]:
    """The episodes of a dataset made from files, by id, and the report."""
    out = paths[0].parent / "dataset"
    report = run_import(Plan(tuple(paths), out, overwrite=True, **plan))
    return sorted(read_episodes(out), key=lambda e: e.episode_id), report


def rows(episode: Episode) -> list[tuple[str, str, str]]:
    """(observation, thought, action) of every step."""
    return [(s.observation, s.thought, s.action) for s in episode.steps]


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    """A record of messages; a content is the user's and the assistant's in turn."""
    roles = ("user", "assistant")
    told = [
        m if isinstance(m, dict) else {"role": roles[i % 2], "content": m}
        for i, m in enumerate(messages)
    ]
    return {"messages": told, **fields}
