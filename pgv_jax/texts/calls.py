"""Tool calls as text: what an agent's action is where it calls tools, and back again.

Importers write logged calls so, and rollouts write played ones so: a critic reads one form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_CALL = re.compile(r"([\w.:/-]+)\((.*)\)", re.DOTALL)


def call_text(name: str, arguments: Any) -> str:
    """Canonical text of a call: ``name({"a": 1, "b": "x"})``, keys sorted.

    ``arguments``: an object, None for none, or the text that a model wrote where it is no JSON.
    """
    if isinstance(arguments, str):
        return f"{name}({arguments})"
    arguments = {} if arguments is None else arguments
    return f"{name}({json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)})"


def read_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of a call as ``call_text`` writes it; None for other text."""
    found = _CALL.fullmatch(text.strip())
    if found is None:
        return None
    try:
        arguments = json.loads(found[2] or "{}")
    except (ValueError, RecursionError):
        return None
    return (found[1], arguments) if isinstance(arguments, dict) else None


def call_words(name: str, arguments: Any) -> str:
    """A call as a sentence: ``Call get_user with id mia, day Monday.``"""
    if not isinstance(arguments, Mapping) or not arguments:
        said = arguments if isinstance(arguments, str) else ""
        return f"Call {name}{f' with {said}' if said else ''}."
    pairs = ", ".join(
        f"{key} {value if isinstance(value, str) else _dumped(value)}"
        for key, value in arguments.items()
    )
    return f"Call {name} with {pairs}."


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
