"""OpenAI's Responses API: ``input`` and ``output`` of items instead of messages."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.columns import Logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter


class Responses(ConversationImporter):
    """Records with items: message, reasoning, function_call, function_call_output, ..."""

    name = "responses"
    about = "OpenAI Responses items (input and output, or a list of items)"

    def evidence(self, found: Logged) -> str:
        """Name the kinds of items."""
        kinds = {str(item.get("type", "message")) for item in found.conversation}
        return f"items of the Responses API: {', '.join(sorted(kinds))}"
