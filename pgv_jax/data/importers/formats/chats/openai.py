"""Chat messages with a role and a content: OpenAI's, and every dialect that is like them."""

from __future__ import annotations

from collections.abc import Mapping

from pgv_jax.data.importers.base import Detection, Sample
from pgv_jax.data.importers.conversation.fields import parsed
from pgv_jax.data.importers.conversation.importer import ConversationImporter
from pgv_jax.data.importers.conversation.messages import looks_like_message


class OpenAIMessages(ConversationImporter):
    """Records with chat messages, proxy logs of calls, or files that are lists of messages."""

    name = "openai"
    about = "chat messages with roles (JSONL, JSON, tables, proxy logs; any column)"

    def detect(self, sample: Sample) -> Detection:
        """As every dialect; where there is no conversation, what stands in its place."""
        found = super().detect(sample)
        return found if found.confidence or not sample.objects else Detection(0.0, _why_not(sample))


def _why_not(sample: Sample) -> str:
    for name, raw in sample.objects[0].items():
        value = parsed(raw)
        if not isinstance(value, list) or not any(isinstance(m, Mapping) for m in value):
            continue
        for i, message in enumerate(value):
            if not isinstance(message, Mapping):
                return f"'{name}[{i}]' is no object"
            if not looks_like_message(message):
                speaker = message.get("role", message.get("type", message.get("from")))
                keys = ", ".join(map(str, message))[:80]
                who = f"the speaker {speaker!r:.40}" if speaker is not None else "no speaker"
                return f"'{name}[{i}]' has {who} (its keys are {keys})"
    return "no column is a list of messages"
