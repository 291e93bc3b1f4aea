"""The JSON schemas that the answers of a refinement are held to, as ``response_format``s.

``length``: most characters of a sentence, for servers that know ``maxLength``; 0: no limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgv_jax.llm.client import object_schema


def goals_form(count: int, length: int = 0) -> dict[str, Any]:
    """``count`` good and as many bad sentences (``imagined_goals.parse_goals``)."""
    each = _list(_sentence(length), count)
    return object_schema("goals", {"positive": each, "negative": each})


def refinement_form(length: int = 0) -> dict[str, Any]:
    """A decision and a thought (``value_words.parse_refinement``)."""
    decision = {"type": "string", "enum": ["keep", "rewrite"]}
    return object_schema("refinement", {"decision": decision, "thought": _sentence(length)})


def action_form(actions: Sequence[str]) -> dict[str, Any]:
    """One of the actions; any text where none are listed."""
    listed = {"enum": list(actions)} if actions else {}
    return object_schema("action", {"action": {"type": "string", **listed}})


def guess_form(count: int) -> dict[str, Any]:
    """``count`` probabilities (``value_words.parse_guess``)."""
    return object_schema("guess", {"probabilities": _list({"type": "number"}, count)})


def _sentence(length: int) -> dict[str, Any]:
    return {"type": "string", **({"maxLength": length} if length else {})}


def _list(of: dict[str, Any], count: int) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": count, "maxItems": count}
