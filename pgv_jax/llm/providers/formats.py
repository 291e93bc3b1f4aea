"""What the vendors' requests and replies have in common."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ClientOptions
from pgv_jax.llm.client import Request
from pgv_jax.llm.failures import GarbledReply
from pgv_jax.parts import part


def vendor_library(module: str, extra: str) -> Any:
    """The vendor's library, or how to install it."""
    try:
        with part(extra, f"A model of {extra}"):
            return importlib.import_module(module)
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError) as error:  # a wheel for another machine, a library that lacks
        raise PgvError(
            f"{module} is installed but cannot be loaded ({' '.join(str(error).split())[:200]}); "
            "install it anew, in a version for this machine."
        ) from None


def body_of(body: dict[str, Any], options: ClientOptions) -> dict[str, Any]:
    """A request's body without what the model does not take, with what the options add."""
    return {k: v for k, v in body.items() if k not in options.omit} | dict(options.extra)


def json_object(response: Any) -> Mapping[str, Any]:
    """The JSON object of a response of an httpx-like client."""
    try:
        reply = json.loads(response.content)  # UTF-8; .text would look for the character set
    except (ValueError, RecursionError):  # the latter: nested a thousand deep and more
        raise GarbledReply(response.text or "an empty body") from None
    if not isinstance(reply, dict):
        raise GarbledReply(response.text)
    return reply


def objects_of(reply: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list in a reply, where it is there; raises where it is no list."""
    values = reply.get(name) or []
    if not isinstance(values, list):
        raise GarbledReply(f"{name}: {str(values)[:80]}")
    return [value for value in values if isinstance(value, Mapping)]


def word_of(value: Any) -> str | None:
    """A word of a reply, such as why a text ends; None where a server sends something else."""
    return value if isinstance(value, str) else None


def usage_of(usage: Any, prompt: str, completion: str) -> tuple[int, int] | None:
    """(prompt, completion) tokens under the vendor's names of them, where both are told."""
    if not isinstance(usage, Mapping):
        return None
    read, written = usage.get(prompt), usage.get(completion)
    if type(read) is int and type(written) is int:  # True is an int, too
        return read, written
    return None


def text_of(content: Any) -> str:
    """Text of a message whose content is a string, a list of parts, or null."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    return ""


def split_system(request: Request) -> tuple[str, list[dict[str, Any]]]:
    """The system text, and the messages without it, for vendors that take it apart."""
    system = [text_of(m["content"]) for m in request.messages if m["role"] == "system"]
    return "\n\n".join(system), [dict(m) for m in request.messages if m["role"] != "system"]


def calling(text: str, calls: Sequence[tuple[str, str, Any]], raw: Any) -> dict[str, Any]:
    """A vendor's answer that calls tools, as an OpenAI message that keeps it under ``raw``.

    ``calls``: id, name and arguments of each.
    """
    return {
        "role": "assistant",
        "content": text or None,
        "tool_calls": [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(found, ensure_ascii=False)},
            }
            for call_id, name, found in calls
        ],
        "raw": raw,
    }


def calls_in(message: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Id, name and arguments of each call of an OpenAI message."""
    return [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"] or "{}"))
        for call in message.get("tool_calls") or ()
    ]


def tool_sentence(model: str) -> str:
    """Why an answer of tool calls is none."""
    return f"'{model}' answered with tool calls where text was expected; offer it no tools."


def length_sentence(model: str) -> str:
    """Why an answer that was cut off before any text is none."""
    return (
        f"'{model}' used up max_tokens before any text; raise max_tokens or shorten its thinking."
    )
