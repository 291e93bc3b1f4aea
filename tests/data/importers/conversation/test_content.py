"""Content in every provider's dialect: known parts are read, unknown ones are told and counted."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgv_jax.data.importers.base import Options
from pgv_jax.data.importers.conversation.content import read_content, result_text
from pgv_jax.data.importers.conversation.pieces import Call, Reasoning, Result, Text, json_text
from pgv_jax.data.importers.detection import importer_of
from pgv_jax.data.importers.tally import Tally
from pgv_jax.errors import PgvError

from ...strategies import json_values
from ..reading import chat, imported, jsonl, read, rows

IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * 9


def pieces(content: Any, data: bool = False) -> list[Any]:
    return read_content(content, "content", Tally(), data)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        # text
        ({"type": "text", "text": "a"}, [Text("a")]),
        ({"type": "output_text", "text": "a", "annotations": []}, [Text("a")]),
        ({"type": "text", "content": "a"}, [Text("a")]),  # OpenTelemetry
        ({"type": "text", "text": {"value": "a", "annotations": []}}, [Text("a")]),  # Assistants
        ({"text": "a"}, [Text("a")]),  # Bedrock, Gemini
        ({"refusal": "no", "type": "refusal"}, [Text("no")]),
        # reasoning
        ({"type": "thinking", "thinking": "h", "signature": "x"}, [Reasoning("h")]),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}, [Reasoning("h")]),
        (
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "h"}]},
            [Reasoning("h")],
        ),
        ({"type": "reasoning", "text": "h"}, [Reasoning("h")]),  # AI SDK
        ({"reasoningContent": {"reasoningText": {"text": "h"}}}, [Reasoning("h")]),  # Bedrock
        ({"text": "h", "thought": True}, [Reasoning("h")]),  # Gemini
        # calls
        (
            {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
            [Call("f", {"a": 1}, "1")],
        ),
        (
            {"type": "tool-call", "toolCallId": "1", "toolName": "f", "args": {"a": 1}},
            [Call("f", {"a": 1}, "1")],
        ),
        (
            {"type": "tool-call", "toolCallId": "1", "toolName": "f", "input": {"a": 1}},
            [Call("f", {"a": 1}, "1")],
        ),
        (
            {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1}}},
            [Call("f", {"a": 1}, "1")],
        ),
        ({"functionCall": {"name": "f", "args": {"a": 1}}}, [Call("f", {"a": 1})]),
        (
            {"type": "function_call", "id": "i", "call_id": "1", "name": "f", "arguments": "{}"},
            [Call("f", {}, "1")],
        ),
        (
            {"type": "tool_call", "id": "1", "name": "f", "arguments": {"a": 1}},
            [Call("f", {"a": 1}, "1")],
        ),
        # results
        ({"type": "tool_result", "tool_use_id": "1", "content": "r"}, [Result("r", "1")]),
        (
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}]},
            [Result("r", "1")],
        ),
        ({"type": "tool-result", "toolCallId": "1", "result": {"n": 3}}, [Result('{"n": 3}', "1")]),
        (
            {"type": "tool-result", "toolCallId": "1", "output": {"type": "text", "value": "r"}},
            [Result("r", "1")],
        ),
        (
            {"type": "tool-result", "toolCallId": "1", "output": {"type": "json", "value": [3]}},
            [Result("[3]", "1")],
        ),
        (
            {"toolResult": {"toolUseId": "1", "content": [{"json": {"n": 3}}], "status": "ok"}},
            [Result('{"n": 3}', "1")],
        ),
        ({"functionResponse": {"name": "f", "response": {"result": "r"}}}, [Result("r")]),
        ({"type": "function_call_output", "call_id": "1", "output": "r"}, [Result("r", "1")]),
        ({"type": "tool_call_response", "id": "1", "response": "r"}, [Result("r", "1")]),
        # a provider's own tools
        (
            {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {"query": "q"}},
            [Call("web_search", {"query": "q"}, "1")],
        ),
        (
            {
                "type": "web_search_tool_result",
                "tool_use_id": "1",
                "content": [
                    {"type": "web_search_result", "title": "t", "encrypted_content": "e"}
                ],
            },
            [Result('{"type": "web_search_result", "title": "t"}', "1")],
        ),
        (
            {"type": "web_search_call", "id": "1", "status": "completed", "action": {"query": "q"}},
            [Call("web_search", {"query": "q"}, "1"), Result("", "1")],
        ),
        (
            {"type": "code_interpreter_call", "id": "1", "code": "1+1", "outputs": [{"logs": "2"}]},
            [Call("code_interpreter", {"code": "1+1"}, "1"), Result('[{"logs": "2"}]', "1")],
        ),
        (
            {"type": "mcp_call", "id": "1", "name": "f", "arguments": "{}", "output": "r"},
            [Call("f", {}, "1"), Result("r", "1")],
        ),
        (
            {
                "type": "tool-invocation",
                "toolInvocation": {
                    "state": "result",
                    "toolCallId": "1",
                    "toolName": "f",
                    "args": {"a": 1},
                    "result": "r",
                },
            },
            [Call("f", {"a": 1}, "1"), Result("r", "1")],
        ),
        (
            {
                "type": "tool-user_lookup",
                "toolCallId": "1",
                "state": "output-available",
                "input": {"a": 1},
                "output": "r",
            },
            [Call("user_lookup", {"a": 1}, "1"), Result("r", "1")],
        ),
        (
            {
                "type": "dynamic-tool",
                "toolName": "f",
                "toolCallId": "1",
                "state": "output-available",
                "input": {"a": 1},
                "output": {"b": 2},
            },
            [Call("f", {"a": 1}, "1"), Result('{"b": 2}', "1")],
        ),
        (
            {"type": "tool-error", "toolCallId": "1", "toolName": "f", "input": {}, "error": "no"},
            [Result("no", "1")],
        ),
        (
            {"type": "tool_result", "tool_use_id": "1", "is_error": False,
             "cache_control": {"type": "ephemeral"}},
            [Result("", "1")],
        ),
        (
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            [Call("code", {"language": "PYTHON", "code": "1"})],
        ),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}, [Result("2")]),
        # placeholders, files, marks
        ({"type": "image_url", "image_url": {"url": IMAGE}}, [Text("[image_url]")]),
        ({"type": "image", "source": {"type": "base64", "data": "x"}}, [Text("[image]")]),
        ({"inlineData": {"mimeType": "image/png", "data": "x"}}, [Text("[image]")]),
        ({"type": "audio", "audio": {"transcript": "hello"}}, [Text("hello")]),
        (
            {"type": "document", "source": {"type": "text", "data": "a page"}},
            [Text("a page")],
        ),
        (
            {"type": "resource", "resource": {"uri": "x", "text": "a page"}},  # MCP
            [Text("a page")],
        ),
        (
            {"type": "resource", "resource": {"uri": "x", "mimeType": "image/png", "blob": "AA"}},
            [Text("[image]")],
        ),
        ({"type": "image-data", "data": "AA", "mediaType": "image/png"}, [Text("[image-data]")]),
        (
            {"citationsContent": {"content": [{"text": "a"}], "citations": [{"title": "t"}]}},
            [Text("a")],
        ),
        ({"type": "step-start"}, []),
        ({"type": "mcp_list_tools", "id": "1", "tools": [{"name": "f"}]}, []),
        ({"type": "tool-approval-request", "approvalId": "2", "toolCallId": "1"}, []),
        ({"type": "source-url", "sourceId": "1", "url": "http://x"}, []),
        ({"cachePoint": {"type": "default"}}, []),
    ],
)  # fmt: skip
def test_a_part_of_any_dialect(part: dict[str, Any], expected: list[Any]) -> None:
    assert pieces([part]) == expected
    assert pieces(part) == expected


@pytest.mark.parametrize(
    "data",
    [
        {"answer": "5"},
        {"text": "a", "price": 3},
        {"type": "image", "name": "x.png", "size": 3},
    ],
)
def test_an_object_that_is_no_part_is_data(data: dict[str, Any]) -> None:
    assert pieces(data) == [Text(json.dumps(data))]
    assert pieces([data]) == [Text(json.dumps([data]))]
    assert pieces([data, {"type": "text", "text": "t"}]) == [Text(json.dumps(data)), Text("t")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, []),
        ("a", [Text("a")]),
        (["a", "b"], [Text("a"), Text("b")]),
        (5, [Text("5")]),
        ([{"id": 1, "price": 30}, {"id": 2, "price": 45}],
         [Text('[{"id": 1, "price": 30}, {"id": 2, "price": 45}]')]),
        ([[1, 2]], [Text("[[1, 2]]")]),
    ],
)  # fmt: skip
def test_content_of_any_shape(content: Any, expected: list[Any]) -> None:
    assert pieces(content) == expected


def test_what_no_importer_knows_stands_as_its_json_text_and_is_counted(tmp_path: Path) -> None:
    odd = {"type": "hologram", "beams": [1, 2]}
    sealed = {"type": "redacted_thinking", "data": "xyz"}
    path = jsonl(
        tmp_path / "x.jsonl",
        chat([odd, {"type": "text", "text": "Look"}, {"type": "image_url"}], "ok"),
        chat("Go", [sealed, {"type": "text", "text": "gone"}]),
    )
    (first, second), report = imported(path)
    assert first.steps[0].observation == '{"type": "hologram", "beams": [1, 2]}\nLook\n[image_url]'
    assert second.steps[0].action == "gone"
    assert report.tally.unread == {"hologram": 1, "redacted_thinking": 1}
    assert report.tally.placeholders == {"image_url": 1}
    assert report.tally.first["redacted_thinking"] == f"{path}:2"
    with pytest.raises(PgvError, match=r"--strict: .*'hologram' \(1\), 'redacted_thinking' \(1\)"):
        imported(path, strict=True)


def test_data_of_a_tool_is_data_whatever_its_types_are(tmp_path: Path) -> None:
    listing = [{"type": "file", "name": "a.txt"}, {"type": "dir", "name": "b"}]
    call = {"id": "c", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    path = jsonl(
        tmp_path / "x.jsonl",
        chat(
            "List",
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": listing},
            {"role": "assistant", "content": "two"},
        ),
    )
    (episode,), report = imported(path)
    assert episode.steps[1].observation == (
        '[{"type": "file", "name": "a.txt"}, {"type": "dir", "name": "b"}]'
    )
    assert not report.tally.unread


def test_a_tool_that_the_provider_runs_cuts_the_message_in_two(tmp_path: Path) -> None:
    content = [
        {"type": "thinking", "thinking": "I search."},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": "It is 4."},
        {"type": "text", "text": "Four."},
    ]  # fmt: skip
    (episode,) = read(jsonl(tmp_path / "x.jsonl", chat("2+2?", content)))
    assert rows(episode) == [
        ("2+2?", "I search.", 'web_search({"query": "q"})'),
        ("It is 4.", "Four.", "Four."),
    ]
    kept = [raw for step in episode.steps for raw in step.metadata["messages"]]
    assert kept == chat("2+2?", content)["messages"]  # each once


def test_tools_of_one_step_were_called_at_once(tmp_path: Path) -> None:
    def tool(name: str, answer: str) -> dict[str, Any]:
        return {"type": f"tool-{name}", "toolCallId": name, "state": "output-available",
                "input": {}, "output": answer}  # fmt: skip

    start = {"type": "step-start"}
    parts = [start, tool("f", "1"), tool("g", "2"), start, tool("h", "3"), start,
             {"type": "text", "text": "end"}]  # fmt: skip
    record = chat("q", {"role": "assistant", "parts": parts})
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", record))
    assert [(s.observation, s.action) for s in episode.steps] == [
        ("q", "f({})\ng({})"),
        ("1\n\n2", "h({})"),
        ("3", "end"),
    ]


@pytest.mark.parametrize("content", ["", "4 degrees"])
def test_parts_say_more_than_the_content_beside_them(tmp_path: Path, content: str) -> None:
    invocation = {"state": "result", "toolCallId": "1", "toolName": "f", "args": {"a": 1},
                  "result": {"c": 4}}  # fmt: skip
    parts = [{"type": "step-start"}, {"type": "tool-invocation", "toolInvocation": invocation}]
    parts += [{"type": "step-start"}, {"type": "text", "text": content}] if content else []
    answer = {"role": "assistant", "content": content, "parts": parts,
              "toolInvocations": [invocation]}  # fmt: skip
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", chat("q", answer, "thanks", "bye")))
    seen = [(s.observation, s.action) for s in episode.steps]
    if content:
        assert seen == [("q", 'f({"a": 1})'), ('{"c": 4}', content), ("thanks", "bye")]
    else:
        assert seen == [("q", 'f({"a": 1})'), ('{"c": 4}\n\nthanks', "bye")]


def test_what_stands_beside_the_content_of_a_message(tmp_path: Path) -> None:
    spoken = {"role": "assistant", "content": None, "audio": {"id": "1", "transcript": "hello"}}
    seen = {"role": "user", "content": "and this?", "images": ["iVBORw0KGgo"]}  # Ollama
    invalid = {"name": "f", "args": '{"a": ', "id": "1", "error": "no JSON"}  # LangChain
    raw = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    called = {"role": "assistant", "content": "", "tool_calls": [], "invalid_tool_calls": [invalid],
              "additional_kwargs": {"tool_calls": [raw]}}  # fmt: skip
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", chat("q", spoken, seen, called)))
    assert [(s.observation, s.action) for s in episode.steps] == [
        ("q", "hello"),
        ("and this?\n[image]", 'f({"a": )'),
    ]
    assert dict(report.tally.placeholders) == {"image": 1}


def test_a_text_that_citations_cut_is_one(tmp_path: Path) -> None:
    cited = {"type": "text", "text": "the page", "citations": [{"cited_text": "x"}]}
    parts = [{"type": "text", "text": "As "}, cited, {"type": "text", "text": ", it rains."}]
    (episode,), _ = imported(jsonl(tmp_path / "x.jsonl", chat("q", parts)))
    assert episode.steps[0].action == "As the page, it rains."
    assert pieces([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]) == [
        Text("a"),
        Text("b"),
    ]


def test_items_beside_a_responses_answer_are_counted(tmp_path: Path) -> None:
    output = [
        {"id": "1", "type": "mcp_list_tools", "server_label": "d", "tools": [{"name": "roll"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "h"}]},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "a"}]},
    ]  # fmt: skip
    record = {"input": [{"role": "user", "content": "q"}], "output": output}
    (episode,), report = imported(jsonl(tmp_path / "x.jsonl", record))
    assert rows(episode) == [("q", "h", "a")]
    assert dict(report.tally.unread) == {"mcp_list_tools": 1}


def test_nulls_that_arrow_filled_in_are_no_arguments(tmp_path: Path) -> None:
    def turn(**arguments: Any) -> dict[str, Any]:
        call = {"id": "1", "function": {"name": "f", "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    asked = {"role": "user", "content": "T", "tool_calls": None}
    filled = jsonl(tmp_path / "filled.jsonl", {"messages": [asked, turn(a=1, b=None)]})
    meant = jsonl(tmp_path / "meant.jsonl", chat("T", turn(a=1, b=None)))
    assert read(filled)[0].steps[0].action == 'f({"a": 1})'
    assert read(meant)[0].steps[0].action == 'f({"a": 1, "b": null})'


def test_json_text_holds_no_files_and_no_seals() -> None:
    told = {"blob": "iVBORw0KGgo" * 30, "data": "e3b0c442" * 8}  # a file, a checksum
    assert json_text(told) == json.dumps({**told, "blob": "[file]"})
    told = {"screenshot": IMAGE, "signature": "s", "n": 1}
    assert json_text(told) == '{"screenshot": "[image]", "n": 1}'
    assert (
        result_text({"isError": True, "content": [{"type": "text", "text": "no"}]}, "", Tally())
        == "no"
    )


@given(st.recursive(json_values, lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_any_value_is_a_content(value: Any) -> None:
    for piece in pieces(value) + pieces(value, data=True):
        assert isinstance(piece, Text | Reasoning | Call | Result)


def test_a_dialect_that_comes_late_in_a_file_is_read(tmp_path: Path) -> None:
    blocks = chat(
        "Read a.py",
        [{"type": "tool_use", "id": "t", "name": "read", "input": {"path": "a.py"}}],
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
        {"role": "assistant", "content": "It sets x."},
    )
    path = jsonl(tmp_path / "x.jsonl", *(chat(f"Say {i}", str(i)) for i in range(40)), blocks)
    assert rows(read(path)[-1]) == [
        ("Read a.py", "Call read with path a.py.", 'read({"path": "a.py"})'),
        ("x", "It sets x.", "It sets x."),
    ]
    assert importer_of("openai").detect is not None and Options().tally is not Options().tally
