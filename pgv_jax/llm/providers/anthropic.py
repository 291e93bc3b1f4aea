"""Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pgv_jax.llm.api_client import ApiClient, Reply, Sample
from pgv_jax.llm.client import Request, schema_of
from pgv_jax.llm.providers.connections import http_client
from pgv_jax.llm.providers.formats import (
    body_of,
    calling,
    calls_in,
    json_object,
    length_sentence,
    objects_of,
    split_system,
    tool_sentence,
    usage_of,
    vendor_library,
    word_of,
)


class AnthropicClient(ApiClient):
    """Anthropic's messages, over the ``anthropic`` library (extra); no ``n`` and no seed there."""

    provider = "anthropic"
    default_url = "https://api.anthropic.com"
    default_key_env = "ANTHROPIC_API_KEY"

    def _open(self, key: str) -> None:
        library = vendor_library("anthropic", "anthropic")
        self._client = library.AsyncAnthropic(
            api_key=key,
            base_url=self.endpoint.url,
            timeout=library.Timeout(self.options.timeout, connect=self.options.connect_timeout),
            max_retries=0,
            http_client=http_client(library.DefaultAsyncHttpxClient, self.endpoint.url),
        )

    async def _close(self) -> None:
        await self._client.close()

    async def _send(self, request: Request) -> Reply:
        system, messages = split_system(request)
        body: dict[str, Any] = {"temperature": request.temperature}
        if system:
            body["system"] = system
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        form = schema_of(request)
        if form is not None:  # a tool that it must call: every model knows this form
            name, schema = form
            about = "Give your answer by calling this tool."
            body["tools"] = [{"name": name, "description": about, "input_schema": dict(schema)}]
            body["tool_choice"] = {"type": "tool", "name": name}
        elif request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
            body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
        raw = await self._client.messages.with_raw_response.create(
            model=self.model,
            max_tokens=request.max_tokens,
            messages=_own(messages),
            extra_body=body_of(body, self.options),
        )
        reply = json_object(raw.http_response)
        blocks = objects_of(reply, "content")
        text = "".join(str(b.get("text", "")) for b in blocks if b.get("type") == "text")
        if form is not None:
            said = [b for b in blocks if b.get("type") == "tool_use" and b.get("name") == form[0]]
            text = json.dumps(said[0].get("input"), ensure_ascii=False) if said else text
        uses = [b for b in blocks if b.get("type") == "tool_use"] if request.tools else []
        finish = word_of(reply.get("stop_reason"))
        usage = _usage(reply.get("usage"))
        if finish == "refusal":
            sample = Sample(kind="refusal", sentence=f"'{self.model}' refused to answer.")
        elif uses:
            calls = [(str(b.get("id")), str(b.get("name")), b.get("input")) for b in uses]
            message = calling(text, calls, [dict(block) for block in blocks])
            sample = Sample(text, metadata={"finish": finish}, message=message)
        elif finish == "tool_use" and not text:
            sample = Sample(kind="tool_calls", sentence=tool_sentence(self.model))
        elif not text and finish == "max_tokens":
            sample = Sample(kind="empty", sentence=length_sentence(self.model))
        elif not blocks:
            return Reply([], usage)
        else:
            sample = Sample(text, metadata={"finish": finish})
        return Reply([sample], usage)


def _usage(told: Any) -> tuple[int, int] | None:
    """Tokens read and written; what was read from a cache or written into one was read, too."""
    usage = usage_of(told, "input_tokens", "output_tokens")
    if usage is None:
        return None
    cached = [told.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation")]
    if any(type(count) is not int or count < 0 for count in cached):
        return None
    return usage[0] + sum(cached), usage[1]


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in tool.items() if key != "parameters"}
    return {**rest, "input_schema": tool["parameters"]}


def _own(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as blocks; the results of one answer's calls stand in one message."""
    out: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            told = {"tool_use_id": message["tool_call_id"], "content": message["content"]}
            if out[-1]["role"] != "user":
                out.append({"role": "user", "content": []})
            out[-1]["content"].append({"type": "tool_result", **told})
        elif message.get("tool_calls"):
            said = [{"type": "text", "text": message["content"]}] if message["content"] else []
            calls = calls_in(message)
            uses = [{"type": "tool_use", "id": i, "name": n, "input": x} for i, n, x in calls]
            out.append({"role": "assistant", "content": message.get("raw") or [*said, *uses]})
        else:
            out.append({"role": message["role"], "content": message["content"]})
    return out
