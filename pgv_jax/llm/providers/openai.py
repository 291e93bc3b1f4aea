"""OpenAI's chat completions, as many servers speak them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pgv_jax.llm.api_client import ApiClient, FailedReply, Reply, Sample
from pgv_jax.llm.client import Request
from pgv_jax.llm.failures import GarbledReply, of_reply_error
from pgv_jax.llm.providers.connections import http_client, names_socks
from pgv_jax.llm.providers.formats import (
    body_of,
    json_object,
    length_sentence,
    objects_of,
    text_of,
    tool_sentence,
    usage_of,
    vendor_library,
    word_of,
)
from pgv_jax.texts.unicode import cleaned

CHAT = "/chat/completions"


class OpenAIClient(ApiClient):
    """Any endpoint that speaks OpenAI's chat completions, over the ``openai`` library."""

    provider = "openai"
    default_url = "https://api.openai.com/v1"
    default_key_env = "OPENAI_API_KEY"
    has_n = True

    def _open(self, key: str) -> None:
        library = vendor_library("openai", "openai")
        # aiohttp, which is faster, cannot do without the environment's proxies nor use SOCKS.
        plain = self.here or names_socks()
        over = library.DefaultAsyncHttpxClient if plain else library.DefaultAioHttpClient
        self._response = vendor_library("httpx2", "openai").Response
        self._client = library.AsyncOpenAI(
            api_key=key,
            base_url=self.endpoint.url,
            timeout=library.Timeout(self.options.timeout, connect=self.options.connect_timeout),
            max_retries=0,  # retries, Retry-After and the budget are ours
            http_client=http_client(over, self.endpoint.url, self.here),
        )

    async def _close(self) -> None:
        await self._client.close()

    async def _send(self, request: Request) -> Reply:
        # OpenAI's own newer models know only the longer name, other servers only the shorter
        own = self.endpoint.url.startswith("https://api.openai.com")
        body: dict[str, Any] = {
            "messages": [
                {key: value for key, value in message.items() if key != "raw"}
                for message in request.messages
            ],
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
        if request.tools:
            body["tools"] = [{"type": "function", "function": dict(t)} for t in request.tools]
            body["parallel_tool_calls"] = False
        response = await self._client.post(
            CHAT, cast_to=self._response, body=body_of(body, self.options)
        )
        return self._read(json_object(response), bool(request.tools))

    def _read(self, reply: Mapping[str, Any], tools: bool) -> Reply:
        error = reply.get("error")
        if not reply.get("choices") and error and isinstance(error, Mapping | str):
            told = {"message": error} if isinstance(error, str) else error
            raise FailedReply(of_reply_error(told, self.endpoint))
        samples = [self._sample(choice, tools) for choice in objects_of(reply, "choices")]
        usage = reply.get("usage")
        return Reply(samples, usage_of(usage, "prompt_tokens", "completion_tokens"))

    def _sample(self, choice: Mapping[str, Any], tools: bool) -> Sample:
        message = choice.get("message")
        message = message if isinstance(message, Mapping) else {}
        finish = word_of(choice.get("finish_reason"))
        text = text_of(message.get("content"))
        if finish == "content_filter":
            sentence = f"The content filter of {self.endpoint.host} cut in."
            return Sample(kind="content_filter", sentence=sentence)
        if message.get("refusal"):
            said = self.endpoint.clean(message["refusal"], 120)
            return Sample(kind="refusal", sentence=f"'{self.model}' refused to answer: {said}")
        if message.get("tool_calls") and not isinstance(message["tool_calls"], list):
            raise GarbledReply(f"tool_calls: {str(message['tool_calls'])[:80]}")
        if message.get("tool_calls") and tools:
            return Sample(text, metadata={"finish": finish}, message=_whole(message))
        if message.get("tool_calls") and not text:
            return Sample(kind="tool_calls", sentence=tool_sentence(self.model))
        if not text and finish == "length":
            return Sample(kind="empty", sentence=length_sentence(self.model))
        return Sample(text, metadata={"finish": finish})


def _whole(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message as it came, once its calls are known to be calls, each with an id.

    Arguments that are no JSON stay: they are the model's own fault.
    """
    calls = []
    for i, call in enumerate(message["tool_calls"]):
        called = call.get("function") if isinstance(call, Mapping) else None
        arguments = called.get("arguments") if isinstance(called, Mapping) else None
        if isinstance(arguments, Mapping | None):
            arguments = json.dumps(arguments or {})
        if not (
            isinstance(called, Mapping)
            and isinstance(called.get("name"), str)
            and isinstance(arguments, str)
        ):
            raise GarbledReply(f"tool_calls: {str(call)[:80]}")
        named = call["id"] if isinstance(call.get("id"), str) else f"call_{i}"
        calls.append({**call, "id": named, "function": {**called, "arguments": arguments}})
    whole = {**message, "role": "assistant", "tool_calls": calls}
    try:
        json.dumps(whole, allow_nan=False)
    except ValueError:  # a NaN somewhere: no request can carry it back
        raise GarbledReply(f"message: {str(message)[:80]}") from None
    return cleaned(whole)
