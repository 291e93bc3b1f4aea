"""What a message is made of: words, reasoning, calls and results; and how they are told in JSON."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgv_jax.data.storage.jsonl import text_field


class Text(NamedTuple):
    """Words."""

    text: str


class Reasoning(NamedTuple):
    """Words that only the agent saw."""

    text: str


class Call(NamedTuple):
    """A tool call; ``arguments`` as an object where they parse, else as the text they were."""

    name: str
    arguments: Any
    id: str = ""


class Result(NamedTuple):
    """What a tool answered, and to which call."""

    text: str
    call_id: str = ""


Piece = Text | Reasoning | Call | Result
Part = Mapping[str, Any]

REASONING: tuple[str, ...] = ("thinking", "reasoning", "reasoning_text", "reasoning_content")
NAME_KEYS = ("name", "tool_name", "toolName", "function_name", "functionName", "tool")
ARGUMENT_KEYS: tuple[str, ...] = ("arguments", "args", "input", "parameters", "params")
ARGUMENT_KEYS += ("tool_input", "toolInput", "action_input")
WRAPPED_CALLS = ("function", "custom", "toolInvocation", "function_call", "functionCall")
ID_KEYS: tuple[str, ...] = ("call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id")
ID_KEYS += ("source_call_id", "id")
DATA_URI = re.compile(r"data:(image|audio|video|application)/[\w.+-]+;base64,[A-Za-z0-9+/=]{64,}")
HIDDEN = ("encrypted_content", "encrypted_reasoning", "signature", "thoughtSignature")

BYTES = ("data", "blob", "bytes", "base64", "b64_json")
"""Keys under which files stand."""
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def json_text(value: Any) -> str:
    """The JSON text of a value; embedded files are placeholders, sealed fields are left out."""
    text = json.dumps(_shown(value), ensure_ascii=False, default=str)
    return DATA_URI.sub(lambda found: f"[{found.group(1)}]", text)


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): "[file]" if key in BYTES and _is_base64(inner) else _shown(inner)
            for key, inner in value.items()
            if key not in HIDDEN
        }
    if isinstance(value, list | tuple):
        return [_shown(inner) for inner in value]
    return value


def _is_base64(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= 256 and bool(BASE64.fullmatch(value))


def words_of(value: Any) -> str:
    """The words in a text, a list or an object of any dialect of reasoning; "" where none are."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return "\n".join(words for inner in value if (words := words_of(inner)))
    if isinstance(value, Mapping):
        for key in (*REASONING, "text", "reasoningText", "content", "summary", "value"):
            if words := words_of(value.get(key)):
                return words
    return ""


def first_of(part: Part, keys: Sequence[str]) -> Any:
    """The value of the first key that the part has and that is not null."""
    return next((part[key] for key in keys if part.get(key) is not None), None)


def parse_arguments(arguments: Any) -> Any:
    """Tool arguments as an object: logs hold them as JSON *text*; other text stays text.

    No text is no arguments.
    """
    if not isinstance(arguments, str):
        return arguments
    if not arguments.strip():
        return {}
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def literal(text: str) -> Any:
    """A text that is a Python list, dictionary or other literal as that value, else the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return text


def call_of(part: Part, where: str) -> Call | None:
    """A tool call in any dialect, or None where there is no name."""
    inner = first_of(
        part, ("function", "custom", "toolInvocation", "function_call", "functionCall")
    )
    source = inner if isinstance(inner, Mapping) else part
    name = inner if isinstance(inner, str) else first_of(source, NAME_KEYS)
    if not isinstance(name, str) or not name.strip():
        return None
    arguments = first_of(source, ARGUMENT_KEYS)
    number = first_of(part, ID_KEYS) or first_of(source, ID_KEYS)
    number = number if isinstance(number, str | int) else ""
    return Call(text_field(name, f"{where}.name"), parse_arguments(arguments), str(number))
