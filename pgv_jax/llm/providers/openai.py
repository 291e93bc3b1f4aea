"""OpenAI's chat completions, as many servers speak them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pgv_jax.llm.api_client import ApiClient, FailedReply, Reply, Sample
from pgv_jax.llm.client import Request
from pgv_jax.llm.failures import of_reply_error
from pgv_jax.llm.providers.formats import (
    body_of,
    json_object,
    length_sentence,
    text_of,
    tool_sentence,
    usage_of,
    vendor_library,
)

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
        library = vendor_library("openai", "openai")
        # here, as its httpx2 comes with the library
        from pgv_jax.llm.providers import openai_transport as transport

        self._response = transport.httpx2.Response
        self._asked = _settled_options()
        self._one_pool = self.options.http == "aiohttp"
        http_client = transport.client_maker(library, self.endpoint.url, self._one_pool)
        client = transport.settled(library)

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
        return self._read(json_object(await self._post(body_of(body, self.options))))

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
        return Reply(samples, usage_of(usage, "prompt_tokens", "completion_tokens"))

    def _sample(self, choice: Mapping[str, Any]) -> Sample:
        message = choice.get("message")
        message = message if isinstance(message, Mapping) else {}
        finish = choice.get("finish_reason")
        text = text_of(message.get("content"))
        if finish == "content_filter":
            sentence = f"The content filter of {self.endpoint.host} cut in."
            return Sample(kind="content_filter", sentence=sentence)
        if message.get("refusal"):
            said = self.endpoint.clean(message["refusal"], 120)
            return Sample(kind="refusal", sentence=f"'{self.model}' refused to answer: {said}")
        if message.get("tool_calls") and not text:
            return Sample(kind="tool_calls", sentence=tool_sentence(self.model))
        if not text and finish == "length":
            return Sample(kind="empty", sentence=length_sentence(self.model))
        return Sample(text, metadata={"finish": finish})


def _settled_options() -> Any:
    """The openai library's options of a call, made once: another twentieth of its CPU time.

    None where its class is elsewhere in a coming version: then ``post`` makes them for each call.
    """
    try:
        options = importlib.import_module("openai._models").FinalRequestOptions
        return options.construct(method="post", url=CHAT)
    except (ImportError, AttributeError):
        return None
