"""Gemini contents: the roles user and model, and parts with functionCall and functionResponse."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.fields import Logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter


class Gemini(ConversationImporter):
    """Records with ``contents`` (and ``systemInstruction``), or requests with their candidates."""

    name = "gemini"
    about = "Gemini contents with parts (also Vertex AI's tuning files)"

    def evidence(self, found: Logged) -> str:
        """Name the column and the keys."""
        return f"'{found.column}' holds contents with parts"
