"""Google's Gemini."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, Reply, Sample
from pgv_jax.llm.client import Request, schema_of
from pgv_jax.llm.failures import GarbledReply
from pgv_jax.llm.providers.connections import http_client, unreadable_certificates
from pgv_jax.llm.providers.formats import (
    body_of,
    calling,
    calls_in,
    length_sentence,
    split_system,
    text_of,
    tool_sentence,
    usage_of,
    vendor_library,
)


class GoogleClient(ApiClient):
    """Google's Gemini, over the ``google-genai`` library (extra); n is its candidate count."""

    provider = "google"
    default_url = "https://generativelanguage.googleapis.com"
    default_key_env = "GEMINI_API_KEY"
    has_n = True

    def _open(self, key: str) -> None:
        library = vendor_library("google.genai", "google")
        # It warns that it reads the first of several answers only; we read them all.
        logging.getLogger("google_genai.types").setLevel(logging.ERROR)
        # And it shows words of the server as they came, for which a terminal may obey them.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"google\.genai")
        # By itself the library sends over aiohttp wherever that happens to be installed.
        self._http = http_client(vendor_library("httpx2", "google").AsyncClient, self.endpoint.url)
        options = {
            "base_url": self.endpoint.url,
            "timeout": int(self.options.timeout * 1000),
            "retry_options": {"attempts": 1},
            "httpx_async_client": self._http,
        }
        try:
            self._client = library.Client(api_key=key, http_options=options)
        except OSError as error:  # it reads them again, for any address
            raise unreadable_certificates(error) from None
        self._config_of = library.types.GenerateContentConfig
        self._content_of = library.types.Content.model_validate_json

    async def _close(self) -> None:
        await self._client.aio.aclose()
        await self._http.aclose()
        self._client.close()

    async def _send(self, request: Request) -> Reply:
        system, messages = split_system(request)
        config: dict[str, Any] = {
            "max_output_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.n > 1:
            config["candidate_count"] = request.n
        if request.seed is not None:
            config["seed"] = request.seed + request.first
        if request.stop:
            config["stop_sequences"] = list(request.stop)
        if system:
            config["system_instruction"] = system
        if request.response_format is not None:
            config["response_mime_type"] = "application/json"
        if (form := schema_of(request)) is not None:
            config["response_json_schema"] = dict(form[1])
        if request.tools:
            config["tools"] = [{"function_declarations": [_tool(tool) for tool in request.tools]}]
            config["automatic_function_calling"] = {"disable": True}
        config = self._config(body_of(config, self.options))
        # As JSON: signatures of thoughts are bytes, which the library writes in base64.
        contents = [self._content_of(json.dumps(content)) for content in _own(messages)]
        try:
            reply = await self._client.aio.models.generate_content(
                model=self.model, contents=contents, config=config
            )
        # its JSON reader, pydantic behind it, and what is in between where fields have other types
        except (ValueError, RecursionError, TypeError, LookupError, AttributeError) as error:
            raise GarbledReply(str(error)) from None
        return self._read(reply.model_dump(mode="json", exclude_none=True), bool(request.tools))

    def _config(self, fields: dict[str, Any]) -> Any:
        try:
            return self._config_of(**fields)
        except ValueError as error:
            raise PgvError(
                "The google library refuses the settings of a request; look at the client's extra "
                f"fields: {self.endpoint.clean(error)}"
            ) from None

    def _read(self, reply: Mapping[str, Any], tools: bool) -> Reply:
        feedback = reply.get("prompt_feedback") or {}
        samples = [self._sample(c, tools) for c in reply.get("candidates") or ()]
        if not samples and feedback.get("block_reason"):
            sentence = f"The content filter of {self.endpoint.host} refused the request."
            samples = [Sample(kind="content_filter", sentence=sentence)]
        usage = dict(reply.get("usage_metadata") or {})
        if usage.get("candidates_token_count") is not None:
            thoughts = usage.get("thoughts_token_count") or 0
            if thoughts < 0:
                return Reply(samples)  # no usage that a budget could rest on
            usage["candidates_token_count"] += thoughts  # billed as output
        return Reply(samples, usage_of(usage, "prompt_token_count", "candidates_token_count"))

    def _sample(self, candidate: Mapping[str, Any], tools: bool) -> Sample:
        finish = str(candidate.get("finish_reason") or "")
        parts = (candidate.get("content") or {}).get("parts") or []
        text = "".join(p.get("text") or "" for p in parts if not p.get("thought"))
        if finish in {"SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "RECITATION"}:
            sentence = f"The content filter of {self.endpoint.host} cut in ({finish})."
            return Sample(kind="content_filter", sentence=sentence)
        called = [p["function_call"] for p in parts if p.get("function_call")]
        if called and tools:
            calls = [
                (c.get("id") or f"call_{i}", str(c.get("name")), c.get("args") or {})
                for i, c in enumerate(called)
            ]
            message = calling(text, calls, parts)
            return Sample(text, metadata={"finish": finish.lower()}, message=message)
        if not text and called:
            return Sample(kind="tool_calls", sentence=tool_sentence(self.model))
        if not text and finish == "MAX_TOKENS":
            return Sample(kind="empty", sentence=length_sentence(self.model))
        if not text and not finish:
            sentence = f"{self.endpoint.host} answered without any text."
            return Sample(kind="empty", sentence=sentence)
        return Sample(text, metadata={"finish": finish.lower()})


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in tool.items() if key != "parameters"}
    return {**rest, "parameters_json_schema": tool["parameters"]}


def _own(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as contents of parts. A result names its function, and the call where it has an id.

    The results of one answer's calls stand in one content.
    """
    out: list[dict[str, Any]] = []
    asked: dict[str, str] = {}
    own: set[str] = set()  # ids that came from Google
    for message in messages:
        said = [{"text": text}] if (text := text_of(message["content"])) else []
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            told = {"name": asked[call_id], "response": {"result": message["content"]}}
            part = {"function_response": told | ({"id": call_id} if call_id in own else {})}
            if out[-1]["role"] != "user":
                out.append({"role": "user", "parts": []})
            out[-1]["parts"].append(part)
        elif message.get("tool_calls"):
            calls, raw = calls_in(message), message.get("raw")
            asked.update({call_id: name for call_id, name, _ in calls})
            known = [part.get("function_call", {}).get("id") for part in raw or ()]
            own.update(call_id for call_id in known if call_id)
            spelled = [{"function_call": {"name": name, "args": x}} for _, name, x in calls]
            out.append({"role": "model", "parts": raw or [*said, *spelled]})
        else:
            role = "model" if message["role"] == "assistant" else "user"
            out.append({"role": role, "parts": [{"text": text_of(message["content"])}]})
    return out
