"""Anthropic messages: content blocks with thinking, tool_use and tool_result."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.fields import Logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter


class AnthropicMessages(ConversationImporter):
    """Records with messages whose content is a list of blocks; ``system`` may stand beside."""

    name = "anthropic"
    about = "Anthropic messages (content blocks: thinking, tool_use, tool_result)"

    def evidence(self, found: Logged) -> str:
        """Name the blocks."""
        return "the messages' content has blocks of type tool_use, tool_result or thinking"
