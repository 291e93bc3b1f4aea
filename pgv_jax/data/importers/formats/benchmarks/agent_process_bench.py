"""AgentProcessBench (arXiv:2603.14465): tool-use conversations with a human label for each step.

``step_labels`` maps the number of an assistant message to 1 (good), 0 (neutral) or -1 (wrong);
``final_label`` says how the whole ended. A label becomes its step's reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pgv_jax.data.importers.base import NO, Detection, Options, Sample, Where
from pgv_jax.data.importers.formats.chats.openai import OpenAIMessages
from pgv_jax.data.storage.jsonl import FieldError, kind_of
from pgv_jax.types import Episode

LABELS = (-1, 0, 1)
OWN = ("query_index", "sample_index", "question", "data_source", "step_labels", "final_label")


class AgentProcessBench(OpenAIMessages):
    """Records of OpenAI messages with ``step_labels`` and ``final_label``."""

    name = "agentprocessbench"
    about = "AgentProcessBench (OpenAI messages, step_labels, final_label)"
    columns: ClassVar[tuple[str, ...]] = ()
    logs_calls = False

    def detect(self, sample: Sample) -> Detection:
        """Sure of records with messages, step_labels and final_label."""
        fitting = [
            record
            for record in sample.objects
            if isinstance(record.get("step_labels"), Mapping)
            and "final_label" in record
            and isinstance(record.get("messages"), list)
        ]
        if not fitting or len(fitting) < len(sample.records):
            return NO
        return Detection(1.0, "the records have messages, step_labels and final_label")

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the one episode of a record; each assistant message's label is its reward."""
        if not isinstance(record, Mapping):
            raise FieldError("record", f"must be an object, not {kind_of(record)}")
        labels, messages = record.get("step_labels"), record.get("messages")
        if not isinstance(labels, Mapping):
            raise FieldError("step_labels", f"must be an object, not {kind_of(labels)}")
        if not isinstance(messages, list):
            raise FieldError("messages", f"must be a list, not {kind_of(messages)}")
        labelled = list(messages)
        for key, label in labels.items():
            at = int(key) if str(key).isdigit() else -1
            if not 0 <= at < len(messages) or messages[at].get("role") != "assistant":
                raise FieldError(f"step_labels.{key}", "is not the number of an assistant message")
            labelled[at] = {**messages[at], "reward": _label(label, f"step_labels.{key}")}
        final = _label(record.get("final_label"), "final_label")
        query, sample = record.get("query_index"), record.get("sample_index")
        told = {
            "messages": labelled,
            "success": final == 1,
            **{key: record[key] for key in OWN if key in record},
        }
        if query is not None:
            told["task_id"] = f"query-{query}"
            if sample is not None:
                told["episode_id"] = f"query-{query}/{sample}"
        return super().episodes(told, where, options)


def _label(value: Any, name: str) -> int:
    if isinstance(value, bool) or value not in LABELS:
        raise FieldError(name, f"is {value!r:.40}; a label is 1, 0 or -1")
    return int(value)
