"""The clients of the vendors, each over its official library, and how a spec opens one."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.llm.api_client import ApiClient, ClientOptions, FailedReply, Reply, Sample
from pgv_jax.llm.budget import Budget, Prices
from pgv_jax.llm.client import Request
from pgv_jax.llm.failures import GarbledReply, of_reply_error

CHAT = "/chat/completions"

POOLED = 16
"""Calls at once over one pool of httpx's connections."""


class OpenAIClient(ApiClient):
    """Any endpoint that speaks OpenAI's chat completions, over the ``openai`` library."""

    provider = "openai"
    default_url = "https://api.openai.com/v1"
    default_key_env = "OPENAI_API_KEY"
    has_n = True
    _turn = 0

    def _open(self, key: str) -> None:
        library = _library("openai", "openai")
        from pgv_jax.llm.providers import (
            openai_transport as sending,  # its httpx2 comes with the library
        )

        self._response = sending.httpx2.Response
        self._asked = _settled_options()
        self._one_pool = self.options.http == "aiohttp"
        http_client = sending.client_maker(library, self.endpoint.url, self._one_pool)
        client = sending.settled(library)

        def pool() -> Any:
            return client(
                api_key=key,
                base_url=self.endpoint.url,
                timeout=library.Timeout(self.options.timeout, connect=self.options.connect_timeout),
                max_retries=0,  # retries, Retry-After and the budget are ours
                http_client=http_client(),
            )

        self._pool, self._pools = pool, [pool()]

    async def _close(self) -> None:
        for pool in self._pools:
            await pool.close()

    def _next(self) -> Any:
        """A client whose pool is short: before a call, httpx's looks at each of its connections."""
        if self._one_pool:
            return self._pools[0]
        if len(self._pools) * POOLED < min(self.limit.in_flight, self.options.concurrency):
            self._pools.append(self._pool())
        self._turn += 1
        return self._pools[self._turn % len(self._pools)]

    async def _send(self, request: Request) -> Reply:
        # OpenAI's own newer models know only the longer name, other servers only the shorter
        own = self.endpoint.url.startswith("https://api.openai.com")
        body: dict[str, Any] = {
            "messages": [dict(message) for message in request.messages],
            "model": self.model,
            "max_completion_tokens" if own else "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.n > 1:
            body["n"] = request.n
        if request.seed is not None:
            body["seed"] = request.seed + request.first
        if request.stop:
            body["stop"] = list(request.stop)
        if request.response_format is not None:
            body["response_format"] = dict(request.response_format)
        return self._read(_json(await self._post(_body(body, self.options))))

    async def _post(self, body: dict[str, Any]) -> Any:
        """Past the library's walk over the body and its reply classes, a fifth of its CPU time."""
        client = self._next()
        if self._asked is None:
            return await client.post(CHAT, cast_to=self._response, body=body)
        return await client.request(
            self._response, self._asked.model_copy(update={"json_data": body})
        )

    def _read(self, reply: Mapping[str, Any]) -> Reply:
        choices = reply.get("choices")
        if not choices and isinstance(reply.get("error"), Mapping):
            raise FailedReply(of_reply_error(reply["error"], self.endpoint))
        samples = [self._sample(choice) for choice in choices or () if isinstance(choice, Mapping)]
        usage = reply.get("usage")
        return Reply(samples, _usage(usage, "prompt_tokens", "completion_tokens"))

    def _sample(self, choice: Mapping[str, Any]) -> Sample:
        message = choice.get("message")
        message = message if isinstance(message, Mapping) else {}
        finish = choice.get("finish_reason")
        text = _text(message.get("content"))
        if finish == "content_filter":
            sentence = f"The content filter of {self.endpoint.host} cut in."
            return Sample(kind="content_filter", sentence=sentence)
        if message.get("refusal"):
            said = self.endpoint.clean(message["refusal"], 120)
            return Sample(kind="refusal", sentence=f"'{self.model}' refused to answer: {said}")
        if message.get("tool_calls") and not text:
            return Sample(kind="tool_calls", sentence=_tool_sentence(self.model))
        if not text and finish == "length":
            return Sample(kind="empty", sentence=_length_sentence(self.model))
        return Sample(text, metadata={"finish": finish})


class AnthropicClient(ApiClient):
    """Anthropic's messages, over the ``anthropic`` library (extra); no ``n`` and no seed there."""

    provider = "anthropic"
    default_url = "https://api.anthropic.com"
    default_key_env = "ANTHROPIC_API_KEY"

    def _open(self, key: str) -> None:
        library = _library("anthropic", "anthropic")
        self._client = library.AsyncAnthropic(
            api_key=key,
            base_url=self.endpoint.url,
            timeout=library.Timeout(self.options.timeout, connect=self.options.connect_timeout),
            max_retries=0,
        )

    async def _close(self) -> None:
        await self._client.close()

    async def _send(self, request: Request) -> Reply:
        system, messages = _split_system(request)
        body: dict[str, Any] = {"temperature": request.temperature}
        if system:
            body["system"] = system
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        raw = await self._client.messages.with_raw_response.create(
            model=self.model,
            max_tokens=request.max_tokens,
            messages=messages,
            extra_body=_body(body, self.options),
        )
        reply = _json(raw.http_response)
        blocks = [block for block in reply.get("content") or () if isinstance(block, Mapping)]
        text = "".join(str(b.get("text", "")) for b in blocks if b.get("type") == "text")
        finish = reply.get("stop_reason")
        usage = _usage(reply.get("usage"), "input_tokens", "output_tokens")
        if finish == "refusal":
            sample = Sample(kind="refusal", sentence=f"'{self.model}' refused to answer.")
        elif finish == "tool_use" and not text:
            sample = Sample(kind="tool_calls", sentence=_tool_sentence(self.model))
        elif not text and finish == "max_tokens":
            sample = Sample(kind="empty", sentence=_length_sentence(self.model))
        elif not blocks:
            return Reply([], usage)
        else:
            sample = Sample(text, metadata={"finish": finish})
        return Reply([sample], usage)


class GoogleClient(ApiClient):
    """Google's Gemini, over the ``google-genai`` library (extra); n is its candidate count."""

    provider = "google"
    default_url = "https://generativelanguage.googleapis.com"
    default_key_env = "GEMINI_API_KEY"
    has_n = True

    def _open(self, key: str) -> None:
        library = _library("google.genai", "google")
        # By itself the library sends over aiohttp wherever that happens to be installed.
        self._http = _library("httpx2", "google").AsyncClient(follow_redirects=True)
        options = {
            "base_url": self.endpoint.url,
            "timeout": int(self.options.timeout * 1000),
            "retry_options": {"attempts": 1},
            "httpx_async_client": self._http,
        }
        self._client = library.Client(api_key=key, http_options=options)

    async def _close(self) -> None:
        await self._client.aio.aclose()
        await self._http.aclose()
        self._client.close()

    async def _send(self, request: Request) -> Reply:
        system, messages = _split_system(request)
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
        config = _body(config, self.options)
        roles = {"assistant": "model"}
        contents = [
            {"role": roles.get(m["role"], "user"), "parts": [{"text": _text(m["content"])}]}
            for m in messages
        ]
        try:
            reply = await self._client.aio.models.generate_content(
                model=self.model, contents=contents, config=config
            )
        except ValueError as error:  # its JSON reader, and pydantic behind it
            raise GarbledReply(str(error)) from None
        return self._read(reply.model_dump(mode="json"))

    def _read(self, reply: Mapping[str, Any]) -> Reply:
        feedback = reply.get("prompt_feedback") or {}
        samples = [self._sample(c) for c in reply.get("candidates") or ()]
        if not samples and feedback.get("block_reason"):
            sentence = f"The content filter of {self.endpoint.host} refused the request."
            samples = [Sample(kind="content_filter", sentence=sentence)]
        usage = dict(reply.get("usage_metadata") or {})
        if usage.get("candidates_token_count") is not None:
            thoughts = usage.get("thoughts_token_count") or 0
            usage["candidates_token_count"] += thoughts  # billed as output
        return Reply(samples, _usage(usage, "prompt_token_count", "candidates_token_count"))

    def _sample(self, candidate: Mapping[str, Any]) -> Sample:
        finish = str(candidate.get("finish_reason") or "")
        parts = (candidate.get("content") or {}).get("parts") or []
        text = "".join(p.get("text") or "" for p in parts if not p.get("thought"))
        if finish in {"SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "RECITATION"}:
            sentence = f"The content filter of {self.endpoint.host} cut in ({finish})."
            return Sample(kind="content_filter", sentence=sentence)
        if not text and any(p.get("function_call") for p in parts):
            return Sample(kind="tool_calls", sentence=_tool_sentence(self.model))
        if not text and finish == "MAX_TOKENS":
            return Sample(kind="empty", sentence=_length_sentence(self.model))
        return Sample(text, metadata={"finish": finish.lower()})


PROVIDERS: dict[str, type[ApiClient]] = {
    "openai": OpenAIClient,
    "anthropic": AnthropicClient,
    "google": GoogleClient,
}


def open_client(
    spec: str,
    options: ClientOptions | None = None,
    *,
    budget: Budget | None = None,
    prices: Prices | None = None,
) -> ApiClient:
    """``MODEL`` or ``openai:MODEL`` | ``anthropic:MODEL`` | ``google:MODEL`` -> client."""
    provider, colon, model = spec.partition(":")
    if not colon or provider not in PROVIDERS:
        provider, model = "openai", spec  # local models carry colons in their names
    if not model:
        raise PgvError(f"Model '{spec}' names no model; write for example openai:NAME.")
    return PROVIDERS[provider](model, options, budget=budget, prices=prices)


def _library(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise PgvError(
            f"The {extra} client needs a library that is not installed; run "
            f"pip install 'pgv-jax[{extra}]'."
        ) from None


def _settled_options() -> Any:
    """The openai library's options of a call, made once: another twentieth of its CPU time.

    None where its class is elsewhere in a coming version: then ``post`` makes them for each call.
    """
    try:
        options = importlib.import_module("openai._models").FinalRequestOptions
        return options.construct(method="post", url=CHAT)
    except (ImportError, AttributeError):
        return None


def _body(body: dict[str, Any], options: ClientOptions) -> dict[str, Any]:
    return {k: v for k, v in body.items() if k not in options.omit} | dict(options.extra)


def _json(response: Any) -> Mapping[str, Any]:
    """The JSON object of a response of an httpx-like client."""
    try:
        reply = json.loads(response.content)  # UTF-8; .text would look for the character set
    except ValueError:
        raise GarbledReply(response.text or "an empty body") from None
    if not isinstance(reply, dict):
        raise GarbledReply(response.text)
    return reply


def _usage(usage: Any, prompt: str, completion: str) -> tuple[int, int] | None:
    if not isinstance(usage, Mapping):
        return None
    counts = usage.get(prompt), usage.get(completion)
    if not all(isinstance(count, int) for count in counts):
        return None
    return counts  # type: ignore[return-value]


def _text(content: Any) -> str:
    """Text of a message whose content is a string, a list of parts, or null."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    return ""


def _split_system(request: Request) -> tuple[str, list[dict[str, Any]]]:
    system = [_text(m["content"]) for m in request.messages if m["role"] == "system"]
    return "\n\n".join(system), [dict(m) for m in request.messages if m["role"] != "system"]


def _tool_sentence(model: str) -> str:
    return f"'{model}' answered with tool calls where text was expected; offer it no tools."


def _length_sentence(model: str) -> str:
    return (
        f"'{model}' used up max_tokens before any text; raise max_tokens or shorten its thinking."
    )
