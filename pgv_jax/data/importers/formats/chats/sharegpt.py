"""ShareGPT and AgentTraj: ``conversations: [{from, value}]``."""

from __future__ import annotations

from dataclasses import replace

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.fields import Logged
from pgv_jax.data.importers.conversation.importer import ConversationImporter
from pgv_jax.data.importers.conversation.turns import Turn


class ShareGPT(ConversationImporter):
    """Records with a list of from/value messages."""

    name = "sharegpt"
    about = "ShareGPT or AgentTraj conversations (from, value)"

    def evidence(self, found: Logged) -> str:
        """Name the column and the keys."""
        return f"'{found.column}' holds messages with from and value"

    def turns(self, found: Logged, options: Options) -> list[Turn]:
        """Return the turns; instructions that were not trained on are context."""
        return _after_instructions(super().turns(found, options))


def _after_instructions(found: list[Turn]) -> list[Turn]:
    """AgentTraj opens with instructions and an untrained "OK." (loss false): both are context."""
    last = max((i for i, turn in enumerate(found) if turn.context), default=-1)
    if last < 0 or not any(t.role == "assistant" and not t.context for t in found[last + 1 :]):
        return found
    return [replace(turn, context=True) if i <= last else turn for i, turn in enumerate(found)]
