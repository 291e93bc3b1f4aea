"""Plan-RewardBench: pairs of an agent's conversations, of which one is preferred.

``chosen`` and ``reject`` are attempts at one task: two episodes, a success and a failure.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pgv_jax.data.importers.base import NO, Detection, Options, Sample, Where
from pgv_jax.data.importers.formats.chats.openai import OpenAIMessages
from pgv_jax.data.storage.jsonl import FieldError, kind_of
from pgv_jax.types import Episode

SIDES = {"chosen": True, "reject": False}


class PlanRewardBench(OpenAIMessages):
    """Records with ``query``, ``chosen`` and ``reject``, each of the two with messages."""

    name = "plan-rewardbench"
    about = "Plan-RewardBench pairs (query, chosen.messages, reject.messages)"
    columns: ClassVar[tuple[str, ...]] = ()
    logs_calls = False

    def detect(self, sample: Sample) -> Detection:
        """Sure of records with a query whose chosen and reject are conversations."""
        fitting = [record for record in sample.objects if _is_pair(record)]
        if not fitting or len(fitting) < len(sample.records):
            return NO
        return Detection(1.0, "the records have query, chosen.messages and reject.messages")

    def prompt(self, record: Any, options: Options) -> Any:
        """Pairs have no common prompt."""
        return None

    def episodes(self, record: Any, where: Where, options: Options) -> Iterable[Episode]:
        """Return the preferred attempt and the other one, in this order."""
        if not isinstance(record, Mapping):
            raise FieldError("record", f"must be an object, not {kind_of(record)}")
        pair = str(record.get("uuid") or where.episode_id)
        made: list[Episode] = []
        for side, won in SIDES.items():
            told = record.get(side)
            if not isinstance(told, Mapping) or not isinstance(told.get("messages"), list):
                raise FieldError(side, "must be an object with a list of messages")
            fields = {
                "messages": _openai(told["messages"], side),
                "success": won,
                # One id may stand in several files, with other attempts: the file tells them apart.
                "episode_id": f"{where.episode_id}/{side}",
                "task_id": pair,
                **({"task": record["query"]} if isinstance(record.get("query"), str) else {}),
            }
            made += super().episodes(fields, where, options)
        return made


def _is_pair(record: Mapping[str, Any]) -> bool:
    return "query" in record and all(
        isinstance(record.get(side), Mapping) and isinstance(record[side].get("messages"), list)
        for side in SIDES
    )


def _openai(messages: Sequence[Any], side: str) -> list[dict[str, Any]]:
    """Their roles tool_call and tool_response as OpenAI's; calls in a row are of one message."""
    out: list[dict[str, Any]] = []
    waiting: list[str] = []
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise FieldError(f"{side}.messages[{i}]", f"must be an object, not {kind_of(message)}")
        role, content = message.get("role"), message.get("content")
        if role == "tool_call":
            call: dict[str, Any] = {
                "id": f"call-{i}",
                "type": "function",
                "function": _call(content),
            }
            if out and out[-1].get("tool_calls"):
                out[-1]["tool_calls"].append(call)
            else:
                waiting = []
                out.append({"role": "assistant", "content": "", "tool_calls": [call]})
            waiting.append(call["id"])
        elif role == "tool_response":
            answered = {"tool_call_id": waiting.pop(0)} if waiting else {}
            out.append({"role": "tool", "content": content, **answered})
        else:
            out.append(dict(message))
    return out


def _call(content: Any) -> dict[str, Any]:
    """Name and arguments of a call, which is a Python dict in words; else its text as it is."""
    try:
        told = ast.literal_eval(content) if isinstance(content, str) else content
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        told = None
    if not isinstance(told, Mapping) or not isinstance(told.get("name"), str):
        return {"name": "call", "arguments": content if isinstance(content, str) else "{}"}
    arguments = told.get("arguments", "{}")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)
    return {"name": told["name"], "arguments": text}
