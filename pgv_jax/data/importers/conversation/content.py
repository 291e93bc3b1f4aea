"""The parts of a message's content in any provider's dialect: text, reasoning, calls, results.

A known part of any dialect is read. A part of an unknown kind stands as its JSON text and is
counted; images and sounds are placeholders such as ``[image]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pgv_jax.data.importers.conversation.pieces import (
    HIDDEN,
    ID_KEYS,
    NAME_KEYS,
    REASONING,
    Call,
    Part,
    Piece,
    Reasoning,
    Result,
    Text,
    call_of,
    first_of,
    json_text,
    words_of,
)
from pgv_jax.data.importers.tally import Tally
from pgv_jax.data.storage.jsonl import text_field

TEXTS = ("text", "input_text", "output_text", "refusal")
REASONING += ("thought", "summary_text")
SEALED = ("redacted_thinking", "redacted_reasoning", "encrypted_reasoning", "compaction")
"""Parts that only their provider can read."""
ASIDE: tuple[str, ...] = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response")
ASIDE += ("item_reference", "tool_approval_request", "tool_approval_response")
ASIDE += ("source", "source_url", "source_document")
"""Parts beside what was said: neither words nor calls nor what a tool answered."""
MEDIA: tuple[str, ...] = ("image", "image_url", "input_image", "output_image", "image_file")
MEDIA += ("audio", "audio_url", "input_audio", "output_audio", "media", "computer_screenshot")
MEDIA += ("image_data", "image_file_id")
FILES: tuple[str, ...] = ("file", "input_file", "document", "video", "video_url", "input_video")
FILES += ("blob", "uri", "file_data", "file_url", "file_id", "resource")
PAYLOAD: tuple[str, ...] = ("source", "url", "data", "image", "image_url", "audio", "audio_url")
PAYLOAD += ("input_audio", "file", "file_id", "file_data", "fileData", "inlineData", "bytes")
PAYLOAD += ("path", "uri", "content", "base64", "video", "video_url", "mime_type", "mimeType")
PAYLOAD += ("mediaType", "media_type", "image_file", "fileId", "resource")
NOTHING = ("step_start", "step_finish", "start", "finish", "tool_reference", "cache_point")
"""Marks without a word in them."""
BESIDE: tuple[str, ...] = ("type", "text", "cache_control", "citations", "annotations")
BESIDE += ("logprobs", "id", "index", "state", "providerMetadata", "provider_metadata", "thought")
BESIDE += ("thoughtSignature", "thought_signature", "signature", "meta", "_meta")
"""What may stand beside a text without being data."""
OUTPUT_KEYS: tuple[str, ...] = ("content", "output", "result", "response", "value", "results")
OUTPUT_KEYS += ("outputs", "errorText", "error", "stdout", "text")
CALL_TYPES = re.compile(r"(?:^|_)(?:call|use|invocation|tool_call_request)$|^dynamic_tool$")
RESULT_TYPES = re.compile(r"(?:^|_)(?:result|response|output)$|^tool_error$")
UI_TOOL = re.compile(
    r"^tool_(?!(?:call|result|use|response|output|invocation|reference|error)(?:_|$))(?P<name>.+)$"
)
"""A tool's part of the Vercel AI SDK's interface: ``tool-weather``."""


def result_of(part: Part, where: str, tally: Tally) -> Result:
    """A tool's result in any dialect."""
    number = first_of(part, ID_KEYS)
    value = first_of(part, OUTPUT_KEYS)
    if value is None:
        about = (*ID_KEYS, *NAME_KEYS, *BESIDE)
        rest = {k: v for k, v in part.items() if k not in about and v not in (None, False)}
        value = rest or None
    elif "stdout" in part:
        value = {k: v for k, v in part.items() if k not in ("type", *ID_KEYS)}
    return Result(result_text(value, where, tally), str(number or ""))


def result_text(value: Any, where: str, tally: Tally) -> str:
    """The text of what a tool answered: words, parts, or the JSON text of data."""
    if isinstance(value, Mapping):
        kind = str(value.get("type", "")).replace("-", "_")
        if kind in ("text", "json", "content", "error_text", "error_json") and "value" in value:
            return result_text(value["value"], where, tally)
        for key in ("output", "result", "content", "text"):
            if set(value) - {"isError", "is_error"} == {key}:
                return result_text(value[key], where, tally)
    pieces = read_content(value, where, tally, data=True)
    return "\n".join(piece.text for piece in pieces if isinstance(piece, Text | Result))


def read_content(content: Any, where: str, tally: Tally, data: bool = False) -> list[Piece]:
    """Return the pieces of a content: null, text, an object, or a list of parts, in order.

    ``data`` says that a tool answered this, so that objects of any kind are expected.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(text_field(content, where))]
    if isinstance(content, Mapping):
        return read_part(content, where, tally, data)
    if not isinstance(content, list | tuple):
        return [Text(json_text(content))]
    if content and not any(isinstance(part, str) or _is_part(part) for part in content):
        return [Text(json_text(content))]
    out: list[Piece] = []
    begun: int | None = None
    cited = False
    for i, part in enumerate(content):
        spot = f"{where}[{i}]"
        if isinstance(part, Mapping):
            if _kind(part) == "step_start":
                out, begun = _in_step(out, begun), len(out)
            read = read_part(part, spot, tally, data)
            cited, before = bool(part.get("citations")), cited
            texts = [p.text for p in (*out[-1:], *read) if isinstance(p, Text)]
            if (cited or before) and len(texts) == 1 + len(read):  # cut where a citation begins
                out, read = out[:-1], [Text("".join(texts))]
            out.extend(read)
        else:
            out.extend(read_content(part, spot, tally, data))
    return _in_step(out, begun)


def _in_step(pieces: list[Piece], begun: int | None) -> list[Piece]:
    """The pieces with the results of the step that began there behind all its words and calls."""
    if begun is None:
        return pieces
    step = sorted(pieces[begun:], key=lambda piece: isinstance(piece, Result))
    return pieces[:begun] + step


def _kind(part: Part) -> str:
    return str(part.get("type") or "").lower().replace("-", "_")


def _is_part(part: Any) -> bool:
    """True where an object is a part of a message in a known dialect, and not data."""
    if not isinstance(part, Mapping):
        return False
    kind = _kind(part)
    if kind in (*TEXTS, *REASONING, *SEALED, *ASIDE, *NOTHING):
        return True
    if kind in (*MEDIA, *FILES):
        return _is_file(part)
    if kind:
        return bool(CALL_TYPES.search(kind) or RESULT_TYPES.search(kind) or UI_TOOL.match(kind))
    return bool(set(part) & set(UNIONS)) or ("text" in part and set(part) <= set(BESIDE))


def _is_file(part: Part) -> bool:
    return set(part) <= {"type"} or bool(set(part) & set(PAYLOAD))


def read_part(part: Part, where: str, tally: Tally, data: bool = False) -> list[Piece]:
    """Return the pieces of one part."""
    kind = _kind(part)
    if not kind:
        for key, read in UNIONS.items():
            if part.get(key) is not None:
                return read(part, part[key], where, tally)
        if part.get("thought") is True and isinstance(part.get("text"), str):
            return [Reasoning(text_field(part["text"], where))]
        if isinstance(part.get("text"), str) and set(part) <= set(BESIDE):
            return [Text(text_field(part["text"], f"{where}.text"))]
        return [Text(json_text(part))] if part else []
    if kind in REASONING:
        words = text_field(words_of({**part, "type": None}), where)
        if not words:
            tally.leave(kind)
        return [Reasoning(words)] if words else []
    if kind in TEXTS:
        return _read_text(part, where)
    if kind in (*SEALED, *ASIDE):
        tally.leave(kind)
        return []
    if kind in NOTHING:
        return []
    if kind in (*MEDIA, *FILES) and _is_file(part):
        return _read_file(part, kind, where, tally)
    found = _read_tool(part, kind, where, tally)
    if found is not None:
        return found
    if not data:
        tally.leave(str(part["type"]))
    return [Text(json_text(part))]


def _read_text(part: Part, where: str) -> list[Piece]:
    value = first_of(part, ("text", "refusal", "content", "value"))
    if isinstance(value, Mapping) and isinstance(value.get("value"), str):
        value = value["value"]  # the Assistants API's text
    if isinstance(value, str):
        words = text_field(value, f"{where}.text")
        return [Reasoning(words) if part.get("thought") is True else Text(words)]
    return [] if value is None else [Text(json_text(value))]


def _read_file(part: Part, kind: str, where: str, tally: Tally) -> list[Piece]:
    source = part.get("source")
    if isinstance(source, Mapping) and source.get("type") in ("text", "content"):
        inner = first_of(source, ("data", "content", "text"))
        return read_content(inner, where, tally)
    if isinstance(part.get("resource"), Mapping):
        resource = part["resource"]
        if isinstance(resource.get("text"), str):
            return [Text(text_field(resource["text"], f"{where}.resource.text"))]
        return _union_file(part, resource, where, tally)
    for key in ("transcript", "text", "content"):
        if isinstance(part.get(key), str):
            return [Text(text_field(part[key], f"{where}.{key}"))]
    if isinstance(part.get("audio"), Mapping) and isinstance(part["audio"].get("transcript"), str):
        return [Text(text_field(part["audio"]["transcript"], where))]
    return [_placeholder(str(part["type"]), kind in FILES, tally)]


def _placeholder(name: str, is_file: bool, tally: Tally) -> Text:
    if is_file:
        tally.leave(name)
    else:
        tally.placeholders[name] += 1
    return Text(f"[{name}]")


def _read_tool(part: Part, kind: str, where: str, tally: Tally) -> list[Piece] | None:
    """A call, a result, or a call with its result beside it; None where it is neither."""
    ui = UI_TOOL.match(kind)
    if ui and ("toolCallId" in part or "input" in part):
        named = {**part, "name": str(part["type"])[5:]}
        return _call_and_answer(named, where, tally)
    if RESULT_TYPES.search(kind):
        if not (set(part) & {*ID_KEYS, *OUTPUT_KEYS}):
            return None
        return [result_of(part, where, tally)]
    if not CALL_TYPES.search(kind):
        return None
    if isinstance(part.get("toolInvocation"), Mapping):
        return _call_and_answer(part["toolInvocation"], where, tally)
    call = call_of(part, where)
    if call is not None and kind != "mcp_call":
        return _call_and_answer(part, where, tally)
    return _provider_call(part, kind, call, where, tally)


def _call_and_answer(part: Part, where: str, tally: Tally) -> list[Piece] | None:
    call = call_of(part, where)
    if call is None:
        return None
    answer = first_of(part, ("output", "result", "errorText"))
    if answer is None:
        return [call]
    return [call, Result(result_text(answer, where, tally), call.id)]


def _provider_call(
    part: Part, kind: str, call: Call | None, where: str, tally: Tally
) -> list[Piece] | None:
    """A call that the provider runs itself (search, code): its arguments are its own fields."""
    answers = ("outputs", "output", "results", "result", "error")
    facts = {
        key: value
        for key, value in part.items()
        if key not in ("type", "id", "call_id", "status", *answers, *HIDDEN) and value is not None
    }
    if call is None:
        arguments = facts["action"] if set(facts) == {"action"} else facts
        name = re.sub(r"_(?:call|use)$", "", kind)
        call = Call(name, arguments, str(first_of(part, ID_KEYS) or ""))
    if kind in ("computer_call", "local_shell_call", "shell_call", "apply_patch_call"):
        return [call]  # its answer is an item of its own
    answer = first_of(part, answers)
    if kind == "image_generation_call" and answer is not None:
        return [call, Result(_placeholder("image", False, tally).text, call.id)]
    return [call, Result(result_text(answer, where, tally), call.id)]


def _mime(value: Any) -> str:
    mime = (
        first_of(value, ("mimeType", "mime_type", "media_type"))
        if isinstance(value, Mapping)
        else ""
    )
    return str(mime or "file").split("/")[0]


def _union_file(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    name = _mime(value)
    return [_placeholder(name, name not in ("image", "audio"), tally)]


def _union_media(name: str) -> Callable[..., list[Piece]]:
    def read(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
        if not isinstance(value, Mapping):  # data that happens to have this key
            return [Text(json_text(part))]
        return [_placeholder(name, name not in ("image", "audio"), tally)]

    return read


def _union_call(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    call = call_of(value, where) if isinstance(value, Mapping) else None
    return [Text(json_text(part))] if call is None else [call]


def _union_result(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    if not isinstance(value, Mapping):
        return [Text(json_text(part))]
    return [result_of(value, where, tally)]


def _union_reasoning(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    words = words_of(value)
    if not words:
        tally.leave("reasoningContent")
    return [Reasoning(words)] if words else []


def _union_json(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    return [Text(json_text(value if set(part) == {"json"} else part))]


def _union_code(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    return [Call("code", value)]


def _union_guard(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    return [Text(words_of(value))]


def _union_cited(part: Part, value: Any, where: str, tally: Tally) -> list[Piece]:
    return read_content(value.get("content") if isinstance(value, Mapping) else value, where, tally)


UNIONS: dict[str, Callable[[Part, Any, str, Tally], list[Piece]]] = {
    "toolUse": _union_call,
    "toolResult": _union_result,
    "reasoningContent": _union_reasoning,
    "functionCall": _union_call,
    "function_call": _union_call,
    "functionResponse": _union_result,
    "function_response": _union_result,
    "executableCode": _union_code,
    "executable_code": _union_code,
    "codeExecutionResult": _union_result,
    "code_execution_result": _union_result,
    "inlineData": _union_file,
    "inline_data": _union_file,
    "fileData": _union_file,
    "file_data": _union_file,
    "json": _union_json,
    "image": _union_media("image"),
    "video": _union_media("video"),
    "document": _union_media("document"),
    "guardContent": _union_guard,
    "citationsContent": _union_cited,
    "cachePoint": lambda part, value, where, tally: [],
}
"""Parts without a type, told by their one key: Bedrock's Converse API and Gemini."""
