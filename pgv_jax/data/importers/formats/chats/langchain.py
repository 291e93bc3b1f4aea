"""LangChain messages: ``type`` for the role, calls with ``args``, plain, boxed or serialised."""

from __future__ import annotations

from pgv_jax.data.importers.conversation.importer import ConversationImporter


class LangChain(ConversationImporter):
    """Records with messages of type human, ai, tool and system, as LangChain dumps them."""

    name = "langchain"
    about = "LangChain messages (type human, ai, tool; messages_to_dict; dumps)"
