"""Inspect logs (``.eval`` and JSON) with scores, through inspect-ai's own reader (an extra)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgv_jax.data.importers.base import (
    NO,
    BadRecord,
    Detection,
    Importer,
    Options,
    Sample,
    Where,
    guarded,
)
from pgv_jax.data.importers.conversation.messages import turns_of
from pgv_jax.data.importers.conversation.steps import episode_of
from pgv_jax.data.importers.files.records import Record
from pgv_jax.data.importers.outcomes.outcome import number, tristate
from pgv_jax.errors import PgvError
from pgv_jax.parts import part
from pgv_jax.types import Episode

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's letters for correct, partial, incorrect, no answer."""


class InspectLog(Importer):
    """One sample is one episode; the first scorer (or ``--column score=NAME``) is the outcome."""

    name = "inspect"
    about = "Inspect .eval or JSON logs (needs the extra: pip install 'pgv-jax[inspect]')"
    columns = ("score",)

    def detect(self, sample: Sample) -> Detection:
        """Sure of a zip with header.json and of JSON with eval, status and samples."""
        if sample.kind == "zip":
            try:
                names = zipfile.ZipFile(sample.path).namelist()
            except (OSError, zipfile.BadZipFile):
                return NO
            if any(n in ("header.json", "_journal/start.json") for n in names):
                return Detection(1.0, "a zip with an Inspect header.json")
        for record in sample.objects:
            if {"eval", "status", "version"} <= set(record):
                return Detection(1.0, "a JSON log with eval, status and version")
        return NO

    def read(self, path: Path, options: Options) -> Iterator[Episode | BadRecord]:
        """Yield an episode a sample, one sample in memory."""
        for index, sample in enumerate(_samples(path)):
            where = Where(path, index + 1, index)
            made = lambda s=sample, w=where: [_episode(s, w, options)]  # noqa: E731
            yield from guarded(made, Record(str(sample.get("id")), index + 1), where, options)


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    with part("inspect", f"Reading the Inspect log {path}"):
        from inspect_ai.log import read_eval_log, read_eval_log_samples
    try:
        header = read_eval_log(path, header_only=True)
        if header.eval.dataset.sample_ids:
            samples = read_eval_log_samples(
                path, all_samples_required=False, resolve_attachments=True
            )
        else:  # an older log has no index of its samples: it is read whole
            samples = iter(read_eval_log(path, resolve_attachments=True).samples or ())
        for sample in samples:
            yield sample.model_dump(mode="json", exclude={"events", "events_data", "attachments"})
    except Exception as error:  # zip, zstd, pydantic: the reader raises many kinds
        raise PgvError(
            f"{path} cannot be read by inspect-ai ({type(error).__name__}: {str(error)[:120]})."
        ) from error


def as_openai(message: Mapping[str, Any]) -> dict[str, Any]:
    """An Inspect message as an OpenAI message; nothing that either format has is dropped."""
    out: dict[str, Any] = {
        key: value
        for key, value in message.items()
        if value is not None and key not in ("tool_calls", "content")
    }
    out["content"] = message.get("content")
    if message.get("tool_calls"):
        out["tool_calls"] = [
            {
                "id": call.get("id"),
                "type": "function",
                "function": {
                    "name": call["function"],
                    "arguments": json.dumps(call.get("arguments")),
                },
            }
            for call in message["tool_calls"]
        ]
    return out


def _outcome(sample: Mapping[str, Any], options: Options) -> dict[str, Any]:
    scores = sample.get("scores") or {}
    name = options.columns.get("score") or next(iter(scores), None)
    if name is None or name not in scores:
        return {}
    value = scores[name].get("value")
    if isinstance(value, Mapping):
        value = next(iter(value.values()), None)
    if isinstance(value, str) and value in GRADES:
        value = GRADES[value]
    found = number(value)
    return {"success": tristate(value)} if found is None else {"reward": found}


def _episode(sample: Mapping[str, Any], where: Where, options: Options) -> Episode:
    messages = [as_openai(message) for message in sample.get("messages") or ()]
    found = turns_of(messages, "messages", options.tally)
    record = {
        "task_id": str(sample.get("id")),
        "episode_id": f"{where.path.name.split('.')[0]}:{sample.get('id')}:{sample.get('epoch')}",
        **_outcome(sample, options),
        "truncated": sample.get("limit") is not None,
        **{k: sample.get(k) for k in ("target", "scores", "metadata", "error", "model_usage")},
    }
    return episode_of(found, record, where, options, message_format="openai")
