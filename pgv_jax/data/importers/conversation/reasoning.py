"""Reasoning told from the action in an agent's words: tags, labels, prose before a command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgv_jax.data.importers.conversation.pieces import json_text, parse_arguments
from pgv_jax.data.storage.jsonl import FieldError, parse_json
from pgv_jax.texts.calls import call_text

TAGS = "think|thinking|thought|thoughts|reasoning|reason|reflection|scratchpad|analysis"
TAGS += "|seed:think|inner_monologue|antthinking"
BLOCK = re.compile(
    rf"<(?P<tag>{TAGS})(?:\s[^<>]*)?>(?P<a>.*?)</(?P=tag)\s*>"
    r"|◁think▷(?P<b>.*?)◁/think▷"
    r"|\[THINK\](?P<c>.*?)\[/THINK\]"
    r"|<\|START_THINKING\|>(?P<d>.*?)<\|END_THINKING\|>"
    r"|<\|begin_of_thought\|>(?P<e>.*?)<\|end_of_thought\|>"
    r"|<\|channel\|>analysis<\|message\|>(?P<f>.*?)(?:<\|end\|>|(?=<\|start\|>)|$)",
    re.S | re.I,
)
OPENED = re.compile(
    rf"^[ \t]*(?:<(?:{TAGS})(?:\s[^<>]*)?>|◁think▷|\[THINK\]|<\|START_THINKING\|>)", re.I | re.M
)
CLOSED = re.compile(
    rf"(?<!`)(?:</(?:{TAGS})\s*>|◁/think▷|\[/THINK\]|<\|END_THINKING\|>)(?!`)", re.I
)
WRAPPING = re.compile(
    r"</?(?:answer|response|output|action|act|command|final)>|<\|(?:begin|end)_of_solution\|>"
    r"|<\|(?:START|END)_(?:RESPONSE|ACTION)\|>|<\|start\|>assistant|<\|(?:end|return|call)\|>"
    r"|<\|channel\|>(?:final|commentary)[^<]*<\|message\|>",
    re.I,
)
"""What stands around the rest once the reasoning is out."""
HARMONY = re.compile(
    r"(?:<\|start\|>assistant)?(?:[ ]to=(?P<a>[\w.-]+))?<\|channel\|>(?:commentary|analysis)"
    r"(?:[ ]to=(?P<b>[\w.-]+))?[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<arguments>.*?)"
    r"(?:<\|call\|>|<\|end\|>|(?=<\|start\|>)|\Z)",
    re.S,
)
"""A message of gpt-oss; one that is addressed to a tool is a call."""
MARK = r"[ \t]*(?:[#>*_-]+[ \t]*)?(?:\*\*|__|\*)?[ \t]*"
END = r"[ \t]*\d*[ \t]*(?:\*\*|__|\*|_)?[ \t]*[:\uff1a][ \t]*(?:\*\*|__|\*|_)?"
THOUGHT_NAMES = r"thoughts?|think|thinking|reasoning|reason|rationale|reflection|discussion"
ACTION_NAMES = r"action|act|command|next action|final answer|tool call"
ALSO_SAID = re.compile(r"reason\b|rationale|reflection|discussion", re.I)
"""Labels that open answers too: they are a thought's where an action follows."""
THOUGHT = re.compile(rf"\A\s*{MARK}(?:{THOUGHT_NAMES}){END}", re.I)
HEADING = re.compile(rf"\A\s*{MARK}(?:{THOUGHT_NAMES})(?:\*\*|__)?[ \t]*\n", re.I)
"""A label on a line of its own: ``DISCUSSION``, ``### Thought``."""
ACTION = re.compile(rf"^{MARK}(?:{ACTION_NAMES}){END}[ \t]*", re.I | re.M)
ACTION_HEADING = re.compile(rf"^{MARK}(?:{ACTION_NAMES})(?:\*\*|__)?[ \t]*\n", re.I | re.M)
BARE_ACTION = re.compile(rf"^{MARK}(?:action|act){END}[ \t]*", re.I | re.M)
"""A prompt that ends with ``Thought:`` leaves words that only have the second label."""
FENCE = re.compile(r"^[ \t]*```[ \t]*([\w.+-]*)[^\n`]*\n(.*?)\n?[ \t]*```[ \t]*$", re.S | re.M)
SHELL = re.compile(
    r"(?:^|_|-)(?:bash|sh|zsh|shell|console|powershell|cmd|terminal|command)(?:$|_|-)"
)
THOUGHT_FIELDS: tuple[str, ...] = ("thought", "thoughts", "reasoning", "rationale", "think")
THOUGHT_FIELDS += ("thinking", "analysis", "chain_of_thought", "reflection")
ACTION_FIELDS: tuple[str, ...] = ("action", "actions", "command", "tool", "tool_name", "tool_call")
ACTION_FIELDS += ("tool_calls", "function", "next_action", "answer", "final_answer")
CALL_TAG = re.compile(
    r"<(tool_call|function_call|tool_use|function|invoke|execute_\w+|action|command|act)"
    r"(?:[= ][^<>]*)?>.*</\1>\s*\Z",
    re.S,
)
"""A call spelled in the words themselves, at their end."""


class Words(NamedTuple):
    """An agent's words: what it thought, and what it did or said."""

    thought: str
    rest: str


def split_thought(text: str, fenced: bool = False) -> Words:
    """Tell the reasoning in an agent's words from the rest; no reasoning gives ("", text).

    Tags first (closed, several, only closed, only opened), then a JSON object with both, labels
    (``Thought: ... Action:``, plain or bold), then prose before a command: a fenced block of a
    shell language, or of any with ``fenced``, or a call in tags.
    """
    thought, rest = _tagged(text)
    inner = _spelled(rest) or _labelled(rest) or _commanded(rest, fenced) or Words("", rest)
    return Words("\n".join(words for words in (thought, inner.thought) if words), inner.rest)


def _tagged(text: str) -> Words:
    if "<" not in text and "[" not in text and "◁" not in text:
        return Words("", text)
    thoughts: list[str] = []

    def take(found: re.Match[str]) -> str:
        body = next((found.group(name) for name in "abcdef" if found.group(name) is not None), "")
        thoughts.append(body.strip())
        return "\n"

    rest = BLOCK.sub(take, text)
    closed = CLOSED.search(rest)
    if closed and not OPENED.search(rest[: closed.start()]):  # the prompt held the opening tag
        thoughts.insert(0, rest[: closed.start()].strip())
        rest = rest[closed.end() :]
    opened = OPENED.search(rest)
    if opened:  # cut off while it thought
        thoughts.append(rest[opened.end() :].strip())
        rest = rest[: opened.start()]
    if not thoughts and "<|channel|>" not in text:
        return Words("", text)
    rest = HARMONY.sub(_called, rest)
    return Words("\n".join(t for t in thoughts if t), _unwrapped(rest))


def _called(found: re.Match[str]) -> str:
    name = found["a"] or found["b"]
    if not name:
        return found[0]
    arguments = parse_arguments(found["arguments"].strip())
    return "\n" + call_text(name.removeprefix("functions."), arguments)


def _unwrapped(rest: str) -> str:
    """The rest without the tags around it, but with those of calls."""
    if CALL_TAG.search(rest) and not re.search(r"</(?:answer|action|act|command)>", rest):
        return rest.strip()
    return re.sub(r"\n{3,}", "\n\n", WRAPPING.sub("", rest)).strip()


def _spelled(text: str) -> Words | None:
    """A message that is one JSON object with fields for the thought and for the action."""
    body = _unfenced(text.strip())
    if not (body.startswith("{") and body.endswith("}")):
        return None
    try:
        told = parse_json(body)
    except FieldError:
        return None
    key = next((k for k in told if str(k).lower() in THOUGHT_FIELDS and told[k]), None)
    rest = {k: value for k, value in told.items() if k != key}
    if key is None or not {str(k).lower() for k in rest} & set(ACTION_FIELDS):
        return None
    only, *more = rest.values()
    action = only if isinstance(only, str) and not more else json_text(rest)
    return Words(_all_words(told[key]), action)


def _all_words(value: Any) -> str:
    """Every word of a thought that is written in fields of its own."""
    if isinstance(value, Mapping):
        return "\n".join(words for inner in value.values() if (words := _all_words(inner)))
    if isinstance(value, list):
        return "\n".join(words for inner in value if (words := _all_words(inner)))
    return value.strip() if isinstance(value, str) else json_text(value)


def _labelled(text: str) -> Words | None:
    label = THOUGHT.match(text) or HEADING.match(text)
    if not label and ":" not in text and "\uff1a" not in text:
        return None
    actions = list((ACTION if label else BARE_ACTION).finditer(text, label.end() if label else 0))
    if not label and len(actions) != 1:
        return None
    start = label.end() if label else 0
    if label and not actions:
        actions = list(ACTION_HEADING.finditer(text, start))
    if not actions:
        inner = _commanded(text[start:], True)
        if not inner and ALSO_SAID.search(text[:start]):
            return None
        return inner or Words(_bare(text[start:]), "")
    said = text[actions[0].end() :].strip()
    thought = _bare(text[start : actions[0].start()])
    return Words(thought, _unfenced(said))


def _bare(text: str) -> str:
    return text.strip().strip("*_").strip()


def _unfenced(text: str) -> str:
    """What a fence encloses, where it encloses everything."""
    if "```" not in text:
        return text
    found = FENCE.fullmatch(text)
    return found.group(2).strip() if found and "```" not in found.group(2) else text


def _commanded(text: str, fenced: bool) -> Words | None:
    """Prose before a command that the message ends with, or None."""
    found = command_fence(text)
    if found is not None and (fenced or SHELL.search(found.group(1).lower())):
        prose = THOUGHT.sub("", text[: found.start()], count=1)
        return Words(_bare(prose), found.group(2).strip())
    call = CALL_TAG.search(text)
    if call and text[: call.start()].strip():
        return Words(text[: call.start()].strip(), text[call.start() :].strip())
    return None


def command_fence(text: str) -> re.Match[str] | None:
    """The one fenced block of a message, if the message ends with it."""
    if "```" not in text:
        return None
    fences = list(FENCE.finditer(text))
    if len(fences) != 1 or text[fences[0].end() :].strip() not in ("", "<end_code>"):
        return None
    return fences[0]


def speaks_in_fences(texts: Sequence[str]) -> bool:
    """True where an agent always writes prose and one fenced block: its commands, not examples."""
    said = [text for text in texts if text.strip()]
    fenced = [text for text in said if command_fence(text)]
    return len(fenced) >= 2 and len(fenced) >= len(said) - 1
