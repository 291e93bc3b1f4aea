"""Chat messages with a role and a content: OpenAI's, and every dialect that is like them."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.importer import ConversationImporter


class OpenAIMessages(ConversationImporter):
    """Records with chat messages, proxy logs of calls, or files that are lists of messages."""

    name = "openai"
    about = "chat messages with roles (JSONL, JSON, tables, proxy logs; any column)"
