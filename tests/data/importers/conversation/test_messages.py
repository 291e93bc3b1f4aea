"""Messages as turns: the plain ones, which are read on a short way, and those that only look so."""

from __future__ import annotations

import pytest

from pgv_jax.data.importers.conversation.messages import turns_of
from pgv_jax.data.importers.conversation.turns import Turn
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import FieldError

SAID = {"role": "assistant", "content": "I go."}


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        (SAID, {}),
        ({**SAID, "refusal": None, "annotations": [], "tool_calls": None, "audio": None}, {}),
        ({**SAID, "loss": False}, {"context": True}),
        ({**SAID, "reasoning_content": "Why."}, {"reasoning": "Why."}),
        ({**SAID, "usage": {"prompt_tokens": 3}}, {"usage": {"prompt_tokens": 3}}),
        ({**SAID, "reward": 0}, {"reward": 0.0}),
        ({**SAID, "id": "m1"}, {"source": "m1"}),
        ({**SAID, "type": "message"}, {"item": True}),
        ({**SAID, "content": "", "refusal": "No."}, {"text": "No."}),
        ({**SAID, "content": "", "refusal": None}, {"text": ""}),
    ],
)
def test_a_message_of_the_agent(message, facts):
    plain = {"text": "I go.", "raws": (message,)}
    assert turns_of([message], "messages", Tally()) == [Turn("assistant", **{**plain, **facts})]


@pytest.mark.parametrize("role", ["user", "system"])
def test_a_message_to_the_agent(role):
    message = {"role": role, "content": "Go.", "name": None}
    assert turns_of([message], "messages", Tally()) == [Turn(role, "Go.", (message,))]


def test_half_a_character_is_named():
    with pytest.raises(FieldError, match=r"messages\[0\]\.content"):
        turns_of([{"role": "user", "content": "\ud83d"}], "messages", Tally())
