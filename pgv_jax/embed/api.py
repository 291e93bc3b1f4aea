"""Embeddings by an OpenAI-compatible ``/v1/embeddings``, through the official client library.

The base URL and the key come from ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. The store above
keeps what was paid for: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from pgv_jax.embed.encoder import EncodeStats, fingerprint_of
from pgv_jax.errors import PgvError
from pgv_jax.parts import part
from pgv_jax.texts.unicode import clean, visible

if TYPE_CHECKING:
    import openai

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_TEXTS_A_REQUEST = 256
# About 100k tokens: below the request limits of the providers that state one.
_CHARACTERS_A_REQUEST = 300_000
_REQUESTS_AT_ONCE = 4


class ApiEncoder:
    """A hosted embedding model; ``stats`` counts texts, tokens and, with a price, dollars."""

    def __init__(
        self,
        name: str,
        client: openai.OpenAI,
        model: str,
        *,
        dim: int | None = None,
        price: float | None = None,
        texts_a_request: int = _TEXTS_A_REQUEST,
    ):
        self.name = name
        self.stats = EncodeStats()
        self._client, self._model, self._asked_dim = client, model, dim
        self._price, self._texts_a_request = price, texts_a_request
        self.chunk_characters = 2 * _REQUESTS_AT_ONCE * _CHARACTERS_A_REQUEST
        self._known_dim = dim
        self.fingerprint = fingerprint_of(self._identity())

    @property
    def dim(self) -> int:
        """Width of the vectors; where the spec does not say, one word is embedded to learn it."""
        if self._known_dim is None:
            self._known_dim = self._request(["width"]).shape[1]
        return self._known_dim

    @property
    def dollars(self) -> float | None:
        """What was spent so far, None where no price is known."""
        return None if self._price is None else self.stats.tokens * self._price / 1e6

    def _identity(self) -> dict[str, Any]:
        # The server is part of it: one model name may mean different weights elsewhere.
        url = urlsplit(str(self._client.base_url))
        server = f"{url.hostname}{f':{url.port}' if url.port else ''}{url.path.rstrip('/')}"
        return {
            "version": 1,
            "family": "openai-embeddings",
            "model": self._model,
            "server": server,
            "dimensions": self._asked_dim,
            "normalize": True,
        }

    def describe(self) -> dict[str, Any]:
        """Model, server (never the key) and width."""
        return {**self._identity(), "dim": self.dim}

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embed ``texts`` in order: float32 [len(texts), dim], unit length."""
        empty = [i for i, text in enumerate(texts) if not text]
        if empty:
            raise PgvError(
                f"Text {empty[0]} of {len(texts)} is empty and an embedding API refuses empty "
                f"texts; leave it out, or use a local encoder instead of '{self.name}'."
            )
        if not texts:
            return np.empty((0, self.dim), np.float32)
        found = []
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            try:
                for vectors in pool.map(self._request, self._batches(texts)):
                    found.append(vectors)
                    if progress is not None:
                        progress(len(vectors))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return np.concatenate(found)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for text in texts:
            full = len(batch) >= self._texts_a_request or size + len(text) > _CHARACTERS_A_REQUEST
            if batch and full:
                yield batch
                batch, size = [], 0
            batch.append(clean(text))
            size += len(text)
        if batch:
            yield batch

    def _request(self, texts: list[str]) -> np.ndarray:
        import openai

        dimensions = openai.omit if self._asked_dim is None else self._asked_dim
        try:
            answer = self._client.embeddings.create(
                model=self._model, input=texts, encoding_format="float", dimensions=dimensions
            )
        # "from None": the library's error holds the request with its headers.
        except openai.AuthenticationError:
            # Servers repeat parts of the key in this message, so it is not shown.
            raise PgvError(
                f"{self._client.base_url} refused the key in OPENAI_API_KEY (HTTP 401); set a "
                "valid one."
            ) from None
        # the latter: a reply that is nested a thousand deep and more
        except (openai.OpenAIError, RecursionError) as error:
            raise PgvError(
                f"Embedding {len(texts)} texts by '{self.name}' failed at {self._client.base_url}: "
                f"{self._scrub(str(error))[:500]} What was embedded before is kept; run the "
                "command again to go on."
            ) from None
        return self._read(answer, texts)

    def _read(self, answer: Any, texts: list[str]) -> np.ndarray:
        rows = sorted(answer.data or [], key=lambda row: row.index)
        widths = {len(row.embedding) for row in rows}
        if [row.index for row in rows] != list(range(len(texts))) or len(widths) != 1:
            raise PgvError(
                f"'{self.name}' answered {len(rows)} vectors of widths {sorted(widths)} for "
                f"{len(texts)} texts; is {self._client.base_url} an embeddings endpoint?"
            )
        vectors = np.asarray([row.embedding for row in rows], np.float32)
        if self._known_dim not in (None, vectors.shape[1]):
            raise PgvError(
                f"'{self.name}' answered vectors of width {vectors.shape[1]}, {self._known_dim} "
                "was expected; leave dim out, or use a model that can shorten its vectors."
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise PgvError(f"'{self.name}' answered a vector that is zero or not finite.")
        usage = getattr(answer, "usage", None)
        told = getattr(usage, "prompt_tokens", 0)
        self.stats.add(len(texts), told if type(told) is int and told > 0 else 0, 0)
        return vectors / norms

    def _scrub(self, message: str) -> str:
        key, message = self._client.api_key, visible(message)
        return message.replace(key, "***") if key else message


def open_api(model: str, options: str = "") -> ApiEncoder:
    """``api:MODEL``; options: ``dim`` (asks the model for shorter vectors).

    ``PGV_EMBED_PRICE`` (dollars for a million tokens) lets the cost be counted. Requests are
    retried by the client library: exponential back-off, Retry-After respected.
    """
    parsed = dict(parse_qsl(options, keep_blank_values=True))
    dim = parsed.pop("dim", None)
    if parsed or (dim is not None and not (dim.isdigit() and int(dim) > 0)):
        raise PgvError(f"Encoder 'api:{model}?{options}': the one option is dim=NUMBER.")
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        raise PgvError(
            f"Encoder 'api:{model}' needs a key in the environment variable OPENAI_API_KEY (any "
            "word for a local server that asks for none)."
        )
    with part("openai", f"Encoder 'api:{model}'"):
        import openai

    client = openai.OpenAI(
        api_key=key,
        base_url=os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
        max_retries=6,
        timeout=120,
    )
    name = f"api:{model}" + (f"?dim={dim}" if dim else "")
    return ApiEncoder(name, client, model, dim=int(dim) if dim else None, price=_price())


def _price() -> float | None:
    text = os.environ.get("PGV_EMBED_PRICE")
    try:
        return None if not text else float(text)
    except ValueError:
        raise PgvError(
            f"PGV_EMBED_PRICE={text!r} is no number; it is dollars for a million tokens."
        ) from None
