"""Our own Episodes JSONL, as an importer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgv_jax.data.importers.base import NO, Detection, Options, RecordImporter, Sample, Where
from pgv_jax.data.storage.jsonl import episode_from_json
from pgv_jax.types import Episode


class EpisodesJSONL(RecordImporter):
    """One episode a line, as ``pgv_jax.data.storage.jsonl`` writes it."""

    name = "episodes"
    about = "Episodes JSONL, the format of pgv_jax (docs/importing.md)"

    def detect(self, sample: Sample) -> Detection:
        """Sure of records with episode_id, task_id and steps."""
        fitting = [r for r in sample.objects if {"episode_id", "task_id", "steps"} <= set(r)]
        if not fitting:
            return NO
        return Detection(1.0, "the records have episode_id, task_id and steps")

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record."""
        return [episode_from_json(record)]
