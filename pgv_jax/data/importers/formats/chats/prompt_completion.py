"""Prompt and completion in two columns, as text or as messages: TRL, verifiers."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.fields import Logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter


class PromptCompletion(ConversationImporter):
    """Records with ``prompt`` and ``completion`` (or ``response``)."""

    name = "prompt-completion"
    about = "prompt and completion columns (TRL, verifiers rollouts)"

    def evidence(self, found: Logged) -> str:
        """Name the columns."""
        return f"'{found.column}' stands beside its completion"
