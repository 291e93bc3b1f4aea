"""Anthropic messages: content blocks with thinking, tool_use and tool_result."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.dialects import has_blocks
from pgv_jax.data.importers.conversation.fields import Logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter


class AnthropicMessages(ConversationImporter):
    """Records with messages whose content is a list of blocks; ``system`` may stand beside."""

    name = "anthropic"
    about = "Anthropic messages (content blocks: thinking, tool_use, tool_result)"

    def evidence(self, found: Logged) -> str:
        """Name the blocks, or the form of the response."""
        if not has_blocks(found.conversation):
            return "an answer with a stop_reason, as the Messages API gives it"
        return "the messages' content has blocks of type tool_use, tool_result or thinking"
