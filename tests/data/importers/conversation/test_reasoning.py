"""Reasoning is told from actions, in whatever way a model or a harness marks it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.conversation.reasoning import speaks_in_fences, split_thought
from pgv_jax.data.thought_origin import thought_origin
from pgv_jax.types import Step

from ..reading import chat, jsonl, read, rows


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        # tags
        ("<think>h</think>a", "h", "a"),
        ("<THINKING>h</THINKING>\n\na", "h", "a"),
        ("h.\n</think>\n\na", "h.", "a"),
        ("<think>one</think>look<think>two</think>\ngo", "one\ntwo", "look\n\ngo"),
        ("<think>cut off", "cut off", ""),
        ("go\n<think>cut off", "cut off", "go"),
        ("<think>\n</think>\na", "", "a"),
        ("<reasoning>h</reasoning><answer>a</answer>", "h", "a"),
        ("[THINK]h[/THINK]a", "h", "a"),
        ("<|channel|>analysis<|message|>h<|end|><|start|>assistant<|channel|>final<|message|>a",
         "h", "a"),
        ("<|channel|>analysis<|message|>h<|end|><|start|>assistant<|channel|>commentary "
         'to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>', "h", 'f({"a": 1})'),
        ("<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.f"
         '<|channel|>commentary json<|message|>{"a": 1}<|call|>', "", 'I look.\nf({"a": 1})'),
        # labels
        ("Thought: h\nAction: a", "h", "a"),
        ("Thought 2: h\ni\nAction 2: a\nb", "h\ni", "a\nb"),
        ("**Thought:** h\n\n**Action:** a", "h", "a"),
        ("**Thought**: h\n**Action**: a", "h", "a"),
        ("### Thought\nh\n### Action: a", "h", "a"),
        ("### Reasoning\nh\n\n### Action\na", "h", "a"),
        ("**Thought**\nh\n**Action**\na b", "h", "a b"),
        ("- Thought: h\n- Action: a", "h", "a"),
        ("Reasoning: h\nAction: a", "h", "a"),
        ("h\nAction: a", "h", "a"),  # a prompt that ended with "Thought:"
        ("Action: a", "", "a"),
        ("Thought: h", "h", ""),
        ("Thought: h\nAction: f\nAction Input: {}", "h", "f\nAction Input: {}"),
        ("Thought: h\nAction:\n```json\n{}\n```", "h", "{}"),
        ("<think>g</think>Thought: h\nAction: a", "g\nh", "a"),
        # one JSON object
        ('{"thought": "h", "action": "a"}', "h", "a"),
        ('```json\n{"reasoning": "h", "tool": "f", "args": {"x": 1}}\n```',
         "h", '{"tool": "f", "args": {"x": 1}}'),
        ('{"thoughts": {"text": "h", "plan": ["i", "j"]}, "command": "a"}', "h\ni\nj", "a"),
        ('{"thought": "", "action": "a"}', "", '{"thought": "", "action": "a"}'),
        ('{"reasoning": "h", "rows": [1]}', "", '{"reasoning": "h", "rows": [1]}'),
        ('{"action": "a"}', "", '{"action": "a"}'),
        ('{"thought": "h", "action": ', "", '{"thought": "h", "action": '),
        # prose before a command
        ("THOUGHT: h\n\n```bash\nls -la\n```", "h", "ls -la"),
        ("h\n```mswea_bash_command\nls\n```", "h", "ls"),
        ("DISCUSSION\nh\n```\nls\n```", "h", "ls"),
        ("h\n<tool_call>{}</tool_call>", "h", "<tool_call>{}</tool_call>"),
        ("h\n<function=ls>\n<parameter=p>.</parameter>\n</function>",
         "h", "<function=ls>\n<parameter=p>.</parameter>\n</function>"),
        # no reasoning
        ("a", "", "a"),
        (" a ", "", " a "),
        ("use the <thinking> tag? no", "", "use the <thinking> tag? no"),
        ("close it with `</think>`", "", "close it with `</think>`"),
        ("Here:\n```python\nx = 1\n```", "", "Here:\n```python\nx = 1\n```"),
        ("Run\n```sh\nls\n```\nand\n```sh\npwd\n```",
         "", "Run\n```sh\nls\n```\nand\n```sh\npwd\n```"),
        ("Action: a\nObservation: o\nAction: b", "", "Action: a\nObservation: o\nAction: b"),
        ("<tool_call>{}</tool_call>", "", "<tool_call>{}</tool_call>"),
        ("I note: it is fine", "", "I note: it is fine"),
        ("Reason: the trial ended", "", "Reason: the trial ended"),
    ],
)  # fmt: skip
def test_split_thought(text: str, thought: str, rest: str) -> None:
    assert tuple(split_thought(text)) == (thought, rest)


MARKS = [
    "<think>",
    "</think>",
    "Thought:",
    "Action:",
    "```bash\n",
    "\n```",
    "\n",
    "a",
    "<tool_call>",
]


@given(st.lists(st.sampled_from(MARKS), max_size=8).map("".join))
def test_no_word_is_lost(text: str) -> None:
    thought, rest = split_thought(text)
    assert (thought + rest).count("a") == text.count("a") or "Thought:" in text or "Action:" in text


def test_an_agent_that_always_ends_with_one_block_speaks_in_commands(tmp_path: Path) -> None:
    said = ["I look.\n```\nls\n```", "I edit.\n```python\nx = 1\n```", "Done."]
    assert speaks_in_fences(said) and not speaks_in_fences(["Here:\n```\nx\n```", "Yes.", "No."])
    path = jsonl(tmp_path / "x.jsonl", chat("Fix it", said[0], "a.py", said[1], "ok", said[2]))
    assert rows(read(path)[0]) == [
        ("Fix it", "I look.", "ls"),
        ("a.py", "I edit.", "x = 1"),
        ("ok", "Done.", "Done."),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "h"},
        {"reasoning": "h"},
        {"reasoning_content": [{"type": "text", "text": "h"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "h"}]},
        {"tool_plan": "h"},  # Cohere
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "h"}]},
        {"reasoning": {"summary": [{"type": "summary_text", "text": "h"}]}},
        {"thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": "s"}]},
        {"additional_kwargs": {"reasoning_content": "h"}},
        {"content": [{"type": "thinking", "thinking": "h"}, {"type": "text", "text": "a"}]},
    ],
)
def test_reasoning_beside_the_content(tmp_path: Path, fields: dict[str, Any]) -> None:
    answer = {"role": "assistant", "content": "a", **fields}
    assert rows(read(jsonl(tmp_path / "x.jsonl", chat("T", answer)))[0]) == [("T", "h", "a")]


CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
THINKING = {"type": "thinking", "thinking": "h"}
ANSWER = {"role": "tool", "tool_call_id": "t", "content": "r"}


def said(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **fields}


@pytest.mark.parametrize(
    ("pieces", "thought"),
    [
        ([said(reasoning_content="h"), said(tool_calls=[CALL])], "h"),
        ([said(content="h"), said(tool_calls=[CALL])], "h"),
        ([said(content=[THINKING]), said(content="w"), said(content=[USE])], "h"),
        ([said(tool_calls=[CALL]), said(content="h")], "h"),  # its call is open: the turn goes on
    ],
)  # fmt: skip
def test_a_turn_in_several_pieces_is_one_step(
    tmp_path: Path, pieces: list[dict[str, Any]], thought: str
) -> None:
    record = {"messages": [{"role": "user", "content": "T"}, *pieces, ANSWER, said(content="end")]}
    (episode,) = read(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("T", thought, "f({})"), ("r", "end", "end")]
    assert [m for s in episode.steps for m in s.metadata["messages"]] == record["messages"]


def test_two_calls_in_two_pieces_are_one_step_and_two_utterances_are_two(tmp_path: Path) -> None:
    other = {"id": "u", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    results = [{"role": "tool", "tool_call_id": k, "content": f"r{k}"} for k in "ut"]
    calls = [said(tool_calls=[CALL]), said(tool_calls=[other])]
    asked = {"role": "user", "content": "T"}
    parallel, apart = read(
        jsonl(
            tmp_path / "x.jsonl",
            {"messages": [asked, *calls, *results, said(content="end")]},
            {"messages": [asked, said(content="go north"), said(content="take lamp")]},
        )
    )
    assert [s.action for s in parallel.steps] == ["f({})\ng({})", "end"]
    assert parallel.steps[1].observation == "rt\n\nru"
    assert [s.action for s in apart.steps] == ["go north", "take lamp"]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step("o", "h", "a"), "given"),
        (Step("o", "a", "a"), "action"),
        (Step("o", " ", "a"), "none"),
        (Step("o", "o", "a"), "repeated"),
        (Step("o", "the task", "a"), "repeated"),
        (Step("o", "a", "a", metadata={"thought_from": "words"}), "words"),
    ],
)
def test_where_a_thought_is_from(step: Step, expected: str) -> None:
    assert thought_origin(step, "the task") == expected
